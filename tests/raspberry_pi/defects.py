# SPDX-License-Identifier: MIT
"""Planted defects of the Raspberry Pi's slots.  The cuts must bring every one to light."""

from __future__ import annotations

import os

from platform_adapters import raspberry_pi_boot, raspberry_pi_files
from platform_adapters.raspberry_pi_slots import RaspberryPiSlots


def plant(name, monkeypatch):
    target, attribute, value = DEFECTS[name]
    monkeypatch.setattr(target, attribute, value)


def _removed_first(path, data):
    raspberry_pi_files.remove(path)
    raspberry_pi_files.put(path, data)


def _not_synced(path, data):
    handle = raspberry_pi_files.os.open(path, os.O_WRONLY)
    raspberry_pi_files.write(handle, 0, data)
    raspberry_pi_files.os.close(handle)


_set_partitions = RaspberryPiSlots._set_partitions
_begin = RaspberryPiSlots.begin
_sync = RaspberryPiSlots.sync
_write = RaspberryPiSlots.write


def _default_before_its_trial(self, default, trial):
    _set_partitions(self, trial, default) if self.state()["confirmed"] else None


def _without_folders(self):
    self._touched = []
    _sync(self)


def _without_data(self):
    handle, self._handle = self._handle, None
    _sync(self)
    self._handle = handle


def _ahead(self, offset, data):
    _write(self, offset, data)
    if self._walk.size is not None:
        self._note_progress(self._path(self.spare()), self._walk.offset)


def _progress_kept(self, release):
    path = self._path(self.spare())
    kept = raspberry_pi_files.read(path + "/.progress", 999)
    _begin(self, release)
    if kept:
        raspberry_pi_files.put(path + "/.progress", kept)


def _running_is_the_default(self, firmware, cmdline):
    return "a" if self._autoboot().default == 2 else "b"


DEFECTS = {
    "autoboot.txt removed first": (raspberry_pi_files, "overwrite", _removed_first),
    "autoboot.txt truncated first": (raspberry_pi_files, "overwrite", raspberry_pi_files.put),
    "confirm is not synced": (raspberry_pi_files, "overwrite", _not_synced),
    "the default before its trial": (RaspberryPiSlots, "_set_partitions", _default_before_its_trial),
    "folders are not synced": (RaspberryPiSlots, "sync", _without_folders),
    "data are not synced": (RaspberryPiSlots, "sync", _without_data),
    "progress ahead of the data": (RaspberryPiSlots, "write", _ahead),
    "begin keeps the progress": (RaspberryPiSlots, "begin", _progress_kept),
    "the image's own root": (raspberry_pi_boot, "cmdline_for", lambda cmdline, root: cmdline),
    "the default is taken for what runs": (RaspberryPiSlots, "_find_running", _running_is_the_default),
}
