# SPDX-License-Identifier: MIT
"""The `slots` port in RAM: the same verdicts as `dirslots`, and no mercy for a wrong order of calls."""

import io
import json

from agent.errors import DeviceError, MisuseError, RefusedError
from agent.wire import appimage
from platform_adapters import bootrecord, imagewalk
from platform_adapters.memory_power import Illegal


class Slots:
    kind = "app"

    def __init__(self, life, slot):
        self._life = life
        self._device = life.device
        self._running = slot
        self._drop()

    def running(self):
        self._life.check()
        return self._running

    def spare(self):
        return bootrecord.other(self.running())

    def state(self):
        self._life.check()
        record = self._device.record()
        return {"confirmed": record["active"] == self._running, "failure": record["failure"]}

    def capacity(self):
        self._life.check()
        return self._device.slot_bytes

    def release(self, slot):
        self._life.check()
        note = self._device.notes[slot]
        return None if note is None else json.loads(note)

    def begin(self, release):
        self._must_be_confirmed()
        size = release.get("size")
        if size is not None and size > self.capacity():
            raise DeviceError("slot_full", "%d bytes into a slot that takes %d" % (size, self.capacity()))
        device, spare, note = self._device, self.spare(), json.dumps(release)
        record = device.record()
        if record["trial"] is not None:
            self._life.save_boot(bootrecord.rollback(record))

        def tear():
            device.images[spare] = b""
            device.notes[spare] = None

        def begin():
            device.images[spare] = b""
            device.notes[spare] = note

        self._drop()
        self._life.effect("slots.begin", begin, tear)

    def filled(self):
        return len(self._device.images[self.spare()])

    def write(self, offset, data):
        self._life.check()
        if self._device.notes[self.spare()] is None:
            raise Illegal("slots.write without begin")
        if offset != self.filled() + len(self._unsynced):
            raise Illegal("slots.write at %d, where %d is next" % (offset, self.filled() + len(self._unsynced)))
        if self._device.record()["trial"] is not None:
            raise Illegal("slots.write into a slot that is activated")
        self._life.effect("slots.write", lambda: self._write(bytes(data)))

    def sync(self):
        images, spare, unsynced = self._device.images, self.spare(), bytes(self._unsynced)

        def sync():
            images[spare] += unsynced
            self._unsynced = bytearray()

        def tear():
            images[spare] += unsynced[: len(unsynced) // 2]

        self._life.effect("slots.sync", sync, tear)

    def read(self, slot, offset, size):
        self._life.check()
        image = self._device.images[slot]
        data = image[offset : offset + size]
        if slot == self.spare() and len(data) < size:
            start = max(0, offset - len(image))
            data += self._unsynced[start : start + size - len(data)]
        return bytes(data)

    def activate(self):
        self._must_be_confirmed()
        if self._unsynced or not image_is_whole(self._device.images[self.spare()]):
            raise Illegal("slots.activate: the spare slot holds no whole image")
        record = self._device.record()
        if record["trial"] is not None:
            raise Illegal("slots.activate twice without a reset")
        self._life.save_boot(bootrecord.activate(record, self.spare()))

    def confirm(self):
        self._life.check()
        record = self._device.record()
        if record["active"] == self._running:
            return
        if record["trial"] != self._running:
            raise MisuseError("rolled_back", "slot %s has been given up" % self._running)
        self._life.save_boot(bootrecord.confirm(record))

    def rollback(self):
        self._life.check()
        record = self._device.record()
        if record["trial"] == self._running:
            self._life.save_boot(bootrecord.rollback(record))

    def _must_be_confirmed(self):
        if not self.state()["confirmed"]:
            raise MisuseError("on_trial", "the running image is not confirmed")

    def _drop(self):
        self._unsynced = bytearray()
        self._check = None
        self._index = bytearray()

    def _write(self, data):
        if self._check is None:
            self._index = bytearray()
            self._check = imagewalk.Walk(lambda: io.BytesIO(bytes(self._index)))
            self._feed(self._device.images[self.spare()] + self._unsynced)
        try:
            self._feed(data)
        except (RefusedError, DeviceError):
            self._drop()
            raise
        self._unsynced.extend(data)

    def _feed(self, data):
        for step in self._check.feed(data):
            if step[0] == imagewalk.INDEX:
                self._index.extend(step[1])
            elif step[0] == imagewalk.WHOLE and step[2] > self.capacity():
                raise DeviceError("slot_full", "%d bytes into a slot that takes %d" % (step[2], self.capacity()))


def image_is_whole(image):
    """Whether the image's length is what its index says."""
    index = appimage.Index()
    try:
        index.feed(image)
    except RefusedError:
        return False
    return index.complete and index.size == len(image)
