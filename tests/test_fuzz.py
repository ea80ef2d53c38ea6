# SPDX-License-Identifier: MIT
"""The same as tests/portable/test_damaged_input.py, with Hypothesis looking for the damage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expect import value_or_agent_error
from parsers import STREAMING, WHOLE


def _damaged(sample):
    """A sample with one part replaced, or anything at all."""
    cut = st.tuples(st.integers(0, len(sample)), st.integers(0, 8), st.binary(max_size=8))
    return st.binary() | cut.map(lambda c: sample[: c[0]] + c[2] + sample[c[0] + c[1] :])


@pytest.mark.parametrize("number", range(len(WHOLE)))
@given(data=st.data())
def test_whole(number, data):
    parse, sample = WHOLE[number]
    value_or_agent_error(parse, data.draw(_damaged(sample)))


@pytest.mark.parametrize("number", range(len(STREAMING)))
@given(data=st.data())
def test_stream(number, data):
    read, sample = STREAMING[number]
    damaged = data.draw(_damaged(sample))
    assert read(damaged, 0) == read(damaged, data.draw(st.integers(1, 9)))
