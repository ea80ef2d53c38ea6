# SPDX-License-Identifier: MIT
"""A Raspberry Pi's system image: its parts, where they lie in a slot, and the slot read back as the image.

The image is an app image (`agent.wire.appimage`) of these files:
    boot/...            what goes onto the slot's boot partition (FAT), boot/cmdline.txt among it
    root.img            the root partition's first bytes

On the data partition each slot has a folder (`path` here) with
    .index .release .progress    as in `dirslots`
    cmdline.txt         the image's own; the boot partition's has the slot's root= instead

Raises OSError, DeviceError("slot_damaged") for a slot that is not what its index names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from agent.errors import DeviceError, RefusedError
from platform_adapters import imagewalk
from platform_adapters import raspberry_pi_boot as boot
from platform_adapters import raspberry_pi_files as files

BOOT, CMDLINE, ROOT = "boot/", "boot/cmdline.txt", "root.img"


class Partitions(NamedTuple):
    """A slot: the number of its boot partition, where that is mounted, its root device, and that one's name for the kernel."""

    number: int
    boot: str
    root: str
    root_argument: str


def check(path: str, partitions: Partitions) -> None:
    """RefusedError("image_system") unless the index in `path` is a system's; DeviceError("slot_full") if it does not fit."""
    found, blocks, block = list(entries(path)), 0, os.statvfs(partitions.boot).f_frsize
    lower = [name.lower() for name, _ in found]
    if CMDLINE not in lower or ROOT not in lower or len(set(lower)) != len(lower):
        raise RefusedError("image_system", "it needs boot/cmdline.txt and root.img, and names that differ on FAT")
    for name, length in found:
        if (name != ROOT and not name.startswith(BOOT)) or any(part.endswith(".") for part in name.split("/")):
            raise RefusedError("image_system", "%s is neither root.img nor a name for FAT below boot/" % name)
        if name != ROOT:
            blocks += (length + block - 1) // block
            continue
        room = files.size(partitions.root) or 0
        if length > room:
            raise DeviceError("slot_full", "root.img has %d bytes, the partition %d" % (length, room))
    if blocks * block > boot_room(partitions):
        text = "the boot files take %d bytes, the partition has %d"
        raise DeviceError("slot_full", text % (blocks * block, boot_room(partitions)))


def boot_room(partitions: Partitions) -> int:
    """Bytes that the boot partition takes once it is emptied."""
    room = os.statvfs(partitions.boot)
    used = sum(files.size(partitions.boot + "/" + name) or 0 for name in files.names(partitions.boot))
    return room.f_bavail * room.f_frsize + used


def present(path: str, partitions: Partitions, at: int, durable: int) -> int:
    """`durable`, or less: the start of the first file that is not as it says.  `at`: the index's bytes."""
    for name, length in entries(path):
        if at >= durable:
            break
        here = min(length, durable - at)
        if (files.size(place(name, path, partitions)) or 0) < here:
            return at
        if name == CMDLINE and here == length and not cmdline_fits(path, partitions):
            return at
        at += length
    return durable


class Reader:
    """Gives a slot's image from its start on, as far as it is there."""

    def __init__(self, slot: str, path: str, partitions: Partitions, limit: int | None = None):
        """`limit`: bytes of the image that are there, where its root partition cannot tell."""
        self.slot = slot
        self.offset = 0
        self._limit = limit
        self._path, self._partitions = path, partitions
        self._handle = -1
        self._position = self._left = self._short = 0
        self._boot_files = 0
        self._entries: Iterator[tuple[str, int]] | None = None
        if files.is_regular(path + "/.index"):
            self._left = files.size(path + "/.index") or 0
            self._handle = files.open_to_read(path + "/.index")
            self._entries = entries(path)
            if limit is not None and limit <= self._left:
                self._left, self._entries = limit, None

    def read(self, size: int) -> bytes:
        while not self._left and self._entries is not None:
            self._next(self._entries)
        data = os.pread(self._handle, min(size, self._left), self._position) if self._left else b""
        if len(data) < min(size, self._left):
            self._left = len(data)  # it ends early: the image ends here
            self._entries = None
        self.offset += len(data)
        self._position += len(data)
        self._left -= len(data)
        return data

    def skip_to(self, offset: int) -> bool:
        """Go on to `offset` without reading; False when the image ends before."""
        while self.offset < offset:
            while not self._left and self._entries is not None:
                self._next(self._entries)
            step = min(offset - self.offset, self._left - self._short)
            if step <= 0:
                return False
            self.offset += step
            self._position += step
            self._left -= step
        return True

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self._left, self._short, self._entries = -1, 0, 0, None

    def _next(self, left: Iterator[tuple[str, int]]) -> None:
        self.close()  # an error, or a file that is missing, ends the image here
        entry = next(left, None)
        if entry is None:
            there = [name for name in files.names(self._partitions.boot) if not _of_fsck(name)]
            if len(there) != self._boot_files:
                raise DeviceError("slot_damaged", "slot %s holds boot files that its index does not name" % self.slot)
            return
        name, length = entry
        path = place(name, self._path, self._partitions)
        self._boot_files += name != ROOT
        found = files.size(path) if name == ROOT or files.is_regular(path) else None
        if found is None:
            return
        goes_on: Iterator[tuple[str, int]] | None = left
        if self._limit is not None and self._limit - self.offset < length:
            length, goes_on = max(0, self._limit - self.offset), None  # as far as it was written
        elif found > length and name != ROOT:
            raise DeviceError("slot_damaged", "%s in slot %s is longer than its index says" % (name, self.slot))
        elif name == CMDLINE and found == length and not cmdline_fits(self._path, self._partitions):
            raise DeviceError("slot_damaged", "the boot partition of slot %s has another cmdline.txt" % self.slot)
        self._handle = files.open_to_read(path)
        self._position, self._left, self._entries = 0, length, goes_on
        self._short = max(0, length - found)


def entries(path: str) -> Iterator[tuple[str, int]]:
    """(path, bytes) of each file, from the slot's own index."""
    with open(path + "/.index", "rb") as file:
        for name, length, _ in imagewalk.entries(file):
            yield name, length


def place(name: str, path: str, partitions: Partitions) -> str:
    """Where the image's file `name` lies."""
    if name == ROOT:
        return partitions.root
    if name == CMDLINE:
        return path + "/cmdline.txt"
    return partitions.boot + "/" + name[len(BOOT) :] if name.startswith(BOOT) else path + "/" + name


def cmdline_fits(path: str, partitions: Partitions) -> bool:
    """Whether the boot partition's cmdline.txt is the image's own with the slot's root."""
    own = files.read(path + "/cmdline.txt", boot.CMDLINE_BYTES)
    there = files.read(partitions.boot + "/cmdline.txt", boot.CMDLINE_BYTES)
    return own is not None and there == boot.cmdline_for(own, partitions.root_argument)


def _of_fsck(name: str) -> bool:
    """FSCK0000.REC and its like: what a check of the FAT found lost; the firmware does not read it."""
    return len(name) == 12 and name.startswith("FSCK") and name.endswith(".REC") and name[4:8].isdigit()
