# SPDX-License-Identifier: MIT
"""How fast a body comes: not faster than the configuration allows, not slower than makes sense.

A server that drips a byte now and then is never silent, so no limit on silence
ends it.  This one does: fewer than SLOW_BYTES in SLOW_MS is given up, which also
bounds every download in total.  What the app keeps for itself does not count as
the server's time: of each pause between two calls at most GAP_MS does.
"""

from agent.errors import UnreachableError

SLOW_MS = 60_000
SLOW_BYTES = 4096  # some 68 bytes/s, which the slowest radio of a device beats
GAP_MS = 1000
BURST_MS = 1000  # of bandwidth that was not used, what may be used later
LEAST_PIECE = 64


class Pace:
    def __init__(self, clock, limit=0):
        """`limit`: bytes/s, 0 for none."""
        self._clock = clock
        self._limit = limit
        self._last = self._start = clock.ticks_ms()
        self._waited = self._bytes = self._used = 0

    def piece(self, size):
        """How many bytes to ask for at once, so that no rest is longer than a quarter of a second."""
        return min(size, max(LEAST_PIECE, self._limit // 4)) if self._limit else size

    def rest_ms(self, size):
        """`size` more bytes came, 0 for none; how long to rest.  UnreachableError("too_slow")."""
        now = self._clock.ticks_ms()
        self._waited += min(now - self._last, GAP_MS)
        self._last = now
        self._bytes += size
        if self._waited >= SLOW_MS:
            if self._bytes < SLOW_BYTES:
                raise UnreachableError("too_slow", "%d bytes in %d s" % (self._bytes, SLOW_MS // 1000))
            self._waited = self._bytes = 0
        limit = self._limit
        if not limit:
            return 0
        self._used += size
        while self._used >= limit:
            self._used -= limit
            self._start += 1000
        due = self._start + self._used * 1000 // limit
        if due < now - BURST_MS:
            self._start, self._used = now - BURST_MS, 0
        return max(0, due - now)
