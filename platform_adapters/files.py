# SPDX-License-Identifier: MIT
"""What a file system needs to be driven the same way by CPython and by MicroPython.

MicroPython has no fsync (a file's flush is one), no lstat (but `ilistdir`
tells kinds), no makedirs.  Raises `OSError`; the callers give it a meaning.
"""

import os

FILE = "file"
FOLDER = "folder"
OTHER = "other"  # symbolic links too: nothing here follows one

_ENOENT = 2
_EEXIST = 17


def sync(file):
    """All that was written to `file` is on the medium."""
    file.flush()
    sync = getattr(os, "fsync", None)
    if sync is not None:
        sync(file.fileno())


def sync_folder(path):
    """The names in `path` are on the medium (MicroPython's file systems see to it themselves)."""
    sync = getattr(os, "fsync", None)
    if sync is not None:
        handle = os.open(path, os.O_RDONLY)
        try:
            sync(handle)
        finally:
            os.close(handle)


def entries(path):
    """Yields (name, kind)."""
    if hasattr(os, "ilistdir"):
        for entry in os.ilistdir(path):
            yield entry[0], FOLDER if entry[1] == 0x4000 else FILE if entry[1] == 0x8000 else OTHER
    else:
        with os.scandir(path) as found:
            for entry in found:
                if entry.is_symlink():
                    yield entry.name, OTHER
                elif entry.is_dir():
                    yield entry.name, FOLDER
                else:
                    yield entry.name, FILE if entry.is_file() else OTHER


def kind(path):
    """FILE, FOLDER, OTHER, or None for what is not there."""
    folder, _, name = path.rpartition("/")
    try:
        for found, what in entries(folder or ("/" if path.startswith("/") else ".")):
            if found == name:
                return what
    except OSError as error:
        if error.errno != _ENOENT:
            raise
    return None


def size(path):
    """Bytes of the file, or None."""
    try:
        return os.stat(path)[6]
    except OSError as error:
        if error.errno != _ENOENT:
            raise
        return None


def make_folder(path):
    """Like `mkdir -p`; relative or absolute."""
    done = ""
    for part in path.split("/"):
        done += part
        if done and part not in ("", "."):
            try:
                os.mkdir(done)
            except OSError as error:
                if error.errno != _EEXIST and size(done) is None:
                    raise
        done += "/"


def remove(path):
    """Remove a file or link; nothing there is fine."""
    try:
        os.remove(path)
    except OSError as error:
        if error.errno != _ENOENT:
            raise


def empty(path):
    """Remove all that is in the folder, and never what a link in it points to."""
    for name, what in list(entries(path)):
        inner = path + "/" + name
        if what == FOLDER:
            empty(inner)
            os.rmdir(inner)
        else:
            os.remove(inner)


def read(path, limit):
    """The file's bytes, or None when there is none; at most `limit` + 1 of them."""
    try:
        # MicroPython allocates all that is asked for.
        there = os.stat(path)[6]
        with open(path, "rb") as file:
            return file.read(min(there, limit + 1))
    except OSError as error:
        if error.errno != _ENOENT:
            raise
        return None


def replace(path, data):
    """All or nothing: written aside, synced, then renamed over the old file."""
    aside = path + "~"
    if hasattr(os, "O_NOFOLLOW"):
        remove(aside)
        file = open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    else:
        file = open(aside, "wb")
    with file:
        file.write(data)
        sync(file)
    os.rename(aside, path)
    sync_folder(path.rpartition("/")[0] or ".")
