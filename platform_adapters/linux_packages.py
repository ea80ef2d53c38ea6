# SPDX-License-Identifier: MIT
"""Where a package that a script installs lies, what the script works on, and the image that it leaves: see `agent/tasks/script.py`.

    state/packages/NAME/package    the downloaded file
    state/packages/NAME/slot       a copy of the running slot's files: what the script finds in TRUEBOOT_SLOT

Rules it keeps
  * NAME is drawn anew for each package, so that a script which outlived its agent writes nowhere that counts.
  * Only plain files are taken, at paths that every image may have; a link is refused, never followed.
  * All is removed when the agent starts, and when it is done.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from agent.errors import DeviceError, RefusedError
from agent.wire import appimage
from platform_adapters import files, imagewalk
from platform_adapters.linux_slots import LinuxSlots

RESERVE_BYTES = 1024 * 1024  # of the file system, for journal and boot record
PIECE_BYTES = 1024 * 1024
MAIN = "main.py"


class Packages:
    def __init__(self, folder: str, slots: LinuxSlots):
        self._folder = Path(folder)
        self._slots = slots
        self._own: Path | None = None

    def clean(self) -> None:
        """Nothing of any package is left."""
        self._own = None
        if self._folder.is_symlink():
            self._folder.unlink()
        elif self._folder.exists():
            shutil.rmtree(self._folder)

    def file(self, length: int) -> str:
        """Where the package of `length` bytes lies, or is to lie.  DeviceError("package_space")."""
        if self._own is None:
            self._own = self._folder / secrets.token_hex(8)
            self._own.mkdir(0o700, parents=True)
        path = self._own / "package"
        if length:
            there = path.stat().st_size if path.exists() else 0
            self._must_hold(length - there)
        return str(path)

    def stage(self) -> Iterator[int]:
        """Yields while it copies; returns the folder."""
        assert self._own is not None
        folder, slot = self._own / "slot", self._slots.running()
        from_ = Path(self._slots.folder(slot))
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(0o700)
        try:
            with (from_ / ".index").open("rb") as index:
                entries = list(imagewalk.entries(index))
        except OSError as error:
            raise DeviceError("slot_damaged", "slot %s has no index: %s" % (slot, error.strerror)) from None
        self._must_hold(sum(entry[1] for entry in entries))
        for name, _, _ in entries:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(from_ / name, folder / name, follow_symlinks=False)
            yield 0
        return str(folder)

    def image(self, folder: str) -> Iterator[int]:
        """Yields while it reads; returns the Image that the folder's files make.  RefusedError("package_result")."""
        names = sorted(_names(folder, ""))
        if MAIN not in names:
            raise RefusedError("package_result", "the script left no " + MAIN)
        lines = [appimage.MAGIC]
        for name in names:
            hasher, length = hashlib.sha256(), 0
            for data in _pieces(Path(folder, name), PIECE_BYTES):
                hasher.update(data)
                length += len(data)
                yield 0
            lines.append(b"%s %d %s" % (hasher.hexdigest().encode(), length, name.encode()))
        index = b"\n".join(lines) + b"\n\n"
        try:
            appimage.Index().feed(index)
        except RefusedError as error:
            raise RefusedError("package_result", error.detail) from None
        made = Image(folder, index, names)
        hasher = hashlib.sha256()
        for data in made.pieces(PIECE_BYTES):
            hasher.update(data)
            made.length += len(data)
            yield 0
        made.sha256 = hasher.hexdigest()
        return made

    def _must_hold(self, length: int) -> None:
        room = os.statvfs(self._folder)
        if length + RESERVE_BYTES > room.f_bavail * room.f_frsize:
            raise DeviceError("package_space", "%d bytes do not fit beside %s" % (length, self._folder))


class Image:
    """An app image whose files lie in a folder."""

    sha256 = ""
    length = 0

    def __init__(self, folder: str, index: bytes, names: list[str]):
        self._folder = Path(folder)
        self._index = index
        self._names = names

    def pieces(self, size: int) -> Iterator[bytes]:
        yield self._index
        for name in self._names:
            yield from _pieces(self._folder / name, size)


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        while data := file.read(size):
            yield data


def _names(folder: str, prefix: str, depth: int = 1) -> Iterator[str]:
    """Paths of the files below, each fit for an image."""
    for number, (name, kind) in enumerate(files.entries(folder)):
        path = prefix + name
        if number > appimage.MAX_FILES or depth > appimage.MAX_DEPTH:
            raise RefusedError("package_result", "the script left too many files, or too deep ones")
        if kind == files.FOLDER:
            yield from _names(folder + "/" + name, path + "/", depth + 1)
        elif kind == files.FILE:
            try:
                appimage.check_path(os.fsencode(path))
            except RefusedError as error:
                raise RefusedError("package_result", error.detail) from None
            yield path
        else:
            raise RefusedError("package_result", "the script left a link, or what is no plain file")
