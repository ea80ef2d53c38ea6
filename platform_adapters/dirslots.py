# SPDX-License-Identifier: MIT
"""App slots in two folders of a file system: the `slots` port of Linux and of the MicroPython family.

A slot's folder holds the image's files at their paths, and
    .index      the image's index, verbatim
    .release    the note that `begin` left (JSON)
    .progress   appended to by each `sync`: how many bytes of the image are durable

Rules it keeps
  * Writing streams: nothing grows with the image.
  * `filled` is the last whole entry of `.progress`, cut back to the start of
    the first file that is shorter than that entry needs.  What was written
    behind it counts as not written, whatever is on the disk.
  * Only the spare slot is ever emptied, never while the running image is
    unconfirmed; an activation that waits for its reset is taken back first.
  * A link is never followed where a folder or a slot is expected, and paths
    come from a checked index only.

Which slot runs is told by the trampoline, through the module path.
"""

import json
import os
import sys

from agent.errors import DeviceError, MisuseError
from platform_adapters import bootrecord, files, imagewalk, slotfiles

RESERVE_BYTES = 64 * 1024  # of the file system, for journal and boot record
NOTE_BYTES = 16 * 1024
_ENOSPC = 28


class DirSlots:
    kind = "app"

    def __init__(self, folder, state, running=None):
        """`folder` holds the folders "a" and "b", `state` the boot record."""
        self._folder = folder
        self._state = state
        self._running = running or bootrecord.running(folder, sys.path) or bootrecord.load(state)["active"]
        self._walk = None
        self._file = None
        self._touched = []
        self._reader = None

    def running(self):
        return self._running

    def spare(self):
        return bootrecord.other(self._running)

    def state(self):
        record = bootrecord.load(self._state)
        return {"confirmed": record["active"] == self._running, "failure": record["failure"]}

    def capacity(self):
        try:
            files.make_folder(self._folder)
            room = os.statvfs(self._folder)
            used = slotfiles.used(self._path(self.spare()), room[1])
        except OSError as error:
            raise _failed(error)
        return max(0, room[1] * room[4] + used - RESERVE_BYTES)

    def release(self, slot):
        try:
            data = files.read(self._path(slot) + "/.release", NOTE_BYTES)
        except OSError as error:
            raise _failed(error)
        try:
            note = json.loads(data) if data else None
        except ValueError:
            return None  # torn: begin had not returned
        return note if isinstance(note, dict) else None

    def begin(self, release):
        self._must_be_confirmed()
        size = release.get("size")
        if size is not None and size > self.capacity():
            raise DeviceError("slot_full", "%d bytes into a slot that takes %d" % (size, self.capacity()))
        self._forget()
        record = bootrecord.load(self._state)
        path = self._path(self.spare())
        try:
            if record["trial"] is not None:
                bootrecord.save(self._state, bootrecord.rollback(record))
            self._empty(path)
            files.replace(path + "/.release", json.dumps(release).encode())
        except OSError as error:
            raise _failed(error)

    def filled(self):
        path = self._path(self.spare())
        try:
            durable = slotfiles.progress(path)[0]
            if durable < (files.size(path + "/.index") or 1):
                return 0
            return slotfiles.present(path, durable)
        except OSError as error:
            raise _failed(error)

    def write(self, offset, data):
        try:
            if self._walk is None:
                self._resume(offset)
            if offset != self._walk.offset:
                raise MisuseError("slot_offset", "%d, where %d is next" % (offset, self._walk.offset))
            if self._reader is not None and self._reader.slot == self.spare():
                self._reader.close()
                self._reader = None
            done = False
            try:
                if self._walk.inside(len(data)):
                    self._file.write(data)
                else:
                    for step in self._walk.feed(data):
                        self._carry_out(step)
                done = True
            finally:
                if not done:
                    self._forget()
        except OSError as error:
            raise _failed(error)

    def sync(self):
        if self._walk is None:
            return
        path = self._path(self.spare())
        try:
            if self._file is not None:
                files.sync(self._file)
            for folder in self._touched:
                files.sync_folder(folder)
            self._touched = []
            if self._walk.size is None:
                return
            _, at = slotfiles.progress(path)
            with open(path + "/.progress", "r+b" if files.size(path + "/.progress") else "wb") as file:
                file.seek(at)
                file.write(slotfiles.progress_entry(self._walk.offset))
                files.sync(file)
            if not at:
                files.sync_folder(path)
        except OSError as error:
            self._forget()
            raise _failed(error)

    def read(self, slot, offset, size):
        if slot == self.spare() and self._file is not None:
            self._file.flush()
        try:
            reader = self._reader
            if reader is None or reader.slot != slot or reader.offset > offset:
                if reader is not None:
                    reader.close()
                reader = self._reader = slotfiles.Reader(slot, self._path(slot))
            return reader.read(size) if reader.skip_to(offset) else b""
        except OSError as error:
            raise _failed(error)

    def activate(self):
        self._must_be_confirmed()
        path = self._path(self.spare())
        size = 0
        if files.size(path + "/.index"):
            with open(path + "/.index", "rb") as file:
                size = files.size(path + "/.index") + sum(entry[1] for entry in imagewalk.entries(file))
        if not size or self.filled() != size:
            raise MisuseError("slot_incomplete", "slot %s holds %d of %d bytes" % (self.spare(), self.filled(), size))
        self._save(bootrecord.activate(bootrecord.load(self._state), self.spare()))

    def confirm(self):
        record = bootrecord.load(self._state)
        if record["active"] == self._running:
            return
        if record["trial"] != self._running:
            raise MisuseError("rolled_back", "slot %s has been given up" % self._running)
        self._save(bootrecord.confirm(record))

    def rollback(self):
        record = bootrecord.load(self._state)
        if record["trial"] == self._running:
            self._save(bootrecord.rollback(record))

    def _save(self, record):
        try:
            bootrecord.save(self._state, record)
        except OSError as error:
            raise _failed(error)

    def _path(self, slot):
        if slot not in bootrecord.SLOTS:
            raise MisuseError("slot_name", repr(slot))
        return self._folder + "/" + slot

    def _must_be_confirmed(self):
        if not self.state()["confirmed"]:
            raise MisuseError("on_trial", "the running image is not confirmed")

    def _empty(self, path):
        files.make_folder(self._folder)
        kind = files.kind(path)
        if kind is None:
            os.mkdir(path)
        elif kind != files.FOLDER:
            raise DeviceError("slot_path", "%s is not a folder" % path)
        for name in (".progress", ".index", ".release"):  # these first: what is half removed must not count
            files.remove(path + "/" + name)
            files.sync_folder(path)
        files.empty(path)
        files.sync_folder(self._folder)

    def _forget(self):
        """What was written and not synced is given up."""
        if self._file is not None:
            self._file.close()
        if self._walk is not None:
            self._walk.close()
        if self._reader is not None:
            self._reader.close()
        self._file = self._walk = self._reader = None
        self._touched = []

    def _resume(self, offset):
        path = self._path(self.spare())
        self._must_be_confirmed()
        if self.release(self.spare()) is None:
            raise MisuseError("slot_not_begun", "begin comes before write")
        filled = self.filled()
        if offset != filled:
            raise MisuseError("slot_offset", "%d, where %d is next" % (offset, filled))
        walk = imagewalk.Walk(lambda: open(path + "/.index", "rb"))
        if filled:
            walk.resume(filled)
            if walk.path is not None:
                self._open(path, walk.path, walk.position)
        else:
            self._open(path, ".index", 0)
        self._walk = walk

    def _carry_out(self, step):
        what = step[0]
        path = self._path(self.spare())
        if what == imagewalk.DATA or what == imagewalk.INDEX:
            self._file.write(step[1])
        elif what == imagewalk.OPEN:
            self._open(path, step[1], 0)
        else:
            files.sync(self._file)
            self._file.close()
            self._file = None
            if what == imagewalk.WHOLE:
                self._must_fit(path)

    def _open(self, path, name, position):
        """Open for writing at `position`, with the folders that the name needs."""
        at = name.find("/")
        while at >= 0:
            folder = path + "/" + name[:at]
            if files.size(folder) is None:
                os.mkdir(folder)
            self._touch(folder)
            at = name.find("/", at + 1)
        self._touch(path)
        self._file = open(path + "/" + name, "r+b" if position else "wb")
        if position:
            self._file.seek(position)

    def _touch(self, folder):
        if folder not in self._touched:
            self._touched.append(folder)

    def _must_fit(self, path):
        block = os.statvfs(self._folder)[1]
        with open(path + "/.index", "rb") as file:
            needed = sum((entry[1] + block - 1) // block * block for entry in imagewalk.entries(file))
        if needed > self.capacity():
            # In whole blocks, so this may be much more than the image's length.
            raise DeviceError("slot_full", "its files take %d bytes, the slot has %d" % (needed, self.capacity()))


def _failed(error):
    if error.errno == _ENOSPC:
        return DeviceError("slot_full", "no space is left on the file system")
    return DeviceError("slot", "file system: %s" % error)
