# SPDX-License-Identifier: MIT
"""What a campaign does next: thresholds, soaks, time, room; and for any fleet whatever, it comes to an end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueboot_server.fleet import plan as plans
from trueboot_server.fleet.decision import Advance, Counts, Course, End, Halt, Reach, Release, decide
from trueboot_server.fleet.plan import AUTO, CAMPAIGN, JOB, Amount, Phase, Plan

S = 1000


def plan(*phases, **more):
    return plans.read({"phases": list(phases) or ["100%"], **more})


def ask(plan, course, *counts, now=0, kind=CAMPAIGN):
    return decide(kind, plan, course, list(counts), now)


TWO = plan("10%", success=80, max_failures="20%", soak_s=60, phase_s=1000)
AT_FIRST, SOAKING = Course(0, 0), Course(0, 0, reached_at=0)
REST = Counts(90, waiting=90)


@pytest.mark.parametrize(
    "count, course, now, wanted",
    [
        (Counts(10, waiting=10), AT_FIRST, 0, Release(10)),
        (Counts(10, begun=10), AT_FIRST, 0, None),
        (Counts(10, begun=3, proven=7), AT_FIRST, 0, None),
        (Counts(10, begun=2, proven=8), AT_FIRST, 0, Reach()),
        (Counts(10, begun=2, claimed=8), AT_FIRST, 0, Reach()),
        (Counts(10, begun=1, claimed=8, failed=1), SOAKING, 60 * S, Advance(1)),
        (Counts(10, begun=8, failed=2), AT_FIRST, 0, None),
        (Counts(10, begun=7, failed=3), AT_FIRST, 0, Halt("phase 1: 3 of 10 failed, and 2 may", 3)),
        (Counts(10, begun=7, cancelled=3), AT_FIRST, 0, Halt("phase 1 cannot reach 80 %: 0 of 10 have it, 7 can")),
        (
            Counts(10, begun=3, proven=7),
            AT_FIRST,
            1000 * S,
            Halt("phase 1 did not reach 80 % in time: 7 of 10 have it"),
        ),
        (Counts(10, begun=2, proven=8), SOAKING, 59 * S, None),
        (Counts(10, begun=2, proven=8), SOAKING, 60 * S, Advance(1)),
        (
            Counts(10, proven=7, failed=3),
            SOAKING,
            60 * S,
            Halt("phase 1: 3 of 10 failed, and 2 may", 3),
        ),  # one fell back
        (Counts(10, proven=10), Course(1, 0), 0, Release(90)),
        (Counts(10, proven=7, failed=3), Course(1, 0), 0, Halt("phase 1: 3 of 10 failed, and 2 may", 3)),  # a late one
    ],
)
def test_of_a_first_phase_of_ten(count, course, now, wanted):
    assert ask(TWO, course, count, REST, now=now) == wanted


def test_room_is_what_is_open_in_all_phases():
    narrow = plan("10%", at_once=5, success=0)
    assert ask(
        narrow, Course(1, 0, 0), Counts(10, proven=8, begun=2), Counts(90, waiting=88, begun=1, queued=1)
    ) == Release(1)
    assert (
        ask(narrow, Course(1, 0, 0), Counts(10, proven=7, begun=3), Counts(90, waiting=88, begun=1, queued=1)) is None
    )


def test_nobody_is_told_outside_of_the_window_and_a_failure_halts_all_the_same():
    night = plan("10%", window="22:00-04:00")
    waiting = Counts(10, waiting=10)
    hour = 3600 * S
    for at, inside in ((21.99, False), (22, True), (0, True), (3.99, True), (4, False)):
        assert (ask(night, Course(0, int(at * hour)), waiting, REST, now=int(at * hour)) == Release(10)) is inside
    assert isinstance(ask(night, AT_FIRST, Counts(10, failed=2, waiting=8), REST, now=12 * hour), Halt)
    assert plan(window="04:00-22:00").in_window(4 * hour) and not plan(window="04:00-22:00").in_window(22 * hour)


def test_the_last_phase_ends_when_nobody_is_waited_for_and_at_its_time_at_the_latest():
    one = plan(success=50, phase_s=1000)
    assert ask(one, SOAKING, Counts(4, proven=2, begun=2)) is None
    assert ask(one, SOAKING, Counts(4, proven=4)) == End()
    assert ask(one, SOAKING, Counts(4, proven=2, queued=2), now=1000 * S) == End()


def test_a_dynamic_campaign_stays_open_for_its_last_phases_time():
    open_one = plan(dynamic=True, phase_s=1000)
    assert ask(open_one, AT_FIRST, Counts()) is None
    assert ask(open_one, SOAKING, Counts(4, proven=4), now=999 * S) is None
    assert ask(open_one, SOAKING, Counts(4, proven=4), now=1000 * S) == End()
    assert ask(open_one, AT_FIRST, Counts(), now=1000 * S) == End()  # nobody came
    assert isinstance(ask(open_one, AT_FIRST, Counts(4, queued=4), now=1000 * S), Halt)


def test_a_plain_job_waits_for_its_devices_and_halts_on_the_failure_too_many():
    job = plans.plain(1)
    assert ask(job, AT_FIRST, Counts(3, begun=3), kind=JOB) == Reach()
    assert ask(job, SOAKING, Counts(3, queued=1, proven=2), now=10**12, kind=JOB) is None
    assert ask(job, SOAKING, Counts(3, failed=1, begun=2), kind=JOB) is None
    assert ask(job, SOAKING, Counts(3, failed=2, begun=1), kind=JOB) == Halt("2 of 3 failed, and 1 may", 2)
    assert ask(job, SOAKING, Counts(3, failed=1, proven=1, claimed=1), kind=JOB) == End()


def test_what_devices_ask_for_goes_on_until_too_many_fail():
    auto = plans.automatic()
    assert ask(auto, SOAKING, Counts(3, proven=3), now=10**12, kind=AUTO) is None
    assert ask(auto, SOAKING, Counts(4, failed=2, proven=2), kind=AUTO) is None
    assert isinstance(ask(auto, SOAKING, Counts(4, failed=3, proven=1), kind=AUTO), Halt)
    assert ask(auto, SOAKING, Counts(100, failed=10, proven=90), kind=AUTO) is None


@pytest.mark.parametrize(
    "body",
    [
        {"phases": []}, {"phases": "all"}, {"phases": ["0%"]}, {"phases": [0]}, {"phases": ["101%"]}, {"phases": [1.5]},
        {"phases": [True]}, {"phases": ["50%", "10%"]}, {"phases": [5, 5]}, {"phases": ["1%"] * 21}, {"phases": [{}]},
        {"phases": [{"size": 1, "soak": 1}]}, {"phases": [{"size": 1, "success": 101}]}, {"success": "90"}, {"success": -1},
        {"soak_s": -1}, {"phase_s": 0}, {"phase_s": 10**12}, {"max_failures": "many"}, {"max_failures": -1},
        {"at_once": 0}, {"at_once": "1"}, {"window": "22-04"}, {"window": "22:00-22:00"}, {"window": 7}, {"dynamic": 1},
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_meant_is_refused_and_says_why(body):
    with pytest.raises(plans.BadPlan) as wrong:
        plans.read(body)
    assert len(str(wrong.value)) > 10


def test_the_rest_is_a_phase_of_its_own_and_sizes_are_of_all():
    made = plan("5%", {"size": 50, "soak_s": 9}, success=99)
    assert [phase.size.text for phase in made.phases] == ["5%", 50, "100%"]
    assert [phase.soak_s for phase in made.phases] == [0, 9, 0] and {phase.success for phase in made.phases} == {99}
    assert made.bounds(200) == [10, 50, 200]
    assert made.bounds(3) == [1, 3, 3] and made.bounds(0) == [0, 0, 0]


amounts = st.one_of(st.builds(Amount, st.integers(0, 50)), st.builds(Amount, st.integers(0, 100), st.just(True)))
phases = st.builds(
    Phase, amounts.filter(lambda a: a.number), st.integers(0, 100), amounts, st.integers(0, 100), st.integers(1, 1000)
)


@st.composite
def plans_of_any_kind(draw):
    most = [*draw(st.lists(phases, max_size=3)), draw(phases)]
    window = draw(st.none() | st.tuples(st.integers(0, 1439), st.integers(0, 1439)).filter(lambda w: w[0] != w[1]))
    return Plan(tuple(most), draw(st.none() | st.integers(1, 20)), window, draw(st.booleans()))


@given(plans_of_any_kind())
def test_a_plan_is_kept_as_it_is(made):
    assert plans.stored(made.to_json()) == made


@settings(max_examples=150, deadline=None)
@given(plans_of_any_kind(), st.integers(0, 60), st.randoms(use_true_random=False))
def test_every_campaign_ends_whatever_its_devices_do(made, size, chance):
    """A fleet of devices that prove, claim, fail, fall back or never come: the campaign is done or halted in bounded time."""
    bounds = made.bounds(size)
    rows = [dict.fromkeys(_NAMES, 0) for _ in bounds]
    for row, before, after in zip(rows, [0, *bounds], bounds, strict=False):
        row["waiting"] = after - before
    course, now = Course(0, 0), 0
    limit = sum(phase.phase_s + phase.soak_s + 3 * _PAUSE_S for phase in made.phases)
    failing = chance.random()
    while True:
        assert now <= limit * S
        for _ in range(64):  # of one look
            counts = [Counts(sum(row.values()), **row) for row in rows]
            action = decide(CAMPAIGN, made, course, counts, now)
            if isinstance(action, Halt | End):
                if isinstance(action, End):
                    _is_earned(made, counts)
                return
            if isinstance(action, Reach):
                course = Course(course.phase, course.phase_at, now)
            elif isinstance(action, Advance):
                assert action.phase == course.phase + 1
                course = Course(action.phase, now)
            elif isinstance(action, Release):
                assert 0 < action.devices and made.in_window(now)
                _move(rows, action.devices, course.phase)
                assert made.at_once is None or sum(r["queued"] + r["begun"] for r in rows) <= made.at_once
            if action is None or isinstance(action, Release):
                break
        else:
            raise AssertionError("one look does not end")
        for row in rows:
            _live(row, chance, failing)
        now += chance.randint(1, _PAUSE_S) * S


_PAUSE_S = 40  # between two looks, at most
_NAMES = ("waiting", "queued", "begun", "proven", "claimed", "failed", "cancelled")


def _move(rows, number, phase):
    for row in rows[: phase + 1]:
        moved = min(number, row["waiting"])
        row["waiting"] -= moved
        row["queued"] += moved
        number -= moved
    assert number == 0, "more than there are"


def _live(row, chance, failing):
    for before, after in (("queued", "begun"), ("begun", "proven"), ("proven", "failed"), ("begun", "claimed")):
        often = failing / 20 if after == "failed" else 0.3
        moved = sum(chance.random() < often for _ in range(row[before]))
        row[before] -= moved
        row[after] += moved
    failed = sum(chance.random() < failing / 2 for _ in range(row["begun"]))
    row["begun"] -= failed
    row["failed"] += failed


def _is_earned(made, counts):
    for phase, count in zip(made.phases, counts, strict=True):
        assert count.failed <= phase.max_failures.within(count.devices)
    phase, count = made.phases[-1], counts[-1]
    assert count.proven + count.claimed + count.open + count.waiting >= phase.needed(count.devices)
