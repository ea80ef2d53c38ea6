# SPDX-License-Identifier: MIT
"""Firmware for simulated boards: shaped like a real one, as far as boot ROMs look at it, and with nothing in it.

    ESP32 family   image header, the partition table of boards/NAME/partitions.csv, an app that is a hash and noise
    RP2            UF2 blocks of the board's family

It boots a simulated board only: MicroPython's own firmware is in no package registry.
"""

from __future__ import annotations

import csv
import hashlib
import struct
from pathlib import Path

from ..boards import FOLDER, Board
from ..firmware import CHIP_IDS, TABLE_AT, UF2_BLOCK, UF2_END, UF2_HAS_FAMILY, UF2_MAGIC, XIP_BASE

APP_AT = 0x10000
MARK = b"trueboot simulated firmware\n"
NOISE_BYTES = 32 * 1024
KINDS = {"app": 0, "data": 1}
SUBKINDS = {"ota": 0, "phy": 1, "nvs": 2, "fat": 0x81, "factory": 0, "ota_0": 0x10, "ota_1": 0x11}
UF2_PAYLOAD = 256


def make(board: Board, noise_bytes: int = NOISE_BYTES) -> bytes:
    return _esp(board, noise_bytes) if board.tool == "esptool" else _uf2(board, noise_bytes)


def boots(flash: bytes, board: Board) -> bool:
    """Whether the ROM would start what lies in this flash: the header, and the app's own hash."""
    if flash[board.offset : board.offset + 1] != b"\xe9":
        return False
    start = APP_AT + 24 + len(MARK)
    if flash[APP_AT + 24 : start] != MARK:
        return False
    (size,) = struct.unpack_from("<I", flash, start)
    body = start + 4
    wanted = flash[body + size : body + size + 32]
    return hashlib.sha256(flash[APP_AT : body + size]).digest() == wanted


def _esp(board: Board, noise_bytes: int) -> bytes:
    header = struct.pack("<BBBBI", 0xE9, 1, 2, 0x20, 0x40080000) + bytes(4)
    header += struct.pack("<HBHH", CHIP_IDS[board.chip], 0, 0, 0xFFFF) + bytes(4) + b"\x01"
    app = header + MARK + struct.pack("<I", noise_bytes) + noise(noise_bytes)
    app += hashlib.sha256(app).digest()
    image = bytearray(b"\xff" * (APP_AT - board.offset)) + app
    image[: len(header)] = header
    table = _table(FOLDER / board.name / "partitions.csv")
    image[TABLE_AT - board.offset : TABLE_AT - board.offset + len(table)] = table
    return bytes(image)


def _table(path: Path) -> bytes:
    entries = b""
    for row in csv.reader(line for line in path.read_text().splitlines() if line.strip() and line[0] != "#"):
        name, kind, subkind, offset, size = (cell.strip() for cell in row[:5])
        numbers = (KINDS[kind], SUBKINDS[subkind], int(offset, 0), int(size, 0))
        entries += b"\xaa\x50" + struct.pack("<BBII16sI", *numbers, name.encode(), 0)
    return entries + b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(entries, usedforsecurity=False).digest()


def _uf2(board: Board, noise_bytes: int) -> bytes:
    body = MARK + noise(noise_bytes)
    total = -(-len(body) // UF2_PAYLOAD)
    blocks = b""
    for number in range(total):
        piece = body[number * UF2_PAYLOAD : (number + 1) * UF2_PAYLOAD].ljust(UF2_PAYLOAD, b"\0")
        address = XIP_BASE + number * UF2_PAYLOAD
        head = struct.pack("<8I", *UF2_MAGIC, UF2_HAS_FAMILY, address, UF2_PAYLOAD, number, total, board.family)
        blocks += (head + piece).ljust(UF2_BLOCK - 4, b"\0") + struct.pack("<I", UF2_END)
    return blocks


def noise(size: int) -> bytes:
    """Half of it like code, half not: a firmware compresses to some two thirds."""
    found = b""
    while len(found) < size:
        found += hashlib.sha256(len(found).to_bytes(4, "big")).digest() + bytes(16)
    return found[:size]
