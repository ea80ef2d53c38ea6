# SPDX-License-Identifier: MIT
"""Snapshot and timestamp are signed again long before they expire; what people have to sign is announced in time."""

import datetime
import json
import time

import pytest
from repository_rig import DAY_MS, IMAGE, Rig, custom_for, digest, looked_up, named
from server_client import PATIENCE_S, Operator, ServerThread
from test_publish import at_once

from trueboot_server.clock import now_ms
from trueboot_server.repo import dev, signing
from trueboot_server.repo.care import Care
from trueboot_server.repo.repository import SNAPSHOT_LIFE, TIMESTAMP_LIFE, Repository
from trueboot_server.state import State

ONE = "app/sim/1.1.0/app.img"
HOUR_MS = 3600 * 1000


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path / "state")
    yield made
    made.close()


def left(rig, role):
    now = datetime.datetime.fromtimestamp(rig.clock() / 1000, datetime.UTC)
    return rig.repository.published.expires()[role] - now


def test_no_moment_of_two_months_finds_half_of_a_life_gone_unnoticed(rig):
    care = Care(rig.repository, rig.clock)
    care.turn()
    signed = []
    for _ in range(60 * 24):
        rig.clock.now += HOUR_MS
        signed += [fields for event, fields in care.turn() if event == "repository.refreshed"]
        assert left(rig, "timestamp") >= TIMESTAMP_LIFE * 0.45 and left(rig, "snapshot") >= SNAPSHOT_LIFE * 0.45
    assert 60 <= len(signed) <= 76  # about once a day
    assert 4 <= signed[-1]["snapshot"] <= 6  # the snapshot every two weeks, not every day
    assert rig.open().published.version("timestamp") == signed[-1]["timestamp"]


def test_servers_do_not_all_sign_at_the_same_moment(rig):
    def signs_after(chance):
        repository = Repository(rig.state.repo, rig.repository.keys, rig.clock, lambda: chance)
        repository.load()
        begun = rig.clock.now
        while not repository.keep_fresh():
            rig.clock.now += 60_000
        return rig.clock.now - begun

    late, early = signs_after(0.0), signs_after(1.0)
    assert early < late <= DAY_MS + 60_000 and late - early >= 4 * HOUR_MS


def test_after_a_long_downtime_the_first_turn_signs_both(rig, tmp_path):
    rig.add(ONE)
    before = rig.repository.published
    rig.clock.now += 100 * DAY_MS
    rig.open()
    told = dict(Care(rig.repository, rig.clock).turn())
    assert told["repository.refreshed"] == {
        "timestamp": before.version("timestamp") + 1,
        "snapshot": before.version("snapshot") + 1,
    }
    assert left(rig, "timestamp") > TIMESTAMP_LIFE * 0.9 and left(rig, "snapshot") > SNAPSHOT_LIFE * 0.9
    assert rig.repository.published.snapshot.signed.meta == before.snapshot.signed.meta


def test_the_issue_time_moves_with_each_signature_and_the_root_stays(rig):
    def member():
        return json.loads(rig.repository.published.stamp)["signed"]["trueboot"]

    first = member()
    rig.clock.now += DAY_MS + 6 * HOUR_MS
    assert rig.repository.keep_fresh() is True
    assert member()["issued"] > first["issued"] and member()["root"] == 1


def test_a_timestamp_without_our_member_is_signed_again_at_once(rig, tmp_path):
    """Written by a server before this one."""
    stamp = rig.repository.published.timestamp
    del stamp.signed.unrecognized_fields["trueboot"]
    online = signing.load_signer(rig.state.private / "online.pem")
    (rig.repository.metadata / "timestamp.json").write_bytes(signing.sign(stamp, [online]))
    assert rig.open().keep_fresh() is True
    assert json.loads(rig.repository.published.stamp)["signed"]["trueboot"]["root"] == 1
    assert looked_up(rig.repository, tmp_path / "device") == {}


def test_nothing_is_signed_before_there_are_targets(tmp_path):
    rig = Rig(tmp_path / "state", publish=False)
    rig.clock.now += 5 * DAY_MS
    assert Care(rig.repository, rig.clock).turn() == []
    assert not (rig.repository.metadata / "timestamp.json").exists()
    rig.close()


def test_signing_again_waits_for_nobody(rig):
    """A publication that hashes a large file does not hold up the server; it signs by itself when it is done."""
    rig.clock.now += 2 * DAY_MS
    with rig.repository._writing:
        assert rig.repository.keep_fresh() is False and rig.repository.collect() == 0
    assert rig.repository.keep_fresh() is True


# Warnings


def expiring(care):
    return [fields["role"] for event, fields in care.turn() if event == "repository.expiring"]


