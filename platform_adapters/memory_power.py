# SPDX-License-Identifier: MIT
"""Power of the memory platform: effects, cuts, and what ends with a boot.

BaseExceptions, so that no `except Exception` of an agent holds the power on.
"""

from platform_adapters import bootrecord

BEFORE = "before"
AFTER = "after"
TORN = "torn"


class PowerCut(BaseException):
    """The power went, or is already gone."""


class Reset(BaseException):
    """The agent asked for it."""


class Illegal(BaseException):
    """A use that hardware would punish, or silently spoil."""


class Life:
    """One boot: everything that a cut takes away."""

    def __init__(self, device):
        self.device = device
        self.alive = True
        self.ended_by_reset = False
        self.session = None  # of MQTT
        self.started_ms = device.now_ms
        self.clock = None  # (the device's `epoch_s`, seconds by which its clock was set on)
        self.inbox = []

    def check(self):
        if not self.alive:
            raise PowerCut("there is no power")

    def end(self, by_reset=False):
        self.alive = False
        self.ended_by_reset = by_reset
        self.session = None

    def effect(self, name, do, tear=None):
        """Carry out one effect, or as much of it as the test lets through; returns what `do` returns."""
        self.check()
        device = self.device
        device.effects += 1
        device.trace.append(name)
        if device.effects in device.failures:
            raise device.failures[device.effects]
        cut = device.cuts.get(device.effects)
        if cut is None:
            return do()
        if cut == AFTER:
            do()
        elif cut == TORN:
            if tear is not None:
                tear()
        elif cut != BEFORE:
            raise Illegal("cuts: %r" % cut)
        self.end()
        raise PowerCut("%s effect %d: %s" % (cut, device.effects, name))

    def save_boot(self, record):
        """The boot record's next copy; torn, it is half new and half old."""
        copies = self.device.boot
        index, data = bootrecord.following(copies, record)
        half = len(data) // 2

        def save():
            copies[index] = data

        def tear():
            copies[index] = data[:half] + copies[index][half:]

        self.effect("boot", save, tear)
