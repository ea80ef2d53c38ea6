# SPDX-License-Identifier: MIT
"""One byte range of a file (RFC 9110, 14).  Several ranges in one request are answered with the whole, as 14.2 allows."""

from __future__ import annotations

import re

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")


class NotSatisfiable(Exception):
    pass


def parse(header: str | None, size: int) -> tuple[int, int] | None:
    """(first, one past the last) byte; None for the whole; NotSatisfiable for 416."""
    form = _RANGE.match(header.strip()) if header else None
    if form is None or form[0] == "bytes=-":
        return None
    first, last = form[1], form[2]
    if not first:  # the last so many bytes
        if int(last) == 0 or size == 0:
            raise NotSatisfiable
        return max(0, size - int(last)), size
    start = int(first)
    if last and int(last) < start:
        return None  # not a valid range: it is as if there were none
    if start >= size:
        raise NotSatisfiable
    return start, (min(int(last) + 1, size) if last else size)