def test_what_people_have_to_sign_is_announced_thirty_days_before_and_once_a_day(rig):
    role = rig.role_for(ONE)
    rig.put(ONE)
    life = datetime.timedelta(days=100)
    data = signing.add_target(None, ONE, len(IMAGE), digest(IMAGE), custom_for(ONE), [rig.release], life)
    rig.repository.publish(named({role: data}))
    care = Care(rig.repository, rig.clock)
    assert expiring(care) == []
    rig.clock.now += 69 * DAY_MS
    assert expiring(care) == [] and rig.repository.expiring() == {}
    rig.clock.now += 2 * DAY_MS
    assert expiring(care) == [role] and list(rig.repository.expiring()) == [role]
    assert expiring(care) == []
    rig.clock.now += DAY_MS
    assert expiring(care) == [role]
    rig.clock.now += 300 * DAY_MS  # expired long ago, and targets too by now; snapshot and timestamp are not named
    assert expiring(care) == [role, "targets"]
    root = rig.next_root(lambda r: setattr(r, "expires", r.expires - datetime.timedelta(days=3270)), [rig.root])
    renewed = {
        "targets": signing.renew(rig.metadata("targets"), [rig.targets], datetime.timedelta(days=900)),
        role: signing.renew(rig.metadata(role), [rig.release], datetime.timedelta(days=900)),
    }
    rig.repository.publish({"2.root.json": root} | named(renewed))
    assert expiring(care) == ["root"]  # what is new is told at once


def test_another_role_is_announced_without_waiting_for_the_day_to_pass(rig):
    care = Care(rig.repository, rig.clock)
    rig.clock.now += 340 * DAY_MS
    assert expiring(care) == ["targets"]
    role = rig.role_for(ONE)
    rig.put(ONE)
    short = signing.add_target(
        None, ONE, len(IMAGE), digest(IMAGE), custom_for(ONE), [rig.release], datetime.timedelta(days=350)
    )
    rig.repository.publish(named({role: short}))
    assert expiring(care) == [role]


def test_first_metadata_of_dev_are_fresh_and_kept(tmp_path):
    state = State(tmp_path / "state")
    state.open()
    first = dev.open_repository(state, dev=True).published
    assert {name: first.version(name) for name in ("root", "targets", "snapshot", "timestamp")} == dict.fromkeys(
        ("root", "targets", "snapshot", "timestamp"), 1
    )
    assert {path.name for path in state.dev_keys.iterdir()} == {"root.pem", "targets.pem", "release.pem"}
    again = dev.open_repository(state, dev=True).published
    assert again.stamp == first.stamp
    state.close()


# The whole server


def test_a_server_that_was_down_for_long_signs_before_it_serves(tmp_path):
    state = State(tmp_path / "state")
    state.open()
    old = dev.open_repository(state, dev=True, clock=lambda: now_ms() - 60 * DAY_MS).published
    state.close()
    server = ServerThread(tmp_path / "state")
    shown = Operator(server.first).get("/api/v1/repo")
    assert (shown["timestamp"], shown["snapshot"]) == (old.version("timestamp") + 1, old.version("snapshot") + 1)
    lines = [json.loads(line) for line in server.log().splitlines()]
    assert [line["timestamp"] for line in lines if line["event"] == "repository.refreshed"] == [shown["timestamp"]]
    server.stop()


def test_the_running_server_signs_again_and_logs_it(tmp_path, monkeypatch):
    monkeypatch.setattr("trueboot_server.app._HOUSEKEEPING_S", 0.01)
    server = ServerThread(tmp_path / "state")
    operator = Operator(server.first)
    etag = operator.call("GET", "/repo/metadata/timestamp.json").headers["ETag"]
    server.call(lambda s: setattr(s.repository, "_clock", lambda: now_ms() + 36 * HOUR_MS))
    deadline = time.monotonic() + PATIENCE_S
    status = 304
    while status == 304 and time.monotonic() < deadline:
        status = operator.call("GET", "/repo/metadata/timestamp.json", headers={"If-None-Match": etag}).status_code
    assert status == 200
    while "repository.refreshed" not in server.log():  # the line is written when the signing is done
        assert time.monotonic() < deadline
    server.stop()


def test_two_operators_publish_over_https_at_once(tmp_path):
    server = ServerThread(tmp_path / "state")
    operators = [Operator(server.first) for _ in range(2)]
    targets = operators[0].metadata("targets")
    paths = [f"app/sim/1.{n}.0/app.img" for n in range(40)]
    one = paths[0]
    two = next(path for path in paths if signing.role_for(targets, path) != signing.role_for(targets, one))

    def publisher(operator, path, content):
        operator.call("PUT", f"/api/v1/repo/targets/{path}", data=content)
        role, signer = signing.role_for(targets, path), operator.signer("release")
        data = signing.add_target(None, path, len(content), digest(content), custom_for(path), [signer])
        return lambda: operator.post_metadata({role: data}).status_code

    mine, theirs = publisher(operators[0], one, b"mine"), publisher(operators[1], two, b"theirs")
    assert at_once(mine, theirs) == [201, 201]
    assert {release["target"] for release in operators[0].get("/api/v1/releases")["releases"]} == {one, two}
    other = publisher(operators[1], one, b"another image")
    assert at_once(mine, other) == [200, 409]
    server.stop()
