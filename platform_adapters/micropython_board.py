# SPDX-License-Identifier: MIT
"""What the boards of the MicroPython family share: a file system, slots for apps, `machine` for power.

A board's own file (`esp32`, `pico_w`) says what is particular: reset causes,
the watchdog's limits, slots for firmware, the radio.

Rules it keeps
  * littlefs or nothing: on FAT it does not start (`file_system`).
  * The watchdog is fed by the agent's turns alone.  Where hardware cannot wait
    as long as a turn may take, a timer feeds it for so long after the last
    turn, and no longer.
  * Hardware is asked for when a board is made, never at import.
"""

import os
import time

from agent.errors import MisuseError
from platform_adapters import micropython_base as base
from platform_adapters.micropython_mqtt import Mqtt

WATCHDOG_MS = 60_000  # longer than the longest call of a turn, a handshake with a silent server
LEAST_WATCHDOG_MS = 30_000
TICK_MS = 1000


class Board:
    chunk = 1024  # bytes that are read from a slot or a socket at a time
    kinds = ("app",)  # of slots that it has; the first is what it has without being asked
    passing = (
        "platform_adapters.micropython_files",
        "platform_adapters.trusted_file",
        "platform_adapters.filestore",
        "platform_adapters.files",
    )

    def __init__(self, power, root=None, slots_kind=None):
        """`root`: the folder of micropython/boot.py, by default the current one.  `slots_kind` goes before the
        configuration's key of that name.  MisuseError("config"), DeviceError("file_system")."""
        root = os.getcwd().rstrip("/") if root is None else root
        self.config = config = base.read_config(root)
        kind = slots_kind or config.get("slots_kind") or self.kinds[0]
        if kind not in self.kinds:
            raise MisuseError("config", "slots_kind %s: this board has slots for %s" % (kind, " or ".join(self.kinds)))
        base.check_file_systems(config)
        self._kind = kind
        self.slots = base.Late(self._make_slots)
        self.http = base.Late(self._make_http)
        self.store = base.Late(self._make_store)
        self.keys = base.Late(self._make_keys)
        self.mqtt = Mqtt(self.anchors, self._credentials)
        self.clock = Clock()
        self.power = power
        self.chance = base.Chance()
        self.verify = base.Verify(self.store)

    def _make_slots(self):
        from platform_adapters.dirslots import DirSlots

        return DirSlots(self.config["slots"], self.config["state"])

    def _make_http(self):
        from platform_adapters.micropython_http import Http

        return Http(self.anchors, self._credentials)

    def _make_store(self):
        from platform_adapters.filestore import FileStore

        return FileStore(self.config["state"] + "/store")

    def _make_keys(self):
        return base.FileKeys(self.config["state"] + "/keys")

    def _credentials(self, identity):
        return None if identity is None else self.keys.credentials(identity)

    def idle(self):
        for part in (self.slots, self.http, self.store, self.keys):
            part.let_go()

    def anchors(self):
        return [self._trusted("ca_file")]

    def datagram(self, host, port, data):
        from platform_adapters import micropython_udp

        return micropython_udp.ask(host, port, data)

    def root(self):
        return self._trusted("root_file")

    def _trusted(self, name):
        from platform_adapters.trusted_file import read_trusted

        return read_trusted(self.config[name], name)

    def log(self, event, fields):
        text = self.config.get("log") == "text"
        base.write_line(base.log_line(event, self.clock.ticks_ms(), fields, text))


class Clock(base.Clock):
    def set(self, seconds):
        """The chip's clock, which TLS reads as well; it forgets when the power goes."""
        from machine import RTC

        year, month, day, hour, minute, second, weekday = time.gmtime(seconds - self._epoch)[:7]
        RTC().datetime((year, month, day, weekday, hour, minute, second, 0))


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
