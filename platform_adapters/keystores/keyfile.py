# SPDX-License-Identifier: MIT
"""A file a label, 0600, in a folder of 0700: how key stores keep what they keep on disk.

A file appears whole or not at all (written aside, synced, then linked: a second
`make` cannot replace the first one's key), and its end is durable, too.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from agent.errors import DeviceError, MisuseError
from platform_adapters.files import sync_folder

_LABEL = re.compile(r"[a-z0-9_-]{1,32}\Z")


def path(folder: Path, label: str, suffix: str) -> Path:
    """It need not exist.  MisuseError("key_label")."""
    if not _LABEL.match(label):
        raise MisuseError("key_label", repr(label))
    return folder / (label + suffix)


def put(file: Path, data: bytes) -> None:
    """Make the file unless it is there.  DeviceError("key_store")."""
    folder, aside = file.parent, file.with_suffix(".new")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside.unlink(missing_ok=True)
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        try:
            os.link(aside, file)
        except FileExistsError:
            pass
        aside.unlink()
        sync_folder(str(folder))
    except OSError as error:
        raise DeviceError("key_store", "cannot write %s: %s" % (folder, error.strerror)) from None


def remove(file: Path) -> None:
    """DeviceError("key_store")."""
    try:
        file.unlink(missing_ok=True)
        if file.parent.exists():
            sync_folder(str(file.parent))
    except OSError as error:
        raise DeviceError("key_store", "cannot remove %s: %s" % (file, error.strerror)) from None
