# SPDX-License-Identifier: MIT
"""An ESP32's flash, partitions and boot loader in RAM, stricter than hardware; public, for your tests too.

A `Board` is what a power cut leaves: flash and the store's records.
`power_on()` plays the boot loader and returns the module `esp32` of one boot,
with `Partition` as in MicroPython, and the port `store`.

    board = Board()
    board.install("ota_0", image(b"firmware 1"))
    board.cuts = {7: TORN}                   # the power goes inside the 7th effect
    esp32 = board.power_on()
    slots = Esp32Slots(esp32.Partition, esp32.store)

Effects are counted, named, cut and failed as in `memory`: each erased sector,
each programmed page of 256 bytes, each save, those of the boot loader too.

Rules it keeps
  * Flash is NOR: a sector is erased to 0xFF as a whole, programming clears bits.
  * A torn erase or program changes `torn` percent of its bytes from the start,
    and half the bits of the next one.
  * Programming a bit from 0 to 1 raises Illegal; hardware keeps the 0 silently.
  * Illegal, too: a write into the running image or into one that boots next, and
    an erase that leaves the boot loader no entry to choose.
  * After a cut each part of that boot is dead: it raises PowerCut.
"""

from platform_adapters import memory_esp32_boot as loader
from platform_adapters.memory import Store
from platform_adapters.memory_esp32_boot import SECTOR, EspError, image
from platform_adapters.memory_power import AFTER, BEFORE, TORN, Illegal, Life, PowerCut

__all__ = ("AFTER", "BEFORE", "TORN", "Board", "Illegal", "PowerCut", "image")

PAGE = 256

_INVALID_ARG = 0x102
_INVALID_SIZE = 0x104
_ENOENT = 2


class Board:
    """What stays without power, and the hooks of a test."""

    def __init__(self, slot_bytes=4 * SECTOR, apps=("ota_0", "ota_1"), with_otadata=True):
        """`apps`: labels of the app partitions; "factory" is one."""
        self.table = []  # (type, subtype, address, size, label, encrypted), as Partition.info() gives it
        if with_otadata:
            self.table.append((1, 0, 0xD000, 2 * SECTOR, "otadata", False))
        at = 0x10000
        for label in apps:
            subtype = 0 if label == "factory" else 0x10 + int(label[4:])
            self.table.append((0, subtype, at, slot_bytes, label, False))
            at += slot_bytes
        self.flash = {row[4]: bytearray(b"\xff" * row[3]) for row in self.table}
        self.records = {}
        # hooks and observations
        self.loader_rolls_back = True
        self.app_rolls_back = True
        self.cuts = {}
        self.failures = {}
        self.torn = 50
        self.tears_records = False
        self.effects = 0
        self.trace = []
        self.boots = 0
        self.now_ms = 0
        self.running = None
        self.life = None

    def install(self, label, data):
        """What a flashing tool does: no effect."""
        data = bytes(data)
        self.flash[label][:] = data + b"\xff" * (len(self.flash[label]) - len(data))

    def has(self, label):
        return label in self.flash

    def apps(self):
        """Labels of the slots, in the boot loader's order."""
        return [row[4] for row in self.table if row[0] == 0 and row[1] >= 0x10]

    def power_on(self):
        """Boot; may raise PowerCut itself, since the boot loader writes."""
        if self.life is not None:
            self.life.end()
        self.boots += 1
        self.boot(Life(self))
        return Esp32(self)

    def boot(self, life):
        """What the boot loader does in the boot `life`."""
        self.life = life
        self.running = None
        self.running = loader.start(self)

    # flash

    def erase(self, label, sector):
        data, at = self.flash[label], sector * SECTOR
        self._must_not_run(label)

        def erase():
            data[at : at + SECTOR] = b"\xff" * SECTOR

        def tear():
            done = SECTOR * self.torn // 100
            data[at : at + done] = b"\xff" * done
            if done < SECTOR:
                data[at + done] |= 0x0F

        self.life.effect("erase %s %d" % (label, sector), erase, tear)

    def program(self, label, at, contents):
        """Page by page; a page never crosses a multiple of PAGE."""
        self._must_not_run(label)
        while len(contents):
            piece = bytes(contents[: PAGE - at % PAGE])
            self._program_page(label, at, piece)
            at += len(piece)
            contents = contents[len(piece) :]

    def _program_page(self, label, at, piece):
        data = self.flash[label]
        there = int.from_bytes(data[at : at + len(piece)], "big")
        if int.from_bytes(piece, "big") | there != there:
            raise Illegal("program %s %#x: the page is not erased" % (label, at))

        def program():
            data[at : at + len(piece)] = piece

        def tear():
            done = len(piece) * self.torn // 100
            data[at : at + done] = piece[:done]
            if done < len(piece):
                data[at + done] &= piece[done] | 0x0F

        self.life.effect("program %s %#x" % (label, at), program, tear)

    def _must_not_run(self, label):
        if label == self.running:
            raise Illegal("%s runs: it must not be written" % label)
        if self.running is None or label == "otadata":
            return
        entries = loader.otadata(self)
        copy = loader.active(entries)
        if copy >= 0 and self.apps()[(entries[copy][0] - 1) % len(self.apps())] == label:
            raise Illegal("%s boots next: it must not be written" % label)

    def must_stay_bootable(self, copy):
        """An app that erases one entry must leave another."""
        entries = loader.otadata(self)
        entries[copy] = [0xFFFFFFFF, b"", 0xFFFFFFFF, 0xFFFFFFFF]
        if loader.active(entries) < 0:
            raise Illegal("erase otadata %d: no entry is left" % copy)


