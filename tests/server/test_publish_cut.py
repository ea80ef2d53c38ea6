# SPDX-License-Identifier: MIT
"""The power goes in the middle of a publication: at every effect on the file system, the old repository or the new one.

One publication runs with every effect recorded: before and after each open, write, sync, rename and unlink (and in the middle of
each write) the whole state folder is copied, as a dead server would leave it.  Each copy is then opened by a server of its own.
"""

import os
import shutil
import signal
import threading

import pytest
import requests
from repository_rig import DAY_MS, Rig, client, looked_up, named
from securesystemslib.signer import CryptoSigner
from server_client import PATIENCE_S, Operator, ServerProcess
from test_publish import ONE, OTHER, online_rotated

from trueboot_server import state as state_module
from trueboot_server.repo import dev, online, signing
from trueboot_server.repo.published import parse_file_name
from trueboot_server.state import State


class _File:
    """A file that is cut in the middle of each write."""

    def __init__(self, file, cuts):
        self._file, self._cuts = file, cuts

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, data):
        self._file.write(data[: len(data) // 2])
        self._file.flush()
        self._cuts.take("half written")
        self._file.write(data[len(data) // 2 :])


class Cuts:
    """Stands in for `os` in the modules that write, and copies the state folder around each effect."""

    def __init__(self, source, folder):
        self._source, self._folder = source, folder
        self.taken, self.effects = [], []

    def __getattr__(self, name):
        return getattr(os, name)

    def take(self, what):
        copy = self._folder / f"{len(self.taken):03d}"
        shutil.copytree(self._source, copy)
        self.taken.append((copy, what))

    def _around(self, name, *arguments, **more):
        self.take(f"before {name}")
        result = getattr(os, name)(*arguments, **more)
        self.effects.append((name, arguments))
        self.take(f"after {name}")
        return result

    def open(self, path, flags, *mode):
        if flags & os.O_CREAT:
            return self._around("open", path, flags, *mode)
        return os.open(path, flags, *mode)

    def fdopen(self, *arguments):
        return _File(os.fdopen(*arguments), self)

    def fsync(self, descriptor):
        return self._around("fsync", descriptor)

    def replace(self, *arguments):
        return self._around("replace", *arguments)


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path / "state")
    made.add(ONE)
    yield made
    made.close()


def release(rig):
    return named(rig.added(OTHER, "app/sim/1.3.0/app.img"))


def removal(rig):
    return named(rig.withdrawn(ONE))


def key_rotation(rig):
    """All that can change at once: two roots, targets for another release key, every bin again, and one release more."""
    new_root, new_release = CryptoSigner.generate_ecdsa(), CryptoSigner.generate_ecdsa()

    def rotate(root):
        root.revoke_key(rig.root.public_key.keyid, "root")
        root.add_key(new_root.public_key, "root")

    second = rig.next_root(rotate, [rig.root, new_root])
    third = rig.next_root(lambda root: None, [new_root], after=second)
    return {"2.root.json": second, "3.root.json": third} | named(
        rig.with_release_key(new_release) | rig.added(OTHER, signer=new_release)
    )


def numbers(repository):
    published = repository.published
    roles = ("root", "timestamp", "snapshot", *published.delegated())
    return {role: published.version(role) for role in roles}, sorted(published.files)


def opened(rig, copy):
    state = State(copy)
    state.open()
    return state, dev.open_repository(state, dev=False, clock=rig.clock)


@pytest.mark.parametrize("change", [release, removal, key_rotation, online_rotated])
def test_a_cut_anywhere_leaves_the_old_repository_or_the_new_one_whole(rig, tmp_path, monkeypatch, change):
    files = change(rig)
    before = numbers(rig.repository)
    looked_up(rig.repository, tmp_path / "device")
    (tmp_path / "cuts").mkdir()
    cuts = Cuts(rig.state.path, tmp_path / "cuts")
    for module in (state_module, online):
        monkeypatch.setattr(module, "os", cuts)
    cuts.take("before everything")
    rig.repository.publish(files)
    cuts.take("after everything")
    monkeypatch.undo()
    after = numbers(rig.repository)
    assert before != after

    seen = []
    for number, (copy, what) in enumerate(cuts.taken):
        state, repository = opened(rig, copy)
        found = numbers(repository)
        assert found in (before, after), (number, what)
        seen.append(found == after)
        _check_online_key(state, repository, number, what)
        for path in repository.metadata.iterdir():  # nothing is left that was not published
            name = parse_file_name(path.name)
            assert path.name == "timestamp.json" or repository.metadata_file(*name) == path, (number, what, path.name)
        # A device that saw the old repository finds its way, and so does a new one.
        shutil.copytree(tmp_path / "device", copy / "device")
        for device in ("device", "new device"):
            assert sorted(looked_up(repository, copy / device)) == found[1], (number, what)
        if found == before:
            assert repository.publish(files) is True
        assert repository.publish(files) is False
        assert numbers(repository) == after
        assert set(looked_up(repository, copy / "device")) == set(after[1])
        state.close()
        shutil.rmtree(copy)
    assert seen == sorted(seen) and seen[0] is False and seen[-1] is True  # one moment divides old from new
    _check_order(cuts.effects)


def _check_online_key(state, repository, number, what):
    """The key in its place is the one that signs, and no other waits once a root names it."""
    named = repository.published.root.signed.roles["timestamp"].keyids
    for key in (
        signing.load_signer(state.private / "online.pem").public_key,
        signing.load_public(state.path / "online.pub"),
    ):
        assert [key.keyid] == named, (number, what)
    if repository.published.version("root") == 2:
        assert not (state.private / "online-next.pem").exists() and not (state.path / "online-next.pub").exists()


def _check_order(effects):
    """No file is renamed before it is durable, and timestamp.json only when every other rename is."""
    for number, (name, arguments) in enumerate(effects):
        if name == "replace" and str(arguments[0]).endswith(".tmp"):
            assert effects[number - 1][0] == "fsync" and effects[number + 1][0] == "fsync"
    renamed = [str(arguments[1]).rpartition("/")[2] for name, arguments in effects if name == "replace"]
    metadata = [name for name in renamed if name.endswith(".json")]
    assert metadata[-1] == "timestamp.json" and metadata.count("timestamp.json") == 1
    assert renamed.index("timestamp.json") == len(metadata) - 1  # keys move after it


def test_a_write_that_fails_leaves_the_old_one_and_the_next_try_succeeds(rig, tmp_path, monkeypatch):
    files = key_rotation(rig)
    before = numbers(rig.repository)
    write, calls, fails = state_module.write_atomically, [], []

    def full(path, data, mode=0o644):
        calls.append(path.name)
        if len(calls) == fails[-1]:
            raise OSError(28, "No space left on device")
        write(path, data, mode)

    monkeypatch.setattr("trueboot_server.repo.repository.write_atomically", full)
    for number in range(1, 8):
        fails.append(number)
        calls.clear()
        with pytest.raises(OSError):
            rig.repository.publish(files)
        assert numbers(rig.repository) == before
        assert not [
            p for p in rig.repository.metadata.iterdir() if p.name.startswith(("2.root", "3.root", "2.targets"))
        ]
        assert set(looked_up(rig.repository, tmp_path / "device")) == {ONE}
    monkeypatch.undo()
    assert rig.repository.publish(files) is True


def test_an_error_behind_the_commit_point_does_not_undo_what_counts(rig, tmp_path, monkeypatch):
    """The rename of timestamp.json happened, the sync of its folder failed: the disk says what is published."""
    files = release(rig)
    write = state_module.write_atomically

    def fail(path, data, mode=0o644):
        write(path, data, mode)
        if path.name == "timestamp.json":
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("trueboot_server.repo.repository.write_atomically", fail)
    with pytest.raises(OSError):
        rig.repository.publish(files)
    monkeypatch.undo()
    assert set(rig.repository.published.files) == {ONE, OTHER, "app/sim/1.3.0/app.img"}
    assert rig.repository.publish(files) is False
    assert numbers(rig.open()) == numbers(rig.repository)


def test_leftovers_are_not_served_even_before_they_are_removed(rig):
    metadata, role = rig.repository.metadata, rig.role_for(ONE)
    snapshot = rig.repository.published.version("snapshot") + 1
    left = {
        "2.root.json": rig.next_root(lambda root: None, [rig.root]),
        "2.targets.json": signing.renew(rig.metadata("targets"), [rig.targets]),
        f"2.{role}.json": signing.renew(rig.metadata(role), [rig.release]),
        f"1.{rig.role_for(OTHER)}.json": next(iter(rig.added(OTHER).values())),
        f"{snapshot}.snapshot.json": b"{}",
    }
    for name, data in left.items():
        (metadata / name).write_bytes(data)
    (metadata / ".2.root.json.abcd.tmp").write_bytes(b"{")
    for name in left:
        assert rig.repository.metadata_file(*parse_file_name(name)) is None, name
    assert client(rig.repository, rig.state.path / "device").refresh() is None
    rig.open()
    assert not set(left) & {path.name for path in metadata.iterdir()} and not list(metadata.glob(".*"))


def test_a_leftover_that_is_damaged_does_not_stop_the_start(rig):
    for name in ("2.root.json", "9.targets.json", "99.snapshot.json"):
        (rig.repository.metadata / name).write_bytes(b"{")
    assert rig.open().published.version("root") == 1


def test_a_long_downtime_and_a_cut_at_each_write_of_signing_again(rig, tmp_path, monkeypatch):
    looked_up(rig.repository, tmp_path / "device")
    rig.clock.now += 40 * DAY_MS
    rig.open()
    (tmp_path / "cuts").mkdir()
    cuts = Cuts(rig.state.path, tmp_path / "cuts")
    monkeypatch.setattr(state_module, "os", cuts)
    assert rig.repository.keep_fresh() is True
    monkeypatch.undo()
    for copy, what in cuts.taken:
        state, repository = opened(rig, copy)
        repository.keep_fresh()
        assert repository.keep_fresh() is False, what
        assert set(repository.published.files) == {ONE}
        state.close()


def test_a_server_that_is_killed_in_the_middle_of_publishing(tmp_path):
    """The real process, SIGKILL at the first file that appears; the one that follows has all of it or nothing."""
    server = ServerProcess(tmp_path / "state")
    metadata = tmp_path / "state/repo/metadata"
    operator = Operator(server.first)
    known, roles = set(os.listdir(metadata)), {}
    for number in range(40):
        path = f"app/sim/1.{number}.0/app.img"
        operator.call("PUT", f"/api/v1/repo/targets/{path}", data=b"image")
        from repository_rig import custom_for, digest

        role = signing.role_for(operator.metadata("targets"), path)
        if role not in roles:
            roles[role] = signing.add_target(
                None, path, 5, digest(b"image"), custom_for(path), [operator.signer("release")]
            )

    def publish():
        try:
            operator.post_metadata(roles)
        except requests.RequestException:
            pass

    thread = threading.Thread(target=publish)
    thread.start()
    while not set(os.listdir(metadata)) - known and thread.is_alive():
        pass
    os.kill(server.process.pid, signal.SIGKILL)
    thread.join(PATIENCE_S)
    server.process.wait(PATIENCE_S)
    again = ServerProcess(tmp_path / "state")
    operator = Operator(again.first)
    shown = operator.get("/api/v1/repo")
    assert set(shown["roles"]) in ({"targets"}, {"targets", *roles})
    listed = {name.split(".")[1] for name in os.listdir(metadata)} - {"root", "snapshot", "json"}
    assert {name for name in listed if name.startswith("bin")} == set(shown["roles"]) - {"targets"}
    assert operator.post_metadata(roles).status_code in (200, 201)
    assert len(operator.get("/api/v1/releases")["releases"]) == len(roles)
    assert again.stop() == 0
