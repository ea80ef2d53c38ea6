# SPDX-License-Identifier: MIT
"""Devices whose platform is a board's own class, over stand-ins for `machine`, `esp32` and `network`.  MicroPython only.

Nothing is played but what hardware would be, and the cloud, connections and
time, which are those of the memory platform: configuration, store, keys, slots,
power and log are the board's, on real files.  Stricter than hardware: a
watchdog's time that the chip cannot do, a timer that is not a hard one, or a
key that is drawn while the radio is off, are Illegal.
"""

import json
import os
import sys

import contract_slots
from agent.wire import ecdsa
from platform_adapters import (
    bootrecord,
    dirslots,
    files,
    filestore,
    memory,
    memory_cloud,
    memory_esp32,
    micropython_base,
)
from platform_adapters import memory_esp32_device as simulated
from platform_adapters.esp32 import ESP32
from platform_adapters.memory_power import Illegal, Life, Reset
from platform_adapters.pico_w import MOST_WATCHDOG_MS, PicoW
from scratch import folder


class Machine:
    """The module `machine` of one boot."""

    PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5

    def __init__(self, cause=1, most_ms=None, life=None):
        self._cause, self._most_ms, self._life = cause, most_ms, life
        self.watchdogs, self.timers, self.mem32 = [], [], {}
        self.Timer = type("Timer", (Timer,), {"machine": self})

    def reset_cause(self):
        return self._cause

    def reset(self):
        if self._life:
            self._life.device.resets.append("machine.reset")
            self._life.end(by_reset=True)
        raise Reset("machine.reset")

    def WDT(self, timeout):
        if self._most_ms is not None and not 0 < timeout <= self._most_ms:
            raise Illegal("WDT: %d ms, and the chip can do %d" % (timeout, self._most_ms))
        if self.watchdogs:
            raise Illegal("WDT: begun twice")
        self.watchdogs.append(Watchdog(timeout))
        return self.watchdogs[-1]


class Timer:
    PERIODIC = "periodic"

    def __init__(self, number, period, mode, callback, hard):
        if number != -1 or mode != self.PERIODIC or hard is not True:
            raise Illegal("Timer: a virtual one, periodic and hard, is wanted")
        self.period, self.callback = period, callback
        self.machine.timers.append(self)


class Watchdog:
    def __init__(self, timeout_ms):
        self.timeout_ms, self.fed = timeout_ms, 0

    def feed(self):
        self.fed += 1


class Network:
    """The module `network`: one radio."""

    STA_IF = 0

    def __init__(self, broken=False):
        self.on, self.broken = False, broken

    def WLAN(self, interface):
        if interface != self.STA_IF:
            raise Illegal("WLAN: the station is meant")
        return self

    def active(self, *on):
        if on and not self.broken:
            self.on = on[0]
        return self.on


class Files(memory.Device):
    """What is on the file system of a board; `record`, `images`, `secrets` and `records` as seen from above."""

    def __init__(self, peer=None, config=None, anchors=(), root=b"", seed=b"trueboot"):
        super().__init__(peer, config, anchors, root, seed)
        self.at = self.new_root()
        for name, data in (("trueboot.json", json.dumps(self.config).encode()), ("ca.der", b"ca"), ("root.json", root)):
            with open(self.at + "/" + name, "wb") as file:
                file.write(data)
        files.make_folder(self.at + "/state")
        self.records = Records(filestore.FileStore(self.at + "/state/store"))
        self.secrets = Secrets(filestore.FileStore(self.at + "/state/keys"))
        self.machine = self.network = None

    def new_root(self):
        return folder("board")

    def started(self):
        """(Life, the port's word for its cause) of the boot that begins."""
        by_reset = self.life is not None and self.life.ended_by_reset
        if self.life is not None:
            self.life.end()
        self.life = Life(self)
        self.boots += 1
        return self.life, by_reset

    def plugged(self, make, life, esp32=None):
        """The board's platform, on what stands in for hardware."""
        self.network = Network()
        sys.modules["machine"], sys.modules["network"] = self.machine, self.network
        if esp32 is not None:
            sys.modules["esp32"] = esp32
        platform = make(self.at)
        platform.mqtt = memory_cloud.Mqtt(life)
        platform.http = micropython_base.Late(lambda: memory_cloud.Http(life))
        platform.clock = memory.Clock(life)
        platform.log = lambda event, fields: self.events.append((event, dict(fields)))
        return platform


class Records:
    def __init__(self, store):
        self.get = store.load

    def __contains__(self, name):
        return self.get(name) is not None

    def __getitem__(self, name):
        if self.get(name) is None:
            raise KeyError(name)
        return self.get(name)


class Secrets:
    def __init__(self, store):
        self._store = store

    def __contains__(self, label):
        return self._store.load(label + ".der") is not None

    def __getitem__(self, label):
        return ecdsa.secret_from_der(self._store.load(label + ".der"))[0]


class Pico(Files):
    """App slots; `make` may be another board's class that is told to have them."""

    make = PicoW
    most_ms = MOST_WATCHDOG_MS

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.images = Images(self)

    def slots(self, running):
        return dirslots.DirSlots(self.at + "/slots", self.at + "/state", running)

    def install(self, slot, image, note):
        if slot != "a" or self.boots:
            raise Illegal("install: a factory fills slot a of a new device")
        contract_slots.fill(self.slots("a"), image, 4096, note)
        os.rename(self.at + "/slots/b", self.at + "/slots/a")

    def record(self):
        return bootrecord.load(self.at + "/state")

    def power_on(self):
        life, by_reset = self.started()
        sys.path[:] = [entry for entry in sys.path if not entry.startswith(self.at)]
        slot, _ = bootrecord.start(self.at + "/state")
        sys.path.insert(0, self.at + "/slots/" + slot)  # as boot.py does
        self.machine = Machine(3 if by_reset else 1, self.most_ms, life)
        self.machine.mem32[0x4005801C] = 0
        return self.plugged(self.make, life)


class Images:
    def __init__(self, device):
        self._device = device

    def __getitem__(self, slot):
        return contract_slots.contents(self._device.slots(bootrecord.other(slot)), slot, 4096)


def esp32_with_app_slots(root):
    return ESP32(root, "app")


class Esp32Apps(Pico):
    most_ms = None

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.make = esp32_with_app_slots


class Esp32Firmware(Files):
    """Firmware in the partitions of a simulated board, all else in files."""

    record = simulated.Device.record

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.board = memory_esp32.Board()
        self.images = simulated._Images(self)

    def install(self, slot, image, note):
        kept, self.records = self.records, {}
        simulated.Device.install(self, slot, image, note)
        filestore.FileStore(self.at + "/state/store").save("firmware." + slot, self.records["firmware." + slot])
        self.records = kept

    def power_on(self):
        life, by_reset = self.started()
        self.board.boot(life)
        self.machine = Machine(2 if by_reset else 1, None, life)
        return self.plugged(ESP32, life, memory_esp32.Esp32(self.board))
