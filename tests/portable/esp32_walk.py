# SPDX-License-Identifier: MIT
"""Random lives of an ESP32's slots: calls in any order, the power cut anywhere; alike on both interpreters.

After each boot: what runs is one of the slots that may run by what was called,
it is confirmed or on trial as the boot loader's entries say, and progress is
not ahead of the flash.  A wrong call may be refused, and must do no harm.
"""

from agent.errors import MisuseError, RefusedError
from esp32_sweep import LABELS, tidy
from platform_adapters import memory_esp32_boot as loader
from platform_adapters.esp32_slots import Esp32Slots
from platform_adapters.memory_esp32 import AFTER, BEFORE, TORN, Board, PowerCut, image

IMAGES = [image(bytes([n]) * (300 + 1500 * n)) for n in range(6)]
IMAGES.append(IMAGES[2][:-1] + b"?")  # which the boot loader refuses
CALLS = "begin write write write write sync sync fill activate confirm rollback boot fail read".split()


class Dice:
    """A linear congruential generator (Knuth's MMIX)."""

    def __init__(self, seed):
        self._state = seed

    def below(self, limit):
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        return (self._state >> 33) % limit

    def one_of(self, choices):
        return choices[self.below(len(choices))]


class Walk:
    def __init__(self, seed):
        tidy()
        self.dice = Dice(seed)
        self.board = Board(slot_bytes=3 * 4096)
        self.board.install("ota_0", IMAGES[0])
        self.board.tears_records = self.dice.below(3) == 0
        self.slots = None
        self.may_run = ("a",)

    def live(self, steps):
        for _ in range(steps):
            if self.dice.below(3) == 0:
                way = self.dice.one_of((BEFORE, AFTER, TORN))
                self.board.cuts = {self.board.effects + 1 + self.dice.below(30): way}
                self.board.torn = self.dice.one_of((0, 3, 30, 50, 70, 97))
            try:
                if self.slots is None:
                    self.boot()
                self.call(self.dice.one_of(CALLS))
            except PowerCut:
                self.slots = None
            except (MisuseError, RefusedError):
                pass
        self.board.cuts = {}
        self.boot()
        self.boot()  # a trial has ended by now
        assert self.slots.state()["confirmed"]

    def boot(self):
        esp32 = self.board.power_on()
        self.slots = slots = Esp32Slots(esp32.Partition, esp32.store)
        running, confirmed = slots.running(), slots.state()["confirmed"]
        entries = loader.otadata(self.board)
        copy = loader.active(entries)
        assert LABELS[running] == self.board.running and running in self.may_run, (running, self.may_run)
        if copy >= 0:
            assert entries[copy][2] == (loader.VALID if confirmed else loader.PENDING), entries
        else:
            assert running == "a" and confirmed  # the boot loader's own first entry was torn
        self.may_run = (running,) if confirmed else (slots.spare(),)
        filled = slots.filled()
        assert not filled or bytes(self.board.flash[LABELS[slots.spare()]][:filled]) == self.wanted()[:filled], filled

    def wanted(self):
        """The image that the spare slot is for, or None."""
        note = self.slots.release(self.slots.spare())
        return IMAGES[note["image"]] if note else None

    def call(self, name):
        slots, dice = self.slots, self.dice
        running, on_trial = slots.running(), not slots.state()["confirmed"]
        wanted = self.wanted()
        at = slots._filling.at if slots._filling else slots.filled()
        if name in ("begin", "fill"):
            number = dice.below(len(IMAGES))
            slots.begin({"version": "1.0.0", "length": len(IMAGES[number]), "image": number})
            self.may_run = (running,)
            if name == "fill":
                step = dice.one_of((100, 1000, 4096, 5000))
                for at in range(0, len(IMAGES[number]), step):
                    slots.write(at, IMAGES[number][at : at + step])
                slots.sync()
        elif name == "write" and wanted:
            slots.write(at, wanted[at : at + dice.one_of((1, 50, 700, 4096, 4500))])
        elif name == "read" and wanted:
            start, size = dice.below(at + 5), 1 + dice.below(6000)
            assert slots.read(slots.spare(), start, size) == wanted[start : min(at, start + size)]
        elif name == "activate":
            if not on_trial:
                self.may_run = ("a", "b")
            slots.activate()
        elif name == "confirm":
            if on_trial:
                self.may_run = ("a", "b")  # until it returns
            slots.confirm()
            if on_trial:
                self.may_run = (running,)
        elif name == "boot":
            self.slots = None
        elif name == "fail":
            slots.fail("why")
        elif name in ("sync", "rollback"):
            getattr(slots, name)()


def walk(first, lives, steps=30):
    """The problem with the seed that shows it, or ""."""
    for seed in range(first, first + lives):
        try:
            Walk(seed).live(steps)
        except AssertionError as error:
            return "seed %d: %r" % (seed, error)
    return ""
