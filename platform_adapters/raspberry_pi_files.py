# SPDX-License-Identifier: MIT
"""Files, folders and block devices as the Raspberry Pi's slots need them: what is durable, and when.

All of it goes through file descriptors of `os`, so that a test can cut the
power at each call and lose what was not synced.  Raises OSError.
"""

from __future__ import annotations

import os
import stat

PIECE_BYTES = 256 * 1024


def read(path: str, limit: int) -> bytes | None:
    """The file as the medium has it, at most `limit` + 1 bytes; None when there is none."""
    try:
        handle = open_to_read(path)
    except FileNotFoundError:
        return None
    try:
        return os.pread(handle, limit + 1, 0)
    finally:
        os.close(handle)


def open_to_read(path: str) -> int:
    """A descriptor whose next reads come from the medium, as far as it is not dirty."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    return handle


def size(path: str) -> int | None:
    """Bytes of a file or block device, or None."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return os.lseek(handle, 0, os.SEEK_END)
    finally:
        os.close(handle)


def write(handle: int, position: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(handle, view, position)
        position += done
        view = view[done:]


def put(path: str, data: bytes) -> None:
    """A file with these contents, durable; not in one step: it may be torn until this returns."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        write(handle, 0, data)
        os.fsync(handle)
    finally:
        os.close(handle)
    sync_folder(os.path.dirname(path))


def replace(path: str, data: bytes) -> None:
    """All or nothing; not for FAT."""
    put(path + "~", data)
    os.rename(path + "~", path)
    sync_folder(os.path.dirname(path))


def overwrite(path: str, data: bytes) -> None:
    """Other bytes of the same number in the same place, durable: the file itself is neither cut nor moved."""
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        write(handle, 0, data)
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def empty(folder: str) -> None:
    """Remove all that is in the folder; a link itself, never what it points to."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            empty(entry.path)
            os.rmdir(entry.path)
        else:
            os.unlink(entry.path)


def names(folder: str) -> list[str]:
    """Paths of all that is no folder, relative to it."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found += [entry.name + "/" + name for name in names(entry.path)]
            else:
                found.append(entry.name)
    return found


def make_folder(path: str) -> None:
    """With its parents, durably."""
    if not os.path.isdir(path):
        parent = os.path.dirname(path)
        make_folder(parent)
        os.mkdir(path)
        sync_folder(parent)


def sync_folder(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
