# SPDX-License-Identifier: MIT
"""The identity machine, and the session machine's waits."""

from agent import identity, session
from edges import declared, expected


def names(commands):
    return [c[0] for c in commands if c[0] != "log"]


def after(*events):
    state, commands = identity.initial(), []
    for event in events:
        state, commands = identity.step(state, event)
    return state, commands


TO_PROBATION = (("started", False), ("registered",), ("key_made",), ("issued",))


def test_first_boot_goes_from_blank_to_enrolled():
    assert names(after(("started", False))[1]) == ["register"]
    assert names(after(*TO_PROBATION[:2])[1]) == ["save", "make_key"]
    assert names(after(*TO_PROBATION[:3])[1]) == ["save", "enrol"]
    assert after(*TO_PROBATION)[0]["phase"] == "probation"
    assert after(*TO_PROBATION, ("accepted",))[0]["phase"] == "enrolled"


def test_a_provisioned_secret_needs_no_registration():
    assert names(after(("started", True))[1]) == ["save", "make_key"]


def test_every_phase_does_its_act_again_after_a_cut():
    for count, act in ((1, "make_key"), (2, "enrol")):
        state, _ = after(*TO_PROBATION[: count + 1])
        assert names(identity.step(state, ("started", True))[1]) == [act]


def test_failures_are_counted_without_a_write():
    state, commands = after(("started", False), ("failed", "timeout", False), ("failed", "timeout", False))
    assert commands == [("retry", 2)] and state["phase"] == "blank"


def test_a_certificate_that_servers_refuse_is_asked_for_again():
    state, _ = after(*TO_PROBATION)
    for _ in range(identity.MAX_PROBATION - 1):
        state, commands = identity.step(state, ("failed", "mqtt_refused", True))
        assert state["phase"] == "probation"
    state, commands = identity.step(state, ("failed", "mqtt_refused", True))
    assert state["phase"] == "keyed" and names(commands) == ["save", "enrol"]


def test_a_network_fault_never_spends_the_probation():
    state, _ = after(*TO_PROBATION)
    for _ in range(50):
        state, commands = identity.step(state, ("failed", "timeout", False))
    assert state["phase"] == "probation" and commands == []


def test_every_declared_edge_is_taken_and_no_other():
    table = declared(identity)
    events = [("started", True), ("started", False), ("registered",), ("key_made",), ("issued",), ("accepted",)]
    events += [("failed", "x", True), ("failed", "x", False), ("revoked", "x")]
    edges, seen, queue = set(), set(), [identity.initial()]
    while queue:
        state = queue.pop()
        for event in events:
            if (state["phase"], event[0]) in table:
                new, _ = identity.step(state, event)
                edges.add((state["phase"], event[0], new["phase"]))
                if new["tries"] <= identity.MAX_PROBATION and (new["phase"], new["tries"]) not in seen:
                    seen.add((new["phase"], new["tries"]))
                    queue.append(new)
    assert edges == expected(table)


def test_waits_double_with_jitter_up_to_a_cap():
    for failures in range(1, 30):
        least, most = session.wait_ms(failures, 0, False), session.wait_ms(failures, 255, False)
        cap = min(session.MAX_WAIT_MS, session.FIRST_WAIT_MS << min(failures - 1, 12))
        assert least == cap // 2 and most == cap
    assert session.wait_ms(1, 0, True) > session.wait_ms(1, 255, False)


def test_a_session_dials_at_once_then_waits_after_a_loss():
    state, commands = session.step(session.initial(), ("tick", 5))
    assert commands == [("dial",)]
    state, commands = session.step(state, ("lost", 5, 255, False))
    assert commands == [("wait", 1000)]
    state, commands = session.step(state, ("tick", 905))
    assert commands == [("wait", 100)]
    state, commands = session.step(state, ("tick", 1005))
    assert commands == [("dial",)]


def test_a_long_session_forgets_earlier_failures():
    state = dict(session.initial(), phase="dialing", failures=6)
    state, _ = session.step(state, ("opened", 1000))
    short, commands = session.step(state, ("lost", 1001, 0, False))
    assert short["failures"] == 7
    long, commands = session.step(state, ("lost", 1000 + session.STABLE_MS, 0, False))
    assert long["failures"] == 1
