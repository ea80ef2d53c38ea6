# SPDX-License-Identifier: MIT
"""`trueboot-agent forget-identity`: what goes, what stays, and what a power cut between any two of its writes leaves."""

from __future__ import annotations

import json
import os

import pytest

from agent import journal
from platform_adapters import linux_forget, linux_service
from platform_adapters.linux import Linux

REVOKED = {"phase": "revoked", "label": "a", "tries": 0, "reason": "keyCompromise"}
INITIAL = {"phase": "blank", "label": "a", "tries": 0}


@pytest.fixture
def root(tmp_path, authority):
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "agent.toml").write_text('product_key = "pk"\ndevice_key = "dk"\nhardware = "sim"\n')
    platform = Linux(tmp_path / "agent.toml")
    for label in "ab":
        platform.keys.make(label)
        platform.store.save("cert." + label, b"certificate")
    for name in ("secret", "anchors", "root"):
        platform.store.save(name, name.encode())
    journal.save(platform.store, {"identity": REVOKED, "update": {"floor": 7}, "clock": 5, "from_the_future": 1})
    return tmp_path


def forget(root, *more):
    return linux_service.main(["forget-identity", "--config", str(root / "agent.toml"), *more])


def state(root):
    platform = Linux(root / "agent.toml")
    return (
        journal.load(platform.store),
        sorted(os.listdir(root / "state/store")),
        sorted(os.listdir(root / "state/keys")),
    )


def test_it_is_asked_for_twice(root, capsys):
    before = state(root)
    assert forget(root) == 1 and state(root) == before
    assert "--yes" in capsys.readouterr().err


def test_identity_goes_and_all_else_stays(root, capsys):
    assert forget(root, "--yes") == 0
    record, records, keys = state(root)
    assert record["identity"] == INITIAL and keys == []
    assert (record["update"], record["clock"], record["from_the_future"]) == ({"floor": 7}, 5, 1)
    assert [name for name in records if not name.startswith("journal")] == ["anchors", "root"]
    assert "forgotten" in capsys.readouterr().out
    assert forget(root, "--yes") == 0  # there is nothing left to forget


def test_a_cut_between_any_two_writes_leaves_a_device_that_rests(root, monkeypatch):
    class Cut(BaseException):
        pass

    def writes(kind, verb):
        original = getattr(kind, verb)

        def cut(self, *arguments):
            left[0] -= 1
            if left[0] < 0:
                raise Cut
            return original(self, *arguments)

        monkeypatch.setattr(kind, verb, cut)

    from platform_adapters.filestore import FileStore
    from platform_adapters.keystores.software import SoftwareKeys

    left = [0]
    for kind, verb in ((FileStore, "save"), (FileStore, "drop"), (SoftwareKeys, "drop")):
        writes(kind, verb)
    for count in range(1, 7):  # the journal, five records and keys; then the journal again
        left[0] = count
        with pytest.raises(Cut):
            linux_forget.forget(linux_service.settings(str(root / "agent.toml"))[0], True)
        left[0] = 1000
        assert state(root)[0]["identity"] == {**REVOKED, "reason": "forgotten"}, count
    assert forget(root, "--yes") == 0
    assert state(root)[0]["identity"] == INITIAL and state(root)[2] == []


def test_not_while_an_agent_runs(root, capsys):
    lock = linux_service.take(str(root / "state"))
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps({"pid": 7, "slot": "a"}).encode(), 0)
        before = state(root)
        assert forget(root, "--yes") == 75 and state(root) == before
        assert "PID 7" in capsys.readouterr().err
    finally:
        os.close(lock)


def test_a_device_that_never_had_an_identity(tmp_path, authority):
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "agent.toml").write_text('hardware = "sim"\n')
    assert forget(tmp_path, "--yes") == 0
    assert forget(tmp_path / "nowhere", "--yes") == 78


def test_status_tells_it(root, capsys):
    assert linux_service.main(["status", "--config", str(root / "agent.toml")]) == 0
    assert "identity   revoked (keyCompromise)" in capsys.readouterr().out
