# SPDX-License-Identifier: MIT
"""agent.version against the `semver` package."""

import pytest
import semver
from hypothesis import example, given
from hypothesis import strategies as st

from agent.errors import AgentError, RefusedError
from agent.version import compare, parse, satisfies

NUMBER = st.integers(0, 12).map(str)
IDENTIFIER = st.text("ab01-", min_size=1, max_size=3).filter(lambda t: not (t.isdigit() and t[0] == "0" and len(t) > 1))
DOTTED = st.lists(IDENTIFIER, min_size=1, max_size=3).map(".".join)
VERSION = st.builds(
    lambda core, pre, build: ".".join(core) + (pre and "-" + pre) + (build and "+" + build),
    st.tuples(NUMBER, NUMBER, NUMBER),
    st.just("") | DOTTED,
    st.just("") | DOTTED,
)


@given(VERSION, VERSION)
def test_order_is_that_of_the_oracle(a, b):
    assert compare(a, b) == semver.Version.parse(a).compare(b)


@given(VERSION, st.sampled_from([">=", ">", "<=", "<", "=", "!="]), VERSION)
def test_conditions_are_those_of_the_oracle(version, operator, bound):
    oracle = semver.Version.parse(version).match({"=": "=="}.get(operator, operator) + bound)
    assert satisfies(version, operator + bound) is oracle


@given(st.text("01a-.+ v\u0661", max_size=12))
@example("1.0.0-0a")
@example("1.0.0-00")
@example("1.0.0+00")
def test_the_same_texts_are_versions(text):
    if semver.Version.is_valid(text):
        parsed = parse(text)
        assert parsed[:3] == semver.Version.parse(text).to_tuple()[:3]
    else:
        with pytest.raises(RefusedError):
            parse(text)


@given(st.text(max_size=80), st.text(max_size=80))
def test_anything_else_is_refused_in_our_words(version, wanted):
    try:
        satisfies(version, wanted)
    except AgentError as error:
        assert error.code == "version_syntax"
