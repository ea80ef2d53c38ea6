# SPDX-License-Identifier: MIT
"""esthesis Line Protocol: `category name=value,name=value [timestamp]`, a line each.

Lines are taken and refused as esthesis's parser does, one by one: a bad line spoils no other.  Unlike there, a text
that merely ends in a letter which could be a type (b s i l f d) keeps that letter.

Source: esthesis, protocol 6.3.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import NamedTuple

Value = str | int | float | bool

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?\Z", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,30}\Z", re.ASCII)
_SUFFIXES = {**dict.fromkeys("bsil", _WHOLE), **dict.fromkeys("fd", _NUMBER)}
_YES, _NO = ("true", "yes", "on", "y", "t"), ("false", "no", "off", "n", "f")


class Line(NamedTuple):
    category: str
    values: dict[str, Value]
    time_ms: int | None  # as the device says; None: it does not


class BadLine(Exception):
    """What is wrong with it, for the log."""


def parse(text: str) -> tuple[list[Line], list[str]]:
    """(the lines that can be used, what is wrong with the others)."""
    lines, wrong = [], []
    for line in text.split("\n"):
        line = line.rstrip("\r")
        if not line or line.startswith("#"):
            continue
        try:
            lines.append(_line(line))
        except BadLine as error:
            wrong.append(str(error))
    return lines, wrong


def _line(text: str) -> Line:
    parts = _split(text)
    if len(parts) < 2:
        raise BadLine("no measurements")
    values: dict[str, Value] = {}
    for pair in parts[1].split(","):
        name, equals, value = pair.partition("=")
        if not name or not equals or not value or "=" in value:
            raise BadLine("a measurement is not name=value")
        values[name] = typed(value)
    # With four parts and more esthesis drops what follows, without a word.
    return Line(parts[0], values, _time(parts[2]) if len(parts) == 3 else None)


def _split(text: str) -> list[str]:
    """At runs of spaces outside single quotes."""
    parts, current, quoted = [], "", False
    for char in text:
        if char == "'":
            quoted = not quoted
        if char == " " and not quoted:
            if current:
                parts.append(current)
            current = ""
        else:
            current += char
    if quoted:
        raise BadLine("a quote is not closed")
    return [*parts, current] if current else parts


def typed(text: str) -> Value:
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1]
    lower = text.lower()
    if lower in ("true", "false"):
        return lower == "true"
    suffixed = _SUFFIXES.get(text[-1])
    if suffixed is not None and suffixed.match(text[:-1]):
        return int(text[:-1]) if suffixed is _WHOLE else _real(text[:-1])
    if _WHOLE.match(text):
        return int(text)
    if _NUMBER.match(text):
        return _real(text)
    if lower in _YES or lower in _NO:
        return lower in _YES
    return text


def _real(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadLine("a number is too large")
    return number


def _time(text: str) -> int:
    try:
        when = datetime.fromisoformat(text)
        if when.tzinfo is None or "T" not in text:
            raise BadLine("the time has no zone")
        return int(when.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise BadLine("the time is not ISO 8601") from error
