# SPDX-License-Identifier: MIT
"""The boot loader of a simulated ESP32, and the calls of ESP-IDF that write its memory.

Written from ESP-IDF (bootloader_utility.c, bootloader_common_loader.c,
esp_ota_ops.c, esp_image_format.c), apart from the adapter that is tested by it:
the two share no line.  `board` is `memory_esp32.Board`.

What it models: the choice by sequence number, states and CRC; NEW becomes
PENDING at the first boot, and ABORTED at the second; the images tried one after
the other when the chosen one does not pass; blank entries written anew.  Not
modelled: secure boot, anti-rollback fuses, flash encryption, test partitions.
"""

import binascii
import hashlib
import struct

from platform_adapters.memory_power import Illegal

NEW, PENDING, VALID, INVALID, ABORTED, UNDEFINED = 0, 1, 2, 3, 4, 0xFFFFFFFF

NOT_FOUND = 0x105  # ESP_ERR_NOT_FOUND
VALIDATE_FAILED = 0x1503  # ESP_ERR_OTA_VALIDATE_FAILED

SECTOR = 4096
ENTRY_BYTES = 32
CHIP = 0  # ESP32
_ENTRY = "<I20sII"
_MAX_SEGMENTS = 16


class EspError(OSError):
    """As `esp32` raises it: the negative code, and its name."""

    def __init__(self, code, name):
        super().__init__(-code, name)


def image(contents, chip=CHIP):
    """An image of one segment with checksum and appended hash, which this boot loader and `esptool` take."""
    contents = bytes(contents) + bytes(-len(contents) % 4)
    head = struct.pack("<BBBBI", 0xE9, 1, 2, 0x20, 0x40080000) + b"\xee\0\0\0" + struct.pack("<H", chip)
    head += bytes(9) + b"\x01"  # chip revisions; a hash is appended
    body = head + struct.pack("<II", 0x3F400020, len(contents)) + contents
    body += bytes(15 - len(body) % 16)
    body += bytes([_checksum(contents)])
    return body + hashlib.sha256(body).digest()


def _checksum(contents):
    words = 0
    for at in range(0, len(contents), 64):  # many at once: a byte at a time is most of a sweep
        words ^= int.from_bytes(bytes(contents[at : at + 64]) + bytes(max(0, at + 64 - len(contents))), "big")
    value = 0xEF
    for byte in words.to_bytes(64, "big"):
        value ^= byte
    return value


def bootable(data):
    """Whether the partition's bytes begin with a whole image: header, segments, checksum, hash."""
    if data[0] != 0xE9 or data[1] > _MAX_SEGMENTS or struct.unpack("<H", data[12:14])[0] != CHIP:
        return False
    at, checksum = 24, 0xEF
    for _ in range(data[1]):
        if at + 8 > len(data):
            return False
        size = struct.unpack("<I", data[at + 4 : at + 8])[0]
        at += 8
        if size % 4 or at + size > len(data):
            return False
        checksum ^= _checksum(memoryview(data)[at : at + size]) ^ 0xEF
        at += size
    at += 15 - at % 16
    if at + 33 > len(data) or data[at] != checksum:
        return False
    at += 1
    return not data[23] or hashlib.sha256(memoryview(data)[:at]).digest() == data[at : at + 32]


def _crc(seq):
    return binascii.crc32(struct.pack("<I", seq), 0xFFFFFFFF) & 0xFFFFFFFF


def pack(seq, state, label=b"\xff" * 20):
    return struct.pack(_ENTRY, seq, label, state, _crc(seq))


def otadata(board):
    """[[seq, label, state, crc], ...] of both copies, whole or not; blank ones where there is no such partition."""
    data = board.flash["otadata"] if board.has("otadata") else b"\xff" * (2 * SECTOR)
    return [list(struct.unpack(_ENTRY, data[i : i + ENTRY_BYTES])) for i in (0, SECTOR)]


def _invalid(entry):
    return entry[0] == 0xFFFFFFFF or entry[2] in (INVALID, ABORTED)


def whole(entry):
    """Neither blank nor torn."""
    return entry[0] != 0xFFFFFFFF and entry[3] == _crc(entry[0])


def active(entries):
    """The copy that decides; -1 without one."""
    valid = [not _invalid(entry) and entry[3] == _crc(entry[0]) for entry in entries]
    if valid[0] and valid[1]:
        return 0 if entries[0][0] >= entries[1][0] else 1
    return 0 if valid[0] else 1 if valid[1] else -1


def _write(board, copy, seq, state):
    board.erase("otadata", copy)
    board.program("otadata", copy * SECTOR, pack(seq, state))


def start(board):
    """Choose what boots, as the boot loader does; the label of its partition.  Illegal when nothing does: a brick."""
    entries = otadata(board)
    apps = board.apps()
    initial = False
    if board.loader_rolls_back:
        for copy in (0, 1):
            if entries[copy][2] == PENDING:
                entries[copy][2] = ABORTED
                _write_again(board, copy, entries[copy])
    if _invalid(entries[0]) and _invalid(entries[1]):
        index = -1 if board.has("factory") else 0
        initial = index == 0 and not whole(entries[0]) and not whole(entries[1])
    else:
        copy = active(entries)
        index = -1
        if copy >= 0:
            index = (entries[copy][0] - 1) % len(apps)
            if entries[copy][2] == NEW and board.loader_rolls_back:
                entries[copy][2] = PENDING
                _write_again(board, copy, entries[copy])
    order = list(range(index, -2, -1)) if index >= -1 else []
    for tried in order + list(range(index + 1, len(apps))):
        label = apps[tried] if tried >= 0 else "factory"
        if board.has(label) and bootable(board.flash[label]):
            if initial and tried >= 0 and board.has("otadata"):
                _write(board, 0, tried + 1, VALID)
            return label
    raise Illegal("brick: no partition holds a bootable image")


def _write_again(board, copy, entry):
    # The boot loader keeps label and CRC as they were read, right or wrong.
    board.erase("otadata", copy)
    board.program("otadata", copy * SECTOR, struct.pack(_ENTRY, *entry))


def set_boot(board, label):
    """esp_ota_set_boot_partition."""
    if not bootable(board.flash[label]):
        raise EspError(VALIDATE_FAILED, "ESP_ERR_OTA_VALIDATE_FAILED")
    if label == "factory":
        board.erase("otadata", 0)
        board.erase("otadata", 1)
        return
    apps = board.apps()
    wanted, entries = apps.index(label), otadata(board)
    copy = active(entries)
    if copy < 0:
        copy, seq = 0, wanted + 1
    else:
        seq = entries[copy][0]
        if (seq - 1) % len(apps) != wanted:
            copy = 1 - copy
            while (seq - 1) % len(apps) != wanted:
                seq += 1
        elif entries[copy][2] == NEW:
            raise Illegal("set_boot: %s is chosen already" % label)
    _write(board, copy, seq, NEW if board.app_rolls_back else UNDEFINED)


def mark_valid(board):
    """esp_ota_mark_app_valid_cancel_rollback."""
    entries = otadata(board)
    copy = active(entries)
    if copy < 0:
        raise EspError(NOT_FOUND, "ESP_ERR_NOT_FOUND")
    chosen = board.apps()[(entries[copy][0] - 1) % len(board.apps())]
    if chosen != board.running:
        # Hardware marks it, though it never ran.
        raise Illegal("mark_app_valid: %s is chosen, %s runs" % (chosen, board.running))
    if entries[copy][2] != VALID:
        _write(board, copy, entries[copy][0], VALID)
