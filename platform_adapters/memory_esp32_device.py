# SPDX-License-Identifier: MIT
"""A whole platform in RAM whose slots are those of an ESP32: `memory.Device` on a simulated board; public.

Everything of `memory` holds (cuts, failures, network, clock), but images are
firmware, and what boots is decided by the boot loader of `memory_esp32`, whose
writes to flash are effects, too.

    device = Device(peer=MyCloud())
    device.install("a", image(b"firmware 1"), {"version": "1.0.0"})
"""

import json

from platform_adapters import memory
from platform_adapters import memory_esp32_boot as loader
from platform_adapters.esp32_slots import Esp32Slots
from platform_adapters.memory_esp32 import Board, Esp32
from platform_adapters.memory_power import Illegal, Life

LABELS = {"a": "ota_0", "b": "ota_1"}


class Device(memory.Device):
    def __init__(self, peer=None, config=None, anchors=(), root=b"", seed=b"trueboot"):
        super().__init__(peer, config, anchors, root, seed)
        self.board = Board()
        self.images = _Images(self)

    def install(self, slot, image, note):
        """What a factory does, its first boot included: no effect."""
        if not loader.bootable(image):
            raise Illegal("install: it is no bootable image")
        self.board.install(LABELS[slot], image)
        if slot == "a":
            self.board.flash["otadata"][: loader.ENTRY_BYTES] = loader.pack(1, loader.VALID)
        record = {"note": dict(note, length=len(image)), "filled": len(image)}
        self.records["firmware." + slot] = json.dumps(record).encode()

    def record(self):
        """What the boot loader remembers, in the words of the boot record of other platforms."""
        entries = loader.otadata(self.board)
        copy = loader.active(entries)
        slot = "b" if copy >= 0 and entries[copy][0] % 2 == 0 else "a"
        other = "a" if slot == "b" else "b"
        if copy >= 0 and entries[copy][2] in (loader.NEW, loader.PENDING):
            return {"active": other, "trial": slot, "boots": int(entries[copy][2] == loader.NEW), "failure": ""}
        return {"active": slot, "trial": None, "boots": 0, "failure": ""}

    def power_on(self):
        cause = self.cause or ("reset" if self.life is not None and self.life.ended_by_reset else "power")
        self.cause = ""
        if self.life is not None:
            self.life.end()
        self.life = life = Life(self)
        self.boots += 1
        self.board.boot(life)
        platform = memory.Memory(life, "b" if self.board.running == LABELS["b"] else "a", cause)
        platform.slots = Esp32Slots(Esp32(self.board).Partition, platform.store)
        return platform


class _Images:
    """What the slots hold, as far as their notes say."""

    def __init__(self, device):
        self._device = device

    def __getitem__(self, slot):
        try:
            filled = json.loads(self._device.records["firmware." + slot])["filled"]
        except (KeyError, ValueError):
            return b""
        return bytes(self._device.board.flash[LABELS[slot]][:filled])
