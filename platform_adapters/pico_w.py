# SPDX-License-Identifier: MIT
"""The Raspberry Pi Pico W: app slots in two folders of a littlefs, since its boot loader knows no slots.

    PicoW()

The chip's watchdog waits 8.4 s at most, less than a slow network may take: see
`micropython_machine.Watchdog`.  `machine.reset()` uses it, too, so that what the
boot ROM was told then has to tell a reset from a bite.

Source: MicroPython, ports/rp2/modmachine.c; pico-sdk, hardware_watchdog.
"""

import sys

from platform_adapters.micropython_board import Board
from platform_adapters.micropython_machine import WATCHDOG_MS, Power, Watchdog

MOST_WATCHDOG_MS = 8388
_SCRATCH_4 = 0x4005801C  # of the RP2040
_ENABLED = 0x6AB73121  # there while a watchdog runs; a reset on purpose clears it


class PicoW(Board):
    def __init__(self, root=None, watchdog_ms=WATCHDOG_MS, mqtt_codec=None):
        import machine

        power = Power(machine, _cause(machine), Watchdog(machine, watchdog_ms, MOST_WATCHDOG_MS))
        super().__init__(power, root, mqtt_codec=mqtt_codec)


def _cause(machine):
    cause = machine.reset_cause()
    if cause == machine.PWRON_RESET:
        return "power"
    if cause != machine.WDT_RESET or not _is_rp2040():
        return "unknown"
    return "watchdog" if machine.mem32[_SCRATCH_4] & 0xFFFFFFFF == _ENABLED else "reset"


def _is_rp2040():
    return "RP2040" in getattr(sys.implementation, "_machine", "")
