# SPDX-License-Identifier: MIT
"""The update machine: every declared edge is taken, no other ever is, and the stories come out right."""

from agent import states, update
from agent.errors import MisuseError
from edges import declared, expected

FACTORY = "00" * 32
GOOD = "11" * 32
OTHER = "22" * 32
NEW = {"slot": "b", "confirmed": False, "failure": ""}
OLD = {"slot": "a", "confirmed": True, "failure": ""}


def release(sha256=GOOD, security=0, job="1"):
    return {"version": "1.1.0", "sha256": sha256, "length": 9, "security": security, "job": job, "nonce": "n"}


def names(commands):
    return [c[0] for c in commands if c[0] != "log"]


def report_of(commands):
    return [c[2] for c in commands if c[0] == "save"][0]


def after(*events):
    state, commands = states.initial("1.0.0", FACTORY), []
    for event in events:
        state, commands = update.step(state, event)
    return state, commands


OFFER = ("offered", release())
TO_STAGED = (OFFER, ("consented", "b"), ("fetched",))
TO_ACTIVATED = TO_STAGED + (("consented", "b"),)
TO_TRIAL = TO_ACTIVATED + (("booted", NEW),)


def test_an_image_that_was_made_here_takes_the_place_of_what_was_offered():
    made = dict(release(OTHER), length=4)
    state, commands = after(OFFER, ("consented", "b"), ("fetched", made))
    assert state["phase"] == "staged" and state["release"] == made and names(commands) == ["save", "ask"]
    for event in (("consented", "b"), ("booted", NEW), ("healthy",)):
        state, commands = update.step(state, event)
    assert (state["image"], state["previous"]) == (OTHER, FACTORY) and report_of(commands)["outcome"] == "updated"


def test_a_good_release_is_confirmed_before_the_journal_says_so():
    state, commands = after(*TO_TRIAL, ("healthy",))
    assert names(commands) == ["confirm", "save", "announce"]
    assert (state["phase"], state["version"], state["image"]) == ("idle", "1.1.0", GOOD)
    assert report_of(commands)["outcome"] == "updated"


def test_consent_is_asked_for_twice_and_nothing_is_activated_before_the_second_yes():
    assert names(after(OFFER)[1]) == ["save", "ask"]
    assert after(*TO_STAGED)[1][-1] == ("ask", "activate")
    assert names(after(*TO_ACTIVATED)[1]) == ["save", "activate", "reboot"]


def test_the_state_is_saved_before_anything_but_confirm_is_done():
    for story in (TO_STAGED, TO_ACTIVATED, TO_TRIAL, TO_TRIAL + (("failed", -1, "x", True),)):
        commands = names(after(*story)[1])
        assert commands[0] == "save", commands


def test_a_failed_trial_is_rolled_back_refused_and_reported():
    state, commands = after(*TO_TRIAL, ("failed", -1, "sick", True))
    assert names(commands) == ["save", "rollback", "reboot"] and state["phase"] == "trial"
    state, commands = update.step(state, ("booted", OLD))
    assert report_of(commands)["outcome"] == "rolled_back" and report_of(commands)["reason"] == "sick"
    assert state["phase"] == "idle" and state["version"] == "1.0.0"
    state, commands = update.step(state, ("offered", release(job="2")))
    assert report_of(commands)["outcome"] == "refused" and state["phase"] == "idle"


def test_a_cut_after_the_trial_failed_rolls_back_again():
    state, _ = after(*TO_TRIAL, ("failed", -1, "sick", True))
    assert names(update.step(state, ("booted", NEW))[1]) == ["rollback", "reboot"]


def test_a_reason_left_by_the_trampoline_condemns():
    state, commands = after(*TO_ACTIVATED, ("booted", dict(OLD, failure="ImportError main.py:3")))
    assert report_of(commands)["reason"] == "ImportError main.py:3"
    assert state["refused"] == [[GOOD, "ImportError main.py:3"]]


def test_power_cuts_in_a_trial_never_condemn_a_release():
    state, _ = after(*TO_TRIAL)
    for _ in range(update.MAX_LOST - 1):
        state, commands = update.step(state, ("booted", OLD))
        assert names(commands) == ["save", "ask"] and commands[-1] == ("ask", "again")
        assert update.step(state, ("booted", OLD))[1] == [("ask", "again")], "what waits is asked for at every boot"
        state, commands = update.step(state, ("consented", "b"))
        assert names(commands) == ["save", "activate", "reboot"]
    state, commands = update.step(state, ("booted", OLD))
    assert report_of(commands)["outcome"] == "rolled_back"
    assert report_of(commands)["reason"] == "power lost 5 times"
    assert state["phase"] == "idle" and state["refused"] == []


