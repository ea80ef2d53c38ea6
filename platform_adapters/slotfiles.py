# SPDX-License-Identifier: MIT
"""What a slot's folder holds: its image read back, its durable progress, and what is there that should not be.

The looking half of `dirslots`, which describes the folder.  Raises `OSError`,
and DeviceError("slot_damaged") for a slot whose files are not its index's.
"""

import binascii
import struct

from agent.errors import DeviceError
from platform_adapters import files, imagewalk

PROGRESS = ">QI"  # bytes of the image, CRC-32 of that number
PROGRESS_SIZE = 12


class Reader:
    """Gives a slot's image from its start on, as far as it is there."""

    def __init__(self, slot, path):
        self.slot = slot
        self.offset = 0
        self._path = path
        self._count = 0
        self._short = 0  # bytes that the open file lacks
        self._left = files.size(path + "/.index") or 0
        self._file = open(path + "/.index", "rb") if self._left else None
        self._index = open(path + "/.index", "rb") if self._left else None
        self._entries = imagewalk.entries(self._index) if self._left else None

    def read(self, size):
        while not self._left and self._entries is not None:
            self._next()
        if not self._left:
            return b""
        data = self._file.read(min(size, self._left))
        self.offset += len(data)
        self._left -= len(data)
        return data

    def skip_to(self, offset):
        """Go on to `offset` without reading; False when the image ends before."""
        while self.offset < offset:
            while not self._left and self._entries is not None:
                self._next()
            step = min(offset - self.offset, self._left - self._short)
            if step <= 0:
                return False
            self._file.seek(step, 1)
            self.offset += step
            self._left -= step
        return True

    def _next(self):
        entry = next(self._entries, None)
        self._file.close()
        if entry is None:
            self.close()
            if count(self._path) != self._count:
                raise DeviceError("slot_damaged", "slot %s holds files that its index does not name" % self.slot)
            return
        name, length, _ = entry
        self._count += 1
        found = files.size(self._path + "/" + name)
        if found is None or found > length:
            there = "missing" if found is None else "longer than its index says"
            self.close()
            if found is None:
                return
            raise DeviceError("slot_damaged", "%s in slot %s is %s" % (name, self.slot, there))
        self._file = open(self._path + "/" + name, "rb")
        self._left = length
        self._short = length - found

    def close(self):
        if self._entries is not None:
            self._file.close()
            self._index.close()
        self._entries = None
        self._left = self._short = 0


def progress(path):
    """(bytes of the last whole entry or 0, where the next entry goes)."""
    name = path + "/.progress"
    whole = (files.size(name) or 0) // PROGRESS_SIZE
    while whole:
        entry = bytes_of(name, (whole - 1) * PROGRESS_SIZE, PROGRESS_SIZE)
        offset, crc = struct.unpack(PROGRESS, entry)
        if crc == binascii.crc32(entry[:8]) & 0xFFFFFFFF:
            return offset, whole * PROGRESS_SIZE
        whole -= 1
    return 0, 0


def present(path, durable):
    """`durable`, or less: the start of the first file that is shorter than it says."""
    at = files.size(path + "/.index")
    with open(path + "/.index", "rb") as file:
        for name, length, _ in imagewalk.entries(file):
            if at >= durable:
                break
            if (files.size(path + "/" + name) or 0) < min(length, durable - at):
                return at
            at += length
    return durable


def bytes_of(path, position, size):
    with open(path, "rb") as file:
        file.seek(position)
        return file.read(size)


def count(path, top=True):
    """Files below `path`, without our own three; a link is one too many."""
    number = 0
    for name, kind in files.entries(path):
        if kind == files.FOLDER:
            number += count(path + "/" + name, False)
        elif not (top and name in (".index", ".release", ".progress") and kind == files.FILE):
            number += 1
    return number


def used(path, block):
    """Bytes that emptying `path` frees."""
    number = 0
    if files.kind(path) == files.FOLDER:
        for name, kind in files.entries(path):
            inner = path + "/" + name
            if kind == files.FOLDER:
                number += used(inner, block)
            elif kind == files.FILE:
                number += (files.size(inner) + block - 1) // block * block
    return number


def progress_entry(offset):
    data = struct.pack(">Q", offset)
    return data + struct.pack(">I", binascii.crc32(data) & 0xFFFFFFFF)
