# SPDX-License-Identifier: MIT
"""Firmware files: is this one for that chip, does it fit, was it compared with the vendor's, and where do files go.

    ESP32 family   one file from the boot loader on: an image header with the chip's number, and a partition table
    RP2            UF2: blocks of 512 bytes, each with its address and the family of chips that it is for

Sources: ESP-IDF, "App Image Format" and "Partition Tables"; UF2 specification (microsoft/uf2); RP2350 datasheet, errata E10.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import NamedTuple

from ..problem import Problem
from .boards import Board

MAX_BYTES = 32 * 1024 * 1024
TABLE_AT, ENTRY_BYTES, ENTRIES_MAX = 0x8000, 32, 96
CHIP_IDS = {"esp32": 0, "esp32s2": 2, "esp32c3": 5, "esp32s3": 9, "esp32c2": 12, "esp32c6": 13, "esp32h2": 16}
UF2_BLOCK = 512
UF2_MAGIC = (0x0A324655, 0x9E5D5157)
UF2_END = 0x0AB16F30
UF2_HAS_FAMILY, UF2_NOT_MAIN = 0x2000, 0x0001
UF2_ABSOLUTE = 0xE48BFF57  # of one block before an RP2350's own, which its boot ROM needs
XIP_BASE = 0x10000000


class Area(NamedTuple):
    offset: int
    size: int


class Firmware(NamedTuple):
    path: Path
    sha256: str
    vfs: Area | None  # the partition that MicroPython mounts as its root
    end: int  # how far it and its partitions reach into the flash


def read(path: Path, board: Board, unverified: bool) -> Firmware:
    """Checked in all that needs no board."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Problem("file_unusable", f"{path} cannot be read.", error.strerror or str(error)) from None
    if len(data) > MAX_BYTES:
        raise _wrong(path, board, f"it has more than {MAX_BYTES} bytes")
    try:
        made = _esp(path, data, board) if board.tool == "esptool" else _uf2(path, data, board)
    except struct.error:
        raise _wrong(path, board, "it ends early") from None
    if made.sha256 not in board.known and not unverified:
        raise Problem(
            "firmware_unverified",
            f"Nobody vouches for {path.name}.",
            f"its SHA-256 {made.sha256} is not in the board.json of {board.name}",
            f"Compare it with the vendor's ({board.page}), and say --unverified.",
        )
    return made


def must_fit(firmware: Firmware, flash_bytes: int) -> None:
    if firmware.end > flash_bytes:
        raise Problem(
            "flash_small",
            "The board's flash is too small for this firmware.",
            f"it has {flash_bytes >> 10} KB, and {firmware.path.name} reaches to {firmware.end >> 10} KB",
        )


def partitions(data: bytes) -> dict[str, tuple[int, int, Area]]:
    """name -> (type, subtype, area) of a table's bytes."""
    found = {}
    for at in range(0, min(len(data), ENTRIES_MAX * ENTRY_BYTES), ENTRY_BYTES):
        if data[at : at + 2] != b"\xaa\x50":
            break
        kind, subkind, offset, size = struct.unpack_from("<BBII", data, at + 2)
        name = data[at + 12 : at + 28].split(b"\0")[0].decode("ascii", "replace")
        found[name] = (kind, subkind, Area(offset, size))
    return found


def _esp(path: Path, data: bytes, board: Board) -> Firmware:
    if len(data) < 24 or data[0] != 0xE9:
        raise _wrong(path, board, "it is no image of Espressif's boot loader")
    (chip,) = struct.unpack_from("<H", data, 12)
    if chip != CHIP_IDS.get(board.chip):
        other = next((name for name, number in CHIP_IDS.items() if number == chip), f"chip {chip}")
        raise _wrong(path, board, f"it is for {other}, and the board has {board.chip}")
    table = partitions(data[TABLE_AT - board.offset :])
    if not table:
        raise _wrong(
            path, board, "it holds no partition table", "Take the file that is flashed whole, not the .app-bin."
        )
    vfs = next((area for name, (kind, _, area) in table.items() if kind == 1 and name == "vfs"), None)
    ends = [area.offset + area.size for _, _, area in table.values()]
    return Firmware(path, hashlib.sha256(data).hexdigest(), vfs, max(board.offset + len(data), *ends))


def _uf2(path: Path, data: bytes, board: Board) -> Firmware:
    """Every block is looked at: a drive takes whatever is copied to it."""
    if not data or len(data) % UF2_BLOCK:
        raise _wrong(path, board, f"it is no UF2: {len(data)} bytes are no whole number of blocks")
    expected, end = 0, 0
    for at in range(0, len(data), UF2_BLOCK):
        first, second, flags, address, size, number, total, family = struct.unpack_from("<8I", data, at)
        (last,) = struct.unpack_from("<I", data, at + UF2_BLOCK - 4)
        if (first, second) != UF2_MAGIC or last != UF2_END:
            raise _wrong(path, board, f"its block {at // UF2_BLOCK} is no UF2 block")
        if flags & UF2_NOT_MAIN or (family == UF2_ABSOLUTE and board.chip == "rp2350" and at == 0):
            continue
        if not flags & UF2_HAS_FAMILY or family != board.family:
            raise _wrong(path, board, f"its family is {family:#010x}, and {board.chip} is {board.family:#010x}")
        if number != expected or not 0 < size <= 476:
            raise _wrong(path, board, f"its block {at // UF2_BLOCK} is out of order")
        if address < XIP_BASE:
            raise _wrong(path, board, f"its block {number} is not for the flash")
        expected, end = number + 1, max(end, address - XIP_BASE + size)
    if not expected or expected != total:
        raise _wrong(path, board, f"it has {expected} blocks of {total if expected else 'none'}")
    return Firmware(path, hashlib.sha256(data).hexdigest(), None, end)


def _wrong(path: Path, board: Board, why: str, todo: str = "") -> Problem:
    return Problem("firmware_wrong", f"{path.name} is no firmware for {board.name}.", why, todo)