class Esp32:
    """The module `esp32` of one boot, and the port `store`."""

    def __init__(self, board):
        self.Partition = type("Partition", (_Partition,), {"_board": board, "_life": board.life})
        self.store = Store(board.life)


class _Partition:
    """MicroPython's `esp32.Partition`, of 4096-byte blocks (ports/esp32/esp32_partition.c)."""

    BOOT = 0
    RUNNING = 1
    TYPE_APP = 0
    TYPE_DATA = 1

    def __init__(self, which):
        board = self._checked()
        if which == self.RUNNING:
            which = board.running
        elif which == self.BOOT:
            entries = loader.otadata(board)
            copy = loader.active(entries)
            apps = board.apps()
            which = apps[(entries[copy][0] - 1) % len(apps)] if copy >= 0 else apps[0]
        for row in board.table:
            if row[4] == which:
                self._row = row
                self._label = which
                return
        raise OSError(_ENOENT)

    @classmethod
    def _checked(cls):
        cls._life.check()
        return cls._board

    @classmethod
    def find(cls, type=0, subtype=0xFF, label=None):
        return [
            cls(row[4])
            for row in cls._checked().table
            if row[0] == type and subtype in (0xFF, row[1]) and label in (None, row[4])
        ]

    @classmethod
    def mark_app_valid_cancel_rollback(cls):
        if not cls._checked().has("otadata"):
            raise EspError(loader.NOT_FOUND, "ESP_ERR_NOT_FOUND")
        loader.mark_valid(cls._board)

    def info(self):
        self._checked()
        return self._row

    def readblocks(self, block, buffer, offset=0):
        at = self._within(block * SECTOR + offset, len(buffer))
        data = self._board.flash[self._label]
        buffer[:] = memoryview(data)[at : at + len(buffer)]

    def writeblocks(self, block, buffer, offset=None):
        """Without an offset, the blocks are erased first."""
        at = self._within(block * SECTOR + (offset or 0), len(buffer))
        if offset is None:
            if len(buffer) % SECTOR:
                raise EspError(_INVALID_SIZE, "ESP_ERR_INVALID_SIZE")
            for sector in range(block, block + len(buffer) // SECTOR):
                self._erase(sector)
        if self._label == "otadata":
            raise Illegal("otadata is the boot loader's to write")
        self._board.program(self._label, at, memoryview(buffer))

    def ioctl(self, command, argument):
        self._checked()
        if command == 4:
            return self._row[3] // SECTOR
        if command == 5:
            return SECTOR
        if command == 6:
            self._within(argument * SECTOR, SECTOR)
            self._erase(argument)
        return 0 if command in (1, 2, 3, 6) else None

    def set_boot(self):
        self._checked()
        if self._row[0] != self.TYPE_APP:
            raise EspError(loader.VALIDATE_FAILED, "ESP_ERR_OTA_VALIDATE_FAILED")
        loader.set_boot(self._board, self._label)

    def get_next_update(self):
        apps = self._checked().apps()
        at = apps.index(self._label) + 1 if self._label in apps else 0
        return type(self)(apps[at % len(apps)])

    def _erase(self, sector):
        if self._label == "otadata":
            self._board.must_stay_bootable(sector)
        self._board.erase(self._label, sector)

    def _within(self, at, size):
        self._checked()
        if at < 0 or at > self._row[3]:
            raise EspError(_INVALID_ARG, "ESP_ERR_INVALID_ARG")
        if at + size > self._row[3]:
            raise EspError(_INVALID_SIZE, "ESP_ERR_INVALID_SIZE")
        return at
