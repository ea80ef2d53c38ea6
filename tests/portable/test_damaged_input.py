# SPDX-License-Identifier: MIT
"""Damaged input gives a value or an AgentError, and a stream reads the same in pieces of any size.

Deterministic: the same damage on both interpreters, in every run.
"""

from expect import value_or_agent_error
from parsers import STREAMING, WHOLE

TIMEOUT_S = 240
ROUNDS = 150

_INTERESTING = b'\x00\x01\x7f\x80\x81\xff\r\n \t:;,.-+/0179aA="%'


class _Random:
    """Numerical Recipes' generator; the interpreters' own differ."""

    def __init__(self, seed):
        self._state = seed

    def below(self, bound):
        self._state = (self._state * 1664525 + 1013904223) & 0xFFFFFFFF
        return (self._state >> 8) % bound


def _damaged(data, random):
    for _ in range(1 + random.below(3)):
        at = random.below(len(data) + 1)
        kind = random.below(6)
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            data = data[:at] + data[at + 1 + random.below(4) :]
        elif kind == 2:
            data = data[:at] + bytes((random.below(256),)) + data[at + 1 :]
        elif kind == 3:
            data = data[:at] + bytes((_INTERESTING[random.below(len(_INTERESTING))],)) + data[at + random.below(2) :]
        elif kind == 4:
            data = data[:at] + data[at : at + random.below(40)] + data[at:]
        else:
            data = data[:at] + bytes((_INTERESTING[random.below(len(_INTERESTING))],)) * random.below(300) + data[at:]
    return data


def test_samples_are_accepted():
    for parse, sample in WHOLE:
        value = value_or_agent_error(parse, sample)
        assert not isinstance(value, Exception), (sample, value)


def test_every_truncation_of_a_whole():
    for parse, sample in WHOLE:
        for end in range(0, len(sample), 1 if len(sample) < 400 else 7):
            value_or_agent_error(parse, sample[:end])


def test_damaged_wholes():
    random = _Random(1)
    for parse, sample in WHOLE:
        for _ in range(ROUNDS):
            value_or_agent_error(parse, _damaged(sample, random))


def test_every_truncation_of_a_stream():
    for read, sample in STREAMING:
        for end in range(len(sample) + 1):
            assert read(sample[:end], 0) == read(sample[:end], 1), (end, sample)


def test_damaged_streams():
    random = _Random(2)
    for read, sample in STREAMING:
        for _ in range(ROUNDS):
            data = _damaged(sample, random)
            expected = read(data, 0)
            for step in (1, 2 + random.below(9)):
                assert read(data, step) == expected, (step, data)
