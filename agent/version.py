# SPDX-License-Identifier: MIT
"""Semantic versions: which of two is newer, and does one lie in a range.

Follows Semantic Versioning 2.0.0 (semver.org), clauses 2 to 11.  Texts come
from signed metadata and from clouds alike, so they are bounded before they are
looked at, and whatever is not a version is refused, never guessed.

A range is a list of conditions that must all hold, ">=1.2.0 <2.0.0".  Order is
plain precedence: 2.0.0-rc.1 is below 2.0.0 and therefore within "<2.0.0".
Whether an older version may be installed is decided elsewhere.
"""

from agent.errors import RefusedError

MAX_VERSION_CHARS = 64
MAX_RANGE_CHARS = 256

_DIGITS = "0123456789"
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-"


def parse(text: str) -> tuple:
    """(major, minor, patch, prerelease, build).

    `prerelease` and `build` are tuples of their identifiers; a numeric prerelease identifier is an int.
    RefusedError("version_syntax") for anything else.
    """
    if not isinstance(text, str) or len(text) > MAX_VERSION_CHARS:
        raise _syntax("not a text of at most %d characters" % MAX_VERSION_CHARS)
    rest, plus, build = text.partition("+")
    core, dash, prerelease = rest.partition("-")
    numbers = core.split(".")
    if len(numbers) != 3:
        raise _syntax(text)
    return (
        _number(numbers[0]),
        _number(numbers[1]),
        _number(numbers[2]),
        tuple([_prerelease_identifier(word) for word in prerelease.split(".")]) if dash else (),
        tuple([_identifier(word) for word in build.split(".")]) if plus else (),
    )


def compare(a: str, b: str) -> int:
    """-1, 0 or 1: whether `a` is older than, of the same precedence as, or newer than `b` (clause 11)."""
    rank_a = _rank(parse(a))
    rank_b = _rank(parse(b))
    return (rank_a > rank_b) - (rank_a < rank_b)


def satisfies(version: str, wanted: str) -> bool:
    """Whether `version` meets every condition of the range `wanted`.

    A condition is one of >=, >, <=, <, =, != before a full version; blanks stand between conditions.
    RefusedError("version_syntax").
    """
    if not isinstance(wanted, str) or len(wanted) > MAX_RANGE_CHARS:
        raise _syntax("a range is a text of at most %d characters" % MAX_RANGE_CHARS)
    conditions = wanted.split()
    if not conditions:
        raise _syntax("empty range")
    verdict = True
    for condition in conditions:  # no early return: the whole range is checked for syntax
        operator = condition[: len(condition) - len(condition.lstrip("<>=!"))]
        order = compare(version, condition[len(operator) :])
        if operator == ">=":
            met = order >= 0
        elif operator == ">":
            met = order > 0
        elif operator == "<=":
            met = order <= 0
        elif operator == "<":
            met = order < 0
        elif operator == "=":
            met = order == 0
        elif operator == "!=":
            met = order != 0
        else:
            raise _syntax("%s has no operator of >= > <= < = !=" % condition)
        verdict = verdict and met
    return verdict


def _rank(parsed: tuple) -> tuple:
    # Clause 11.3: a release ranks above its prereleases.  11.4: numbers below words.
    prerelease = tuple([(0, word, "") if isinstance(word, int) else (1, 0, word) for word in parsed[3]])
    return parsed[0], parsed[1], parsed[2], 0 if prerelease else 1, prerelease


def _number(text: str) -> int:
    if not text or (text[0] == "0" and len(text) > 1):
        raise _syntax("%s is no number without leading zeros" % text)
    for character in text:  # not isdigit: it takes other scripts' digits too
        if character not in _DIGITS:
            raise _syntax("%s is no number" % text)
    return int(text)


def _identifier(text: str) -> str:
    if not text:
        raise _syntax("empty identifier")
    for character in text:
        if character not in _DIGITS and character not in _LETTERS:
            raise _syntax("%s is no identifier" % text)
    return text


def _prerelease_identifier(text: str):
    _identifier(text)
    for character in text:
        if character not in _DIGITS:
            return text
    return _number(text)


def _syntax(detail: str) -> RefusedError:
    return RefusedError("version_syntax", detail)
