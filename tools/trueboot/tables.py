# SPDX-License-Identifier: MIT
"""Columns of text for people; the same facts go out as JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any


def show_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False) + "\n")
    sys.stdout.flush()  # before what follows on stderr


def show_table(headings: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    lines = [[printable(cell) for cell in row] for row in (tuple(headings), *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n")
    sys.stdout.flush()


def show_facts(facts: Iterable[tuple[str, Any]]) -> None:
    shown = [(name, printable(value)) for name, value in facts]
    width = max(len(name) for name, _ in shown)
    for name, value in shown:
        sys.stdout.write(f"{name.ljust(width)}  {value}\n")
    sys.stdout.flush()


def printable(value: Any) -> str:
    """What a device sent may hold control characters; a terminal must not obey them."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def moment(value: Any) -> str:
    """A time of the server (ISO 8601, UTC), to the second."""
    text = printable(value)
    return text.partition(".")[0] + "Z" if text.endswith("Z") and "." in text else text