def test_power_cuts_are_counted_in_the_trial_too_each_boot_once():
    state, _ = after(*TO_TRIAL)
    for number in range(2, 5):
        state, commands = update.step(state, ("booted", dict(NEW, boot=number, trials=4)))
        if number < 4:
            assert names(commands) == ["save", "check"]
            assert names(update.step(state, ("booted", dict(NEW, boot=number, trials=4)))[1]) == ["check"]
    state, commands = update.step(state, ("booted", dict(NEW, boot=5, trials=4)))
    assert names(commands) == ["save", "rollback", "reboot"]
    state, commands = update.step(state, ("booted", dict(OLD, boot=6, trials=4)))
    assert report_of(commands)["reason"] == "power lost 4 times" and state["refused"] == []


def test_a_watchdog_on_trial_is_told_and_condemns():
    hung = dict(NEW, cause="watchdog", trials=2)
    state, commands = update.step(after(*TO_TRIAL)[0], ("booted", hung))
    assert names(commands) == ["save", "check"]
    for boot in (dict(OLD, trials=2), dict(hung)):
        new, commands = update.step(state, ("booted", boot))
        if boot["slot"] == "b":
            assert names(commands) == ["save", "rollback", "reboot"]
            new, commands = update.step(new, ("booted", OLD))
        assert report_of(commands)["reason"] == "watchdog" and new["refused"] == [[GOOD, "watchdog"]]
    # It hung before the agent ran even once.
    new, commands = update.step(after(*TO_ACTIVATED)[0], ("booted", dict(OLD, cause="watchdog")))
    assert report_of(commands)["reason"] == "watchdog"


def test_consent_that_does_not_come_in_time_condemns_nothing():
    for story in ((OFFER,), TO_STAGED):
        state, commands = after(*story, ("waited", 60), ("waited", 120))
        assert state["waited"] == 180 and names(commands) == ["save"]
        state, commands = update.step(state, ("expired",))
        assert report_of(commands)["reason"] == "no consent in time" and report_of(commands)["outcome"] == "failed"
        assert state["phase"] == "idle" and state["refused"] == [] and state["waited"] == 0
    assert after(OFFER, ("waited", 60), ("consented", "b"))[0]["waited"] == 0, "each gate has its own"


def test_an_operators_word_is_kept_until_it_is_used():
    state, _ = after(OFFER, ("allowed", "activate", 9), ("allowed", "download", 8))
    assert state["allowed"] == {"activate": 9, "download": 8}
    state, _ = update.step(state, ("consented", "b"))
    assert state["allowed"] == {"activate": 9}
    again, _ = update.step(state, ("offered", release(job="2")))
    assert again["release"]["job"] == "2" and again["allowed"] == {}, "it named another deployment"
    for event in (("fetched",), ("allowed", "activate", 10), ("consented", "b")):
        state, _ = update.step(state, event)
    assert state["allowed"] == {}
    assert after(OFFER, ("allowed", "activate", 9), ("declined", "no"))[0]["allowed"] == {}


def test_an_operators_retry_forgets_the_refusal_in_the_save_that_asks_anew():
    state, _ = after(OFFER, ("declined", "refused by app: the download"))
    assert report_of(update.step(state, OFFER)[1])["reason"] == "refused before: refused by app: the download"
    state, commands = update.step(state, ("offered", dict(release(), retry=True)))
    assert (state["phase"], state["refused"]) == ("offered", []) and names(commands) == ["save", "ask"]
    state, _ = update.step(state, ("declined", "no"))
    assert state["refused"] == [[GOOD, "no"]], "the app may say no again"
    below = dict(states.initial("1.0.0", FACTORY, 3), refused=state["refused"])
    assert update.step(below, ("offered", dict(release(), retry=True)))[0]["refused"] == [[GOOD, "no"]]


def test_what_ran_before_is_known_and_a_journal_of_an_older_agent_will_do():
    old = states.initial("1.0.0", FACTORY)
    for name in ("previous", "waited", "allowed", "lost", "hint", "booted"):
        del old[name]
    for story in (TO_TRIAL + (("booted", NEW), ("healthy",)), TO_TRIAL + (("booted", OLD), ("consented", "b"))):
        state = old
        for event in story:
            state, _ = update.step(state, event)
            if state["phase"] != "trial":
                continue
            for name in ("previous", "waited", "allowed", "lost", "hint", "booted"):
                state.pop(name, None)
    assert after(*TO_TRIAL, ("healthy",))[0]["previous"] == FACTORY


