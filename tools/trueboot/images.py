# SPDX-License-Identifier: MIT
"""App images on the host: from a folder or a file, to one, and what is inside.  The format is `agent.wire.appimage`'s."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from .problem import Problem

LEFT_OUT = ("__pycache__", ".git", ".DS_Store")


def load(source: Path) -> bytes:
    """A folder is built into an image; a file must be one."""
    try:
        if source.is_dir():
            return build(files_below(source))
        data = source.read_bytes()
    except OSError as error:
        raise Problem("file_unusable", f"{source} cannot be read.", error.strerror or str(error)) from None
    split(data)
    return data


def files_below(folder: Path) -> dict[str, bytes]:
    """Path -> contents; what starts with a dot and compiled Python stay out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not any(part in LEFT_OUT or part.startswith(".") for part in relative.parts):
            found[relative.as_posix()] = path.read_bytes()
    return found


def build(files: dict[str, bytes]) -> bytes:
    from agent.errors import AgentError
    from agent.wire import appimage

    if not files:
        raise Problem("image_invalid", "The folder holds no files.", "an image without files boots nothing")
    if "main.py" not in files and "main.mpy" not in files:
        raise Problem("image_invalid", "The folder holds no main.py.", "the boot loader runs the image's main.py")
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
