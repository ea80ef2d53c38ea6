# SPDX-License-Identifier: MIT
"""Images on the host: from a folder or a file, to one, and what is inside.

app       a folder's files with a main.py among them, in the format of `agent.wire.appimage`
system    the same format, of boot/... and root.img (docs/slots-raspberry-pi.md)
firmware  the file that `esptool` would flash into an app partition, as it is
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .problem import Problem

FILE_NAMES = {"app": "app.img", "firmware": "firmware.bin", "system": "system.img"}  # kind -> a target's last part
FIRMWARE_MAX_BYTES = 16 * 1024 * 1024
LEFT_OUT = ("__pycache__", ".git", ".DS_Store")


def load(source: Path, kind: str = "app") -> bytes:
    """A folder is built into an image; a file must be one."""
    try:
        if source.is_dir() and kind != "firmware":
            return build(files_below(source), kind)
        data = source.read_bytes()
    except OSError as error:
        raise Problem("file_unusable", f"{source} cannot be read.", error.strerror or str(error)) from None
    if kind == "firmware":
        check_firmware(data)
    else:
        check_names(split(data)[1], kind)
    return data


def check_firmware(data: bytes) -> None:
    """Problem unless it is one whole image of an ESP32 and nothing more (ESP-IDF, esp_image_format.h)."""
    at, count = 24, data[1] if len(data) > 24 and data[0] == 0xE9 else 0
    for _ in range(count):
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
    at += 16 - at % 16
    end = at + (32 if count and data[23] else 0)
    if not 1 <= count <= 16 or len(data) < end or len(data) > FIRMWARE_MAX_BYTES:
        raise Problem(
            "image_invalid", "This is no firmware of an ESP32.", "its header and segments do not fit its length"
        )
    if len(data) > end:
        todo = "Give the application alone: micropython.bin, not the firmware.bin that also holds the boot loader."
        raise Problem(
            "image_invalid", "More follows behind this firmware.", f"the image ends at {end} of {len(data)}", todo
        )


def check_names(names: Iterable[str], kind: str) -> None:
    if kind == "app" and not {"main.py", "main.mpy"} & set(names):
        raise Problem("image_invalid", "The folder holds no main.py.", "the boot loader runs the image's main.py")
    if kind == "system":
        lacks = [name for name in ("boot/cmdline.txt", "root.img") if name not in names]
        odd = [name for name in names if name != "root.img" and not name.startswith("boot/")]
        if lacks or odd:
            why = f"it lacks {', '.join(lacks)}" if lacks else f"{odd[0]} is neither root.img nor below boot/"
            raise Problem("image_invalid", "This is no system image.", why)


def files_below(folder: Path) -> dict[str, bytes]:
    """Path -> contents; what starts with a dot and compiled Python stay out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not any(part in LEFT_OUT or part.startswith(".") for part in relative.parts):
            found[relative.as_posix()] = path.read_bytes()
    return found


def build(files: dict[str, bytes], kind: str = "app") -> bytes:
    from agent.errors import AgentError
    from agent.wire import appimage

    if not files:
        raise Problem("image_invalid", "The folder holds no files.", "an image without files boots nothing")
    check_names(files, kind)
    try:
        return appimage.build(files)
    except AgentError as error:
        raise Problem("image_invalid", why=error.detail) from None


def split(image: bytes) -> tuple[bytes, dict[str, bytes]]:
    """(index verbatim, {path: contents}), every length and hash checked."""
    from agent.errors import AgentError
    from agent.wire.appimage import Index

    index = Index()
    try:
        used = index.feed(image)
    except AgentError as error:
        raise Problem("image_invalid", why=error.detail) from None
    if not index.complete or index.size != len(image):
        raise Problem("image_invalid", why="it is not as long as its index says")
    contents = {}
    for path, start, length, digest in index.files:
        contents[path] = image[start : start + length]
        if hashlib.sha256(contents[path]).digest() != digest:
            raise Problem("image_invalid", why=f"{path} does not match its hash")
    return image[:used], contents


def describe(image: bytes) -> dict[str, Any]:
    _, contents = split(image)
    return {
        "sha256": hashlib.sha256(image).hexdigest(),
        "length": len(image),
        "files": [
            {"path": path, "length": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for path, data in contents.items()
        ],
    }
