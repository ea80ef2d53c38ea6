# SPDX-License-Identifier: MIT
"""What a benchmark hands back, and how two things are measured side by side.

Rules kept: what is compared is measured in turns (A B A B) in one run, so that a busy machine slows both; a ratio is the
median of the turns' ratios; an aim is printed with the figure whether it is met or not.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable
from operator import truediv
from typing import Any, NamedTuple


class Figure(NamedTuple):
    """One line of the table.  `ratio`, where there is a peer, reads "1.0: as good as the peer"."""

    what: str
    value: float | None  # None: not measured, `note` says why
    unit: str
    peer: float | None = None
    peer_is: str = ""
    ratio: float | None = None
    aim: str = ""
    met: bool | None = None
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {key: value for key, value in self._asdict().items() if value not in (None, "")}


class BenchError(Exception):
    """Nothing was measured; the text says what was waited for in vain."""


def must(held: bool, what: str) -> None:
    if not held:
        raise BenchError(f"waited in vain for {what}")


class Turns(NamedTuple):
    """Medians, and the median of what the ratios were turn by turn: a load that comes and goes then harms few of them."""

    ours: float
    peer: float
    ratio: float


def in_turns(runs: int, peer: Callable[[], float], *ours: Callable[[], float]) -> list[Turns]:
    """Measure the peer, then each of ours, and all over again; `ratio` is ours / peer."""
    theirs: list[float] = []
    results: list[list[float]] = [[] for _ in ours]
    for _ in range(runs):
        theirs.append(peer())
        for work, result in zip(ours, results, strict=True):
            result.append(work())
    median = statistics.median
    return [Turns(median(result), median(theirs), round(median(map(truediv, result, theirs)), 2)) for result in results]


def command_s(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def ratio(one: float, other: float) -> float:
    return round(one / other, 2)


def least(low: int, high: int, step: int, works: Callable[[int], bool]) -> int | None:
    """The least multiple of `step` in low..high that works; None when `high` does not.

    The answer has worked twice: next to the limit a run can succeed by luck.
    """
    below, found = low // step - 1, high // step
    if not works(found * step):
        return None
    while found - below > 1:
        middle = (found + below) // 2
        if works(middle * step):
            found = middle
        else:
            below = middle
    while found * step < high and not works(found * step):
        found += 1
    return found * step
