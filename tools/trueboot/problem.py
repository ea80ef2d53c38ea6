# SPDX-License-Identifier: MIT
"""The one exception that the host tools show to people: what, why, what to do, and an exit code."""

from __future__ import annotations

FAILED, USAGE, UNAVAILABLE, RETRY, NOT_PERMITTED, CONFIG = 1, 2, 69, 75, 77, 78


class Problem(Exception):
    """`code` names a row of `codes.CODES`, which gives the exit code and whatever of the three lines is not given here."""

    def __init__(self, code: str, what: str = "", why: str = "", todo: str = ""):
        super().__init__(code, what)
        self.code = code
        self._said = (what, why, todo)
        self.server_code = ""  # what the server calls it, when it comes from there

    @property
    def reason(self) -> str:
        """The why that was given here, not that of the table."""
        return self._said[1]

    @property
    def exit_code(self) -> int:
        from .codes import CODES

        return CODES[self.code].exit if self.code in CODES else FAILED

    def lines(self) -> list[str]:
        """One to three lines: what [code], why, what to do."""
        from .codes import CODES

        row = CODES.get(self.code)
        what, why, todo = (
            said or (listed if row else "")
            for said, listed in zip(self._said, row[2:] if row else ("", "", ""), strict=True)
        )
        lines = [f"{what or self.code} [{self.code}]"]
        if why:
            lines.append(f"  why: {why}")
        if todo:
            lines.append(f"  do:  {todo}")
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines())
