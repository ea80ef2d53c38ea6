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
    events = [("started", True), ("started", False), ("registered",), ("key_made",), ("issued", 7), ("accepted",)]
    events += [
        ("failed", "x", True),
        ("failed", "x", False),
        ("asked",),
        ("due",),
        ("lost",),
        ("expired",),
        ("revoked", "x"),
    ]
    edges, seen, queue = set(), set(), [identity.initial()]
    while queue:
        state = queue.pop()
        for event in events:
            if (state["phase"], event[0]) in table:
                new, _ = identity.step(state, event)
                edges.add((state["phase"], event[0], new["phase"]))
                known = tuple([new.get(name) for name in ("phase", "label", "tries", "before", "kept", "asked")])
                if new["tries"] <= identity.MAX_PROBATION and known not in seen:
                    seen.add(known)
                    queue.append(new)
                    assert new.get("before") != new["label"], "what works is not what is tried"
    assert edges == expected(table)


ENROLLED = TO_PROBATION + (("accepted",),)
TO_REKEYED = ENROLLED + (("due",), ("key_made",))


def test_a_renewal_goes_into_the_spare_label_and_keeps_the_other():
    state, commands = after(*ENROLLED, ("due",))
    assert names(commands) == ["save", "renew"] and (state["label"], state["before"]) == ("b", "a")
    assert identity.in_use(state) == "a"
    state, _ = after(*TO_REKEYED, ("issued", 77))
    assert (state["phase"], state["before"], state["since"]) == ("probation", "a", 77) and identity.in_use(state) == "a"
    state, _ = identity.step(state, ("accepted",))
    assert state == {"phase": "enrolled", "label": "b", "tries": 0, "since": 77}
    assert identity.step(state, ("due",))[0]["label"] == "a"


def test_a_renewal_that_was_cut_goes_on():
    for story in (ENROLLED + (("due",),), TO_REKEYED):
        state, _ = after(*story)
        assert identity.step(state, ("started", True)) == (state, [("renew", "b")])


def test_a_new_certificate_that_servers_refuse_is_given_up_for_the_old_and_its_key_is_kept():
    state, _ = after(*TO_REKEYED, ("issued", 7))
    for _ in range(identity.MAX_PROBATION):
        state, commands = identity.step(state, ("failed", "mqtt_refused", True))
    assert state == {"phase": "enrolled", "label": "a", "tries": 0, "kept": True} and names(commands) == ["save"]
    state, commands = identity.step(state, ("due",))
    assert state["phase"] == "rekeyed" and names(commands) == ["save", "renew"], "the key is not made anew"


def test_a_request_is_kept_until_it_is_granted():
    state, commands = after(*ENROLLED, ("asked",))
    assert names(commands) == ["save"] and identity.step(state, ("asked",))[1] == []
    for event in (("due",), ("key_made",), ("issued", 7)):
        state, _ = identity.step(state, event)
        assert state["asked"]
    assert "asked" not in identity.step(state, ("accepted",))[0]


def test_what_is_lost_goes_the_first_road_again_under_its_label():
    state, commands = after(*TO_REKEYED, ("lost",))
    assert (state["phase"], state["label"]) == ("registered", "a") and names(commands) == ["save", "make_key"]
    state, _ = identity.step(after(*TO_REKEYED, ("issued", 7))[0], ("lost",))
    assert (state["phase"], state["label"]) == ("probation", "b") and "before" not in state, (
        "the new one is what is left"
    )


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
