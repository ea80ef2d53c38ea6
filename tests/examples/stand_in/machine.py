# SPDX-License-Identifier: MIT
"""MicroPython's module `machine` on its unix port: what the examples touch of it.  A reset is exit code 3."""

import sys

PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5
_CAUSE = "reset_cause"  # a file in the board's root: what a chip keeps through a reset


def reset():
    _end("2")


def deepsleep(time_ms):
    print("asleep for", time_ms, "ms")
    _end("4")


def _end(cause):
    with open(_CAUSE, "w") as file:
        file.write(cause)
    sys.exit(3)


def reset_cause():
    try:
        with open(_CAUSE) as file:
            return int(file.read())
    except OSError:
        return PWRON_RESET


class Pin:
    OUT, IN, PULL_UP = 1, 0, 1

    def __init__(self, number, mode=0, pull=None):
        self._value = 1 if pull else 0

    def value(self, *to):
        if to:
            self._value = int(to[0])
        return self._value


class ADC:
    def __init__(self, pin):
        pass

    def read_uv(self):
        return 1_715_000  # 121.5 degrees of a TMP36; 3.43 V behind a divider by two

    def read_u16(self):
        return 14021  # 27 degrees inside an RP2040


class WDT:
    def __init__(self, timeout):
        self._timeout = timeout

    def feed(self):
        pass


class Timer:
    PERIODIC = 1

    def __init__(self, number, period, mode, callback, hard):
        pass


class RTC:
    def datetime(self, to):
        pass
