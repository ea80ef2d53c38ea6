# SPDX-License-Identifier: MIT
"""Power by MicroPython's `machine`: reset, and a watchdog that bites when the agent no longer turns.

Rule it keeps: the watchdog is fed by the agent's turns alone.  Where hardware
cannot wait as long as a turn may take, a timer feeds it for so long after the
last turn, and no longer.
"""

from agent.errors import MisuseError

WATCHDOG_MS = 60_000  # longer than the longest call of a turn, a handshake with a silent server
LEAST_WATCHDOG_MS = 30_000
TICK_MS = 1000


class Power:
    """`machine`: the module; `cause`: the port's word for why it started."""

    def __init__(self, machine, cause, watchdog):
        self._machine = machine
        self._cause = cause
        self._watchdog = watchdog

    def reboot(self, reason):
        self._machine.reset()

    def cause(self):
        return self._cause

    def feed(self):
        self._watchdog.feed()


class Watchdog:
    """Bites `limit_ms` after the last `feed`; begins at the first one, and never ends: hardware knows no end."""

    def __init__(self, machine, limit_ms, most_ms=None):
        """`most_ms`: as long as this hardware can wait; None for any time."""
        if limit_ms < LEAST_WATCHDOG_MS:
            raise MisuseError("config", "watchdog_ms: at least %d, a turn may take that long" % LEAST_WATCHDOG_MS)
        self._machine = machine
        self._limit_ms = limit_ms
        self._most_ms = most_ms
        self._hardware = self._timer = None
        self._left = 0

    def feed(self):
        if self._hardware is None:
            self._begin()
        self._left = self._limit_ms // TICK_MS
        self._hardware.feed()

    def _begin(self):
        machine = self._machine
        if self._most_ms is None or self._limit_ms <= self._most_ms:
            self._hardware = machine.WDT(timeout=self._limit_ms)
            return
        self._hardware = machine.WDT(timeout=self._most_ms)
        # Hard: it comes while a call of C waits for the network, too; and so it must not allocate.
        self._timer = machine.Timer(-1, period=TICK_MS, mode=machine.Timer.PERIODIC, callback=self._tick, hard=True)

    def _tick(self, timer):
        if self._left > 0:
            self._left -= 1
            self._hardware.feed()
