# SPDX-License-Identifier: MIT
"""agent.rules against the `semver` package: ranges of several conditions, and stepping stones."""

import semver
from hypothesis import example, given
from hypothesis import strategies as st

from agent import rules
from agent.errors import RefusedError

NUMBER = st.integers(0, 3).map(str)
VERSION = st.builds(
    lambda core, pre, build: ".".join(core) + pre + build,
    st.tuples(NUMBER, NUMBER, NUMBER),
    st.sampled_from(["", "", "-rc.1", "-rc.2", "-alpha"]),
    st.sampled_from(["", "+7"]),
)
CONDITION = st.tuples(st.sampled_from([">=", ">", "<=", "<", "=", "!="]), VERSION)
JUNK = st.text("<>=!~^0123.-+ rcx,|", max_size=20)


def verdict(running, **custom):
    """ "" or the code of the refusal."""
    said = {"kind": "app", "version": "9.9.9", "hardware": ["sim"], "security": 0} | custom
    target = {"length": 1, "hashes": {"sha256": "ab" * 32}, "custom": said}
    try:
        rules.release("path", target, {"kind": "app", "hardware": "sim", "version": running, "capacity": 1})
    except RefusedError as error:
        return error.code
    return ""


@given(VERSION, st.lists(CONDITION, min_size=1, max_size=4), st.sampled_from([" ", "  "]))
def test_a_range_holds_when_each_condition_does(running, conditions, blank):
    oracle = semver.Version.parse(running)
    holds = all(oracle.match({"=": "=="}.get(operator, operator) + bound) for operator, bound in conditions)
    wanted = blank.join(operator + bound for operator, bound in conditions)
    assert verdict(running, requires=wanted) == ("" if holds else "release_requires")


@given(VERSION, VERSION)
def test_a_stepping_stone_is_reached_or_passed(running, stone):
    reached = semver.Version.parse(running) >= semver.Version.parse(stone)
    assert verdict(running, prerequisite=stone) == ("" if reached else "release_prerequisite")


@given(VERSION, JUNK)
@example("1.0.0", ">=1.0.0,<2.0.0")
@example("1.0.0", ">=1.0.0 || <2.0.0")
@example("1.0.0", ">=1.0")
@example("1.0.0", "*")
def test_a_range_that_the_oracle_cannot_read_is_refused(running, wanted):
    def readable(condition):
        bound = condition.lstrip("<>=!")
        operator = condition[: len(condition) - len(bound)]
        return operator in (">=", ">", "<=", "<", "=", "!=") and semver.Version.is_valid(bound)

    parts = wanted.split()
    if not parts or not all(readable(part) for part in parts):
        assert verdict(running, requires=wanted) == "release"
    else:
        assert verdict(running, requires=wanted) in ("", "release_requires")


@given(VERSION, st.one_of(st.none(), st.booleans(), st.integers(), st.lists(st.text()), st.text(max_size=9)))
def test_whatever_the_rules_hold_the_answer_is_in_our_words(running, thing):
    for name in ("requires", "prerequisite", "size", "hardware", "version", "kind", "security"):
        try:
            code = verdict(running, **{name: thing})
        except Exception as error:
            assert getattr(error, "code", None) == "slot_full", (name, thing)
        else:
            assert code in (
                "",
                "release",
                "release_kind",
                "release_hardware",
                "release_requires",
                "release_prerequisite",
                "older",
            )
