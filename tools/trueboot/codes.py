# SPDX-License-Identifier: MIT
"""Every error code that a person can meet: what happened, why, what to do, and the exit code.

One table, a text file (`codes.txt`) so that it can be read, sorted and compared: `trueboot explain` prints
it and docs/errors.md is made from it.  A test reads the codes out of the sources and compares them with the table, so
that neither runs ahead.

Exit codes: 1 the operation failed, 2 wrong usage, 69 a peer is unavailable, 75 try again later, 77 not permitted,
78 the configuration is wrong (sysexits.h; a supervisor restarts on 69 and 75, never on 77 and 78).
"""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple


class Code(NamedTuple):
    who: str
    exit: int
    what: str
    why: str
    todo: str


def read_table(text: str) -> dict[str, Code]:
    table: dict[str, Code] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [field.strip() for field in line.split("|")]
        if len(fields) != 6:
            raise ValueError(f"codes.txt line {number}: six fields separated by '|' wanted, {len(fields)} found")
        code, who, exit_code, what, why, todo = fields
        if code in table:
            raise ValueError(f"codes.txt line {number}: {code} is listed twice")
        table[code] = Code(who, int(exit_code), what, why, todo)
    return table


CODES = read_table(files(__package__).joinpath("codes.txt").read_text("utf-8"))
