# SPDX-License-Identifier: MIT
"""An ESP32's app partitions: which there are, how long an image in one is, and how one is filled.

Rules it keeps: a sector is erased right before its first byte is written; what
is in RAM counts as written only once `flush` returned; the tail of a sector is
written without an erase only where it is still blank.
Raises `OSError`; the caller gives it a meaning.
Source: ESP-IDF, esp_image_format.h; MicroPython, ports/esp32/esp32_partition.c.
"""

from agent.errors import DeviceError, RefusedError
from platform_adapters.esp32_otadata import SLOTS

SECTOR = 4096
MAGIC = 0xE9  # first byte of every image
MAX_SEGMENTS = 16

_OTA_0 = 0x10  # subtype of app partitions
_OTHER_SLOTS = range(0x12, 0x20)
_OTADATA = 0  # subtype of data partitions
_ERASE = 6  # ioctl: erase one block
_CHIP_AT = 12  # two bytes of the image's header
_HASH_AT = 23
_HEADER = 24


def layout(partition):
    """({"a": ota_0, "b": ota_1}, otadata) of the class `esp32.Partition`, or DeviceError("slot_layout")."""
    parts = {}
    for number, name in enumerate(SLOTS):
        found = partition.find(partition.TYPE_APP, _OTA_0 + number)
        if len(found) != 1:
            raise DeviceError("slot_layout", "there is no partition ota_%d: flash a firmware for OTA" % number)
        parts[name] = found[0]
    for subtype in _OTHER_SLOTS:
        if partition.find(partition.TYPE_APP, subtype):
            raise DeviceError("slot_layout", "more than two slots")
    found = partition.find(partition.TYPE_DATA, _OTADATA)
    if len(found) != 1 or found[0].info()[3] < 2 * SECTOR:
        raise DeviceError("slot_layout", "there is no partition otadata of two sectors")
    if any(part.info()[5] for part in (parts["a"], parts["b"], found[0])):
        raise DeviceError("slot_layout", "encrypted flash is not supported")
    return parts, found[0]


def chip(part):
    """The two bytes that name the chip of the image in `part`."""
    head = bytearray(_HEADER)
    part.readblocks(0, head)
    return head[_CHIP_AT : _CHIP_AT + 2]


def image_length(part):
    """Bytes of an image that nobody noted, by its own headers; 0 for what is no image."""
    capacity = part.info()[3]
    head = bytearray(_HEADER)
    part.readblocks(0, head)
    if head[0] != MAGIC or head[1] > MAX_SEGMENTS:
        return 0
    at = _HEADER
    segment = bytearray(8)
    for _ in range(head[1]):
        part.readblocks(at // SECTOR, segment, at % SECTOR)
        at += 8 + int.from_bytes(segment[4:], "little")
        if at + 8 > capacity:
            return 0
    at += 16 - at % 16  # padding, whose last byte is a checksum
    return min(at + (32 if head[_HASH_AT] else 0), capacity)


class Filling:
    """One image on its way into a partition; `at` bytes were handed over, `done` of them are in flash."""

    def __init__(self, part, at, chip):
        """Goes on at `at`.  `done` is less where a torn write spoilt the sector's tail: the sector is written anew
        then, and the caller must see to it first that its bytes count no more."""
        self.at = self.done = at
        self._part = part
        self._chip = chip
        self._block = bytearray(SECTOR)  # the sector that is being written, from its start to `at`
        self._sector = at - at % SECTOR
        self._erased = at > self._sector
        if self._erased:
            part.readblocks(self._sector // SECTOR, self._block)
            if any(self._block[i] != 0xFF for i in range(at - self._sector, SECTOR)):
                self.done = self._sector
                self._erased = False

    def append(self, data):
        """RefusedError("image_header") when the image cannot run here."""
        if not self.at and len(data) and data[0] != MAGIC:
            raise RefusedError("image_header", "it is no firmware of an ESP32")
        data = memoryview(data)
        while len(data):
            room = self._sector + SECTOR - self.at
            piece = data[:room]
            start = self.at - self._sector
            self._block[start : start + len(piece)] = piece
            self.at += len(piece)
            data = data[len(piece) :]
            if len(piece) == room:
                self.flush()

    def flush(self):
        """Bring what is in RAM into flash."""
        block = self._sector // SECTOR
        if self.at > self.done:
            if not self._sector and self.at >= _HEADER and self._block[_CHIP_AT : _CHIP_AT + 2] != self._chip:
                raise RefusedError("image_header", "it is for another chip than the one that runs")
            if not self._erased:
                self._part.ioctl(_ERASE, block)
                self._erased = True
            start = self.done - self._sector
            self._part.writeblocks(block, memoryview(self._block)[start : self.at - self._sector], start)
            self.done = self.at
        if self.at == self._sector + SECTOR:
            self._sector = self.at
            self._erased = False

    def in_ram(self, start, end):
        """Bytes that are not in flash yet: `done` <= `start` <= `end` <= `at`."""
        return self._block[start - self._sector : end - self._sector]
