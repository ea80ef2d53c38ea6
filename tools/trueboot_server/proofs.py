# SPDX-License-Identifier: MIT
"""Failed proofs, counted per source address: guessing is slow, and nobody locks out somebody else's device.

Nothing is counted per device, since that would let a stranger lock a device out by failing in its name.
Connections that proved a client certificate are not counted either: they are not guesses.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable


class FailedProofs:
    """A moving window per address; the number of addresses that are remembered is bounded."""

    def __init__(self, count: int, window_s: float, addresses: int, clock: Callable[[], float] = time.monotonic):
        self._count = count
        self._window_s = window_s
        self._addresses = addresses
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def failed(self, address: str) -> None:
        times = self._failures.setdefault(address, deque(maxlen=self._count))
        times.append(self._clock())
        self._failures.move_to_end(address)
        while len(self._failures) > self._addresses:
            self._failures.popitem(last=False)

    def wait_s(self, address: str) -> float:
        """0.0 when `address` may try; else the seconds until it may."""
        times = self._failures.get(address)
        if times is None or len(times) < self._count:
            return 0.0
        return max(0.0, times[0] + self._window_s - self._clock())
