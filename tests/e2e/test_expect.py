# SPDX-License-Identifier: MIT
"""The demo's own checks catch what they are for."""

import pytest

from trueboot.demo import expect


def event(name, source="device", **fields):
    return {"event": name, "source": source, "device": "d", "runtime": "cpython", **fields}


def update(version):
    return [
        event("update.offered", version=version),
        event("update.consented", gate="download"),
        event("update.staged", version=version),
        event("update.consented", gate="activate"),
        event("update.activated", slot="b"),
        event("power.reset", "demo"),
        event("update.trial", version=version, slot="b"),
        event("update.confirmed", version=version),
        event("report.accepted", outcome="updated", version=version),
        event("version.reported", version=version),
    ]


def test_a_whole_update_lacks_nothing():
    assert expect.missing(update("1.1.0"), expect.good_update("1.1.0")) == []


def test_each_lacking_step_is_named():
    for index, step in enumerate(expect.good_update("1.1.0")):
        events = update("1.1.0")
        del events[index]
        assert any(line.startswith(step.words) for line in expect.missing(events, expect.good_update("1.1.0")))


def test_order_counts():
    events = update("1.1.0")
    events[7], events[8] = events[8], events[7]
    assert expect.missing(events, expect.good_update("1.1.0")) != []


def test_a_line_that_a_cut_took_is_not_looked_for_in_the_next_update():
    steps = expect.good_update("1.1.0") + expect.good_update("1.2.0")
    lost = [event for event in update("1.1.0") if event.get("gate") != "download"]
    events = [*lost[:1], event("power.cut", "demo"), *lost[1:], *update("1.2.0")]
    assert expect.missing(events, steps, cut=True) == []
    assert len(expect.missing(events[1:], steps, cut=True)) == 1
    assert expect.missing(events, steps) != []
    without_reset = [one for one in events if one["event"] not in ("power.reset", "power.cut")]
    assert expect.missing([event("power.cut", "demo"), *without_reset], steps, cut=True) != []


def test_a_report_before_confirm_is_a_lie():
    events = [event("version.reported", "server", version="1.1.0"), event("update.confirmed", version="1.1.0")]
    assert expect.lies(events, "d", ("1.1.0",)) != []
    assert expect.lies(events[::-1], "d", ("1.1.0",)) == []
    assert expect.lies(events, "another", ("1.1.0",)) == []


@pytest.mark.parametrize("slot, confirmed, lies", [("b", True, False), ("b", False, True), ("a", True, True)])
def test_a_cut_may_take_the_line_that_tells_of_the_confirm(slot, confirmed, lies):
    events = [
        *update("1.1.0")[:7],
        event("power.cut", "demo"),
        event("boot", slot=slot, confirmed=confirmed),
        event("version.reported", "server", version="1.1.0"),
        event("attempt.updated", "server"),
    ]
    assert bool(expect.lies(events, "d", ("1.1.0",))) == bool(expect.unproven(events, "d")) == lies


def test_updated_before_confirm_is_unproven():
    events = [event("attempt.updated", "server"), event("update.confirmed", version="1.1.0")]
    assert expect.unproven(events, "d") != []
    assert expect.unproven(events[::-1], "d") == []


def test_a_rollback_without_a_reason_is_not_enough():
    events = [
        *update("1.2.0")[:6],
        event("power.reset", "demo"),
        event("update.rolled_back", version="1.2.0", reason=""),
    ]
    assert any("reason" in line for line in expect.missing(events, expect.bad_update("1.2.0")))


def attack(reason="metadata_signature: bin-08 version 2: 0 of 1 signatures", app="1.1.0"):
    return [
        event("server.stolen", "demo", version="1.3.0"),
        event("update.failed", version="1.3.0", reason=reason),
        event("command.answered", "demo", data={"app": app, "blinked": 3}),
    ]


def test_a_refusal_counts_for_its_reason_and_while_the_good_version_runs():
    steps = expect.attack("1.3.0", "1.1.0")
    assert expect.missing(attack(), steps) == []
    assert expect.missing(attack(reason="http_status: 503"), steps) != []
    assert expect.missing(attack(app="1.3.0"), steps) != []
    failed = [event("attempt.pushed", "server"), event("attempt.failed", "server", reason="timed out")]
    assert expect.missing(failed, expect.server_attack()) != []


def test_whatever_is_done_with_a_version_to_be_refused_is_named():
    assert expect.taken(attack(), "d", "1.3.0") == []
    for step in update("1.3.0"):
        if "version" in step and step["event"] != "report.accepted":
            assert expect.taken([step], "d", "1.3.0") != [], step
            assert expect.taken([step], "d", "1.4.0") == expect.taken([step], "another", "1.3.0") == []
