# SPDX-License-Identifier: MIT
"""What an ESP32's boot loader remembers: the two entries of the `otadata` partition, read.

Each copy is the first 32 bytes of a sector: sequence number, label, state, and
a CRC over the sequence number alone, all little-endian.  Slot = (sequence - 1)
modulo the number of slots; the selectable entry with the higher number is the
one that boots.  MicroPython has no call for an image's state, so it is read here.
Source: ESP-IDF, `esp_ota_select_entry_t`, bootloader_common_loader.c, esp_ota_ops.c.

Rules it keeps: it never writes an entry.  All that is ever done to them here is
to erase one, whose cut at any byte leaves either the entry or none.
Raises `OSError`; the caller gives it a meaning.
"""

import binascii
import struct

NEW = 0  # chosen, and not booted yet
PENDING = 1  # boots for the first time; at the next reset it is given up
VALID = 2
INVALID = 3  # given up by the app
ABORTED = 4  # given up by the boot loader
UNDEFINED = 0xFFFFFFFF  # chosen by a firmware or a tool that knows no rollback

SIZE = 32
SLOTS = ("a", "b")

_LAYOUT = "<I20sII"
_BLANK = 0xFFFFFFFF
_ERASE = 6  # ioctl: erase one block


def entries(partition):
    """[(sequence, state) or None for an entry that is blank or torn] of both copies."""
    found = []
    data = bytearray(SIZE)
    for copy in (0, 1):
        partition.readblocks(copy, data)
        seq, _, state, crc = struct.unpack(_LAYOUT, data)
        whole = seq != _BLANK and crc == binascii.crc32(data[:4], 0xFFFFFFFF) & 0xFFFFFFFF
        found.append((seq, state) if whole else None)
    return found


def slot(entry):
    return SLOTS[(entry[0] - 1) % 2]


def selectable(entry):
    return entry is not None and entry[1] not in (INVALID, ABORTED)


def active(found):
    """The copy that decides the next boot; None when neither can, and the boot loader takes slot "a" then."""
    if selectable(found[0]) and selectable(found[1]):
        return 0 if found[0][0] >= found[1][0] else 1
    for copy in (0, 1):
        if selectable(found[copy]):
            return copy
    return None


def state(found, name):
    """The state of slot `name`: that of its newest entry; None without one."""
    best = None
    for entry in found:
        if entry is not None and slot(entry) == name and (best is None or entry[0] > best[0]):
            best = entry
    return best[1] if best else None


def chosen(found):
    """(slot, state) of the entry that decides the next boot, or (None, None)."""
    copy = active(found)
    return (None, None) if copy is None else (slot(found[copy]), found[copy][1])


def erase(partition, copy):
    partition.ioctl(_ERASE, copy)