def test_a_cut_between_confirm_and_save_ends_as_updated():
    state, commands = after(*TO_TRIAL, ("booted", dict(NEW, confirmed=True)))
    assert report_of(commands)["outcome"] == "updated" and state["version"] == "1.1.0"


def test_the_floor_rises_only_at_confirm_and_by_a_bounded_step():
    events = list(TO_TRIAL)
    events[0] = ("offered", release(security=40))
    assert after(*events)[0]["floor"] == 0
    assert after(*events, ("healthy",))[0]["floor"] == update.MAX_FLOOR_STEP


def test_a_release_below_the_floor_is_refused():
    state = states.initial("1.0.0", FACTORY, 3)
    state, commands = update.step(state, ("offered", release(security=2)))
    assert state["phase"] == "idle" and report_of(commands)["outcome"] == "refused"


def test_the_running_image_offered_again_is_reported_as_what_it_is():
    state, commands = after(("offered", release(sha256=FACTORY)))
    assert state["phase"] == "idle" and report_of(commands)["reason"] == "already running"


def test_a_download_has_a_budget():
    state, commands = after(OFFER, ("consented", "b"))
    for _ in range(update.MAX_FETCHES - 1):
        state, commands = update.step(state, ("failed", -2, "gone", False))
        assert names(commands) == ["save", "fetch"]
    state, commands = update.step(state, ("failed", -2, "gone", False))
    assert state["phase"] == "idle" and state["refused"] == []
    assert report_of(commands)["outcome"] == "failed" and report_of(commands)["step"] == -2


def test_a_try_that_made_progress_gives_the_budget_back():
    state, commands = after(OFFER, ("consented", "b"), ("failed", -2, "gone", False), ("failed", -2, "gone", False))
    assert state["tries"] == 2
    state, commands = update.step(state, ("advanced",))
    assert state["tries"] == 0 and names(commands) == ["save"] and state["phase"] == "fetching"


def test_a_trial_that_the_journal_does_not_know_is_given_up():
    assert names(after(("booted", NEW))[1]) == ["rollback", "reboot"]


def test_unknown_keys_of_a_newer_agent_are_kept():
    state = states.initial("1.0.0", FACTORY)
    state["from_the_future"] = 7
    for event in TO_TRIAL + (("healthy",),):
        state, _ = update.step(state, event)
        assert state["from_the_future"] == 7


def test_refusals_are_bounded():
    state = states.initial("1.0.0", FACTORY)
    for number in range(states.MAX_REFUSED + 3):
        state, _ = update.step(state, ("offered", release("%064x" % (number + 1), job=str(number))))
        state, _ = update.step(state, ("declined", "no"))
    assert len(state["refused"]) == states.MAX_REFUSED


def test_an_event_that_the_phase_does_not_know_is_the_callers_bug():
    try:
        after(("healthy",))
    except MisuseError as error:
        assert error.code == "update_event"
    else:
        raise AssertionError("accepted")


def test_every_declared_edge_is_taken_and_no_other():
    table = declared(update)
    events = [
        ("booted", {"slot": s, "confirmed": c, "failure": f}) for s in "ab" for c in (True, False) for f in ("", "x")
    ]
    events += [("offered", release()), ("offered", release(OTHER)), ("offered", release(FACTORY))]
    events += [
        ("rejected", release(OTHER), -3, "r"),
        ("consented", "b"),
        ("declined", "no"),
        ("fetched",),
        ("advanced",),
    ]
    events += [("failed", -2, "f", False), ("failed", -4, "f", True), ("healthy",)]
    events += [("allowed", "activate", 9), ("waited", 1), ("expired",)]
    seen, edges, queue = set(), set(), [states.initial("1.0.0", FACTORY)]
    while queue:
        state = queue.pop()
        for event in events:
            if (state["phase"], event[0]) not in table:
                continue
            new, commands = update.step(state, event)
            allowed = table[(state["phase"], event[0])]
            assert new["phase"] in allowed, (state["phase"], event, new["phase"])
            edges.add((state["phase"], event[0], new["phase"]))
            key = (new["phase"], new["tries"], new["failure"], new["image"], new["slot"], len(new["refused"]))
            key += (new["lost"], new["hint"])
            key += (new["release"]["sha256"] if new["release"] else "",)
            if key not in seen:
                seen.add(key)
                queue.append(new)
    assert edges == expected(table)
