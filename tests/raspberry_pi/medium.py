# SPDX-License-Identifier: MIT
"""A folder as a medium whose power can be cut at each change: stands in for the module `os` in the code under test.

What was not synced may be lost: a file's contents until its fsync, a folder's
names until the folder's.  `settle` is what the medium holds after the cut.
"""

from __future__ import annotations

import os
import shutil
from typing import Any

from platform_adapters.memory_power import PowerCut

KEEP = "all that was written is there"
LOSE = "nothing that was not synced is there"
NAMES = "names are there, contents that were not synced are not"
OUTCOMES = (KEEP, LOSE, NAMES)
BEFORE, TORN = "before", "torn"


class File:
    """A file object of the code under test that keeps nothing in RAM: what `open` is replaced by."""

    def __init__(self, medium: Medium, handle: int):
        self._medium, self._handle, self._at = medium, handle, 0

    def write(self, data: bytes) -> int:
        self._at += self._medium.pwrite(self._handle, data, self._at)
        return len(data)

    def flush(self) -> None:
        pass

    def fileno(self) -> int:
        return self._handle

    def __enter__(self) -> File:
        return self

    def __exit__(self, *error: object) -> None:
        self._medium.close(self._handle)


class Medium:
    def __init__(self, root: str, volatile: str):
        self.root, self.volatile = root, volatile
        self.cut_at, self.cut_way = 0, BEFORE
        self.effects: list[str] = []
        self._handles: dict[int, str] = {}
        self._adopt()

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _adopt(self) -> None:
        """All that is there is durable."""
        self._ids: dict[str, int] = {}  # path -> inode, as the running system sees it
        self._data: dict[int, bytes] = {}  # inode -> durable contents
        self._names: dict[str, dict[str, int | None]] = {}  # folder -> durable names; None: a folder
        self._next = 0
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(folder, name)
                self._new(path)
                with open(path, "rb") as file:
                    self._data[self._ids[path]] = file.read()
            self._names[folder] = self._listing(folder)

    def _new(self, path: str) -> None:
        self._next += 1
        self._ids[path] = self._next

    def _listing(self, folder: str) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            found[name] = None if os.path.isdir(path) else self._ids[path]
        return found

    def _is_volatile(self, path: str) -> bool:
        return path.startswith(self.volatile)

    def _effect(self, what: str, path: str) -> bool:
        """Count it; PowerCut if the power goes before it; True if it goes within."""
        if self._is_volatile(path):
            return False
        self.effects.append("%s %s" % (what, os.path.relpath(path, self.root)))
        if len(self.effects) != self.cut_at:
            return False
        if self.cut_way == BEFORE or what != "write":
            raise PowerCut
        return True

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        new = flags & os.O_CREAT and not os.path.exists(path)
        if new or (flags & os.O_TRUNC and os.path.getsize(path)):
            self._effect("create" if new else "truncate", path)
        handle = os.open(path, flags, mode)
        if new:
            self._new(path)
        self._handles[handle] = path
        return handle

    def file(self, path: Any, mode: str) -> Any:
        """Stands in for `open`: a path is read, a descriptor is written to."""
        return File(self, path) if isinstance(path, int) else open(path, mode)

    def close(self, handle: int) -> None:
        self._handles.pop(handle, None)
        os.close(handle)

    def pwrite(self, handle: int, data: Any, position: int) -> int:
        path = self._handles[handle]
        if self._effect("write", path):
            os.pwrite(handle, bytes(data)[: len(data) // 2], position)
            raise PowerCut
        return os.pwrite(handle, data, position)

    def fsync(self, handle: int) -> None:
        path = self._handles[handle]
        self._effect("sync", path)
        if self._is_volatile(path):
            return
        if os.path.isdir(path):
            self._names[path] = self._listing(path)
        else:
            with open(path, "rb") as file:
                self._data[self._ids[path]] = file.read()

    def unlink(self, path: str) -> None:
        if os.path.lexists(path):
            self._effect("unlink", path)
            self._ids.pop(path, None)
        os.unlink(path)

    remove = unlink

    def rmdir(self, path: str) -> None:
        self._effect("rmdir", path)
        os.rmdir(path)

    def mkdir(self, path: str) -> None:
        self._effect("mkdir", path)
        os.mkdir(path)

    def rename(self, before: str, after: str) -> None:
        self._effect("rename", after)
        os.rename(before, after)
        self._ids[after] = self._ids.pop(before)

    def settle(self, how: str) -> None:
        """The power was cut: what is left, by the unkindest that `how` allows."""
        for handle in list(self._handles):
            self.close(handle)
        if how == NAMES:
            for path, number in self._ids.items():
                if not self._is_volatile(path):
                    with open(path, "wb") as file:
                        file.write(self._data.get(number, b""))
        elif how == LOSE:
            shutil.rmtree(self.root)
            self._restore(self.root)
        shutil.rmtree(self.volatile, ignore_errors=True)
        os.makedirs(self.volatile)
        self._adopt()
        self.cut_at, self.effects = 0, []

    def _restore(self, folder: str) -> None:
        os.mkdir(folder)
        for name, number in self._names.get(folder, {}).items():
            path = os.path.join(folder, name)
            if number is None:
                self._restore(path)
            else:
                with open(path, "wb") as file:
                    file.write(self._data.get(number, b""))
