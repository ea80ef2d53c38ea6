# SPDX-License-Identifier: MIT
"""A board's file system as one image: littlefs as MicroPython makes and mounts it.

Block size, and name length as in MicroPython's VfsLfs2 (extmod/vfs_lfs.c, ports/esp32/modules/flashbdev.py); the format is
2.0, which old firmwares mount as well as new ones.  A test mounts it with MicroPython itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ..problem import Problem

BLOCK_BYTES = 4096
UNIT_BYTES = 32  # what MicroPython reads and programs at least
DISK_VERSION = 0x00020000


def build(files: Mapping[str, bytes], size: int) -> bytes:
    from littlefs import LittleFS, LittleFSError

    system = LittleFS(
        block_size=BLOCK_BYTES,
        block_count=size // BLOCK_BYTES,
        read_size=UNIT_BYTES,
        prog_size=UNIT_BYTES,
        lookahead_size=UNIT_BYTES,
        disk_version=DISK_VERSION,
    )
    try:
        for name, data in files.items():
            folder = str(PurePosixPath(name).parent)
            if folder != ".":
                system.makedirs(folder, exist_ok=True)
            with system.open(name, "wb") as file:
                file.write(data)
    except LittleFSError as error:
        total = sum(map(len, files.values()))
        raise Problem(
            "flash_small",
            "The files do not fit into the board's file system.",
            f"{len(files)} files with {total >> 10} KB into {size >> 10} KB: {error}",
        ) from None
    return bytes(system.context.buffer)


def unpack(image: bytes, folder: Path) -> None:
    """Write all that is in the image below `folder`; ValueError when it is no file system."""
    from littlefs import LittleFS, LittleFSError

    try:
        system = LittleFS(
            block_size=BLOCK_BYTES,
            block_count=len(image) // BLOCK_BYTES,
            read_size=UNIT_BYTES,
            prog_size=UNIT_BYTES,
            lookahead_size=UNIT_BYTES,
            mount=False,
        )
        system.context.buffer = bytearray(image)
        system.mount()
        for root, _, names in system.walk("/"):
            place = folder / root.lstrip("/")
            place.mkdir(parents=True, exist_ok=True)
            for name in names:
                with system.open(f"{root.rstrip('/')}/{name}", "rb") as file:
                    (place / name).write_bytes(file.read())
    except LittleFSError as error:
        raise ValueError(str(error)) from None
