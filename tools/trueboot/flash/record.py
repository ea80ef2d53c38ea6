# SPDX-License-Identifier: MIT
"""What a bench did: NDJSON, appended and never rewritten, each line with the hash of the one before.

    {"seq": 3, "time": "2026-11-28T13:00:00Z", "event": "board.finished", ..., "prev": "<SHA-256 of line 2>"}

A line is on the disk before what it tells is built upon.  Nothing secret is in it.  The chain shows that a line was changed
or taken out; that the last ones were cut off it cannot show.  A last line without its end is what a crash leaves, and is
removed.  One process at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from ..problem import Problem

FIRST = "0" * 64
MAX_BYTES = 256 * 1024 * 1024
CLAIMED, WRITTEN, TRIED, FINISHED, FAILED, RETIRED = (
    "board.claimed",
    "board.written",
    "board.tried",
    "board.finished",
    "board.failed",
    "board.retired",
)

Line = dict[str, Any]


class Record:
    def __init__(self, path: Path):
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab+", buffering=0)
        except OSError as error:
            raise _unwritable(path, error) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise Problem("record_busy", f"{path} is being written by another run.") from None
        self.lines, self._prev, good = _read(path, torn=True)
        self._file.truncate(good)

    def append(self, event: str, **facts: Any) -> Line:
        line: Line = {"seq": len(self.lines) + 1, "time": _now(), "event": event, **facts, "prev": self._prev}
        data = json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode()
        rest, size = data + b"\n", os.fstat(self._file.fileno()).st_size
        try:
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(size)  # half a line is none
            raise _unwritable(self.path, error) from None
        self.lines.append(line)
        self._prev = hashlib.sha256(data).hexdigest()
        return line

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_exc: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    # What it says of boards

    def finished(self) -> dict[str, Line]:
        return finished(self.lines)

    def latest(self, event: str, member: str) -> dict[str, Any]:
        """chip -> that member of its last line of this event."""
        return {line["chip_id"]: line[member] for line in self.lines if line["event"] == event and "chip_id" in line}


def finished(lines: list[Line]) -> dict[str, Line]:
    """chip -> the line of its last good end, but for those that were retired since."""
    found: dict[str, Line] = {}
    for line in lines:
        if line["event"] == FINISHED:
            found[line["chip_id"]] = line
        elif line["event"] == RETIRED:
            found = {chip: one for chip, one in found.items() if one["device"] != line["device"]}
    return found


def read(path: Path) -> list[Line]:
    """The lines of a record that nobody need be writing; Problem when the chain does not hold."""
    return _read(path, torn=True)[0]


def _read(path: Path, torn: bool) -> tuple[list[Line], str, int]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Problem("record_broken", f"{path} is no record.", f"it has more than {MAX_BYTES >> 20} MB")
        data = path.read_bytes()
    except OSError as error:
        raise Problem("file_unusable", f"{path} cannot be read.", error.strerror or str(error)) from None
    lines: list[Line] = []
    prev, good = FIRST, 0
    for number, raw in enumerate(data.splitlines(keepends=True), 1):
        if not raw.endswith(b"\n") and torn:
            break
        try:
            line = json.loads(raw)
            holds = line["prev"] == prev and line["seq"] == number and isinstance(line["event"], str)
        except (ValueError, KeyError, TypeError):
            holds = False
        if not holds:
            raise Problem(
                "record_broken", f"{path} does not hold.", f"line {number} does not follow from the one before"
            )
        lines.append(line)
        prev = hashlib.sha256(raw.rstrip(b"\n")).hexdigest()
        good += len(raw)
    return lines, prev, good


def _unwritable(path: Path, error: OSError) -> Problem:
    return Problem("record_unwritable", f"{path} cannot be written.", error.strerror or str(error))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
