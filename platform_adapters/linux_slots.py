# SPDX-License-Identifier: MIT
"""`dirslots` that reads an image back beside its download.

A second core hashes what the file system gives back while the first still
writes, so that the read-back, which every image gets before it may be
activated, costs next to no time.  In the same way a large file is on its way
to the medium while the rest of it still comes, so that a sync finds little left
to do.  Rules it keeps
  * What is hashed was read from the slot's files, from the first byte to the
    last, and never before it was handed to the file system.
  * A slot that is emptied or gives an error takes its reading with it.
  * Nothing counts as durable but by a sync of `dirslots`, after the one that ran
    beside it; an error that the latter met is raised (before Linux 4.13 nobody
    else would have heard of it).
"""

from __future__ import annotations

import hashlib
import os
import threading

from agent.errors import AgentError, DeviceError
from platform_adapters import imagewalk, slotfiles
from platform_adapters.dirslots import DirSlots

PIECE_BYTES = 1024 * 1024
SETTLE_BYTES = 4 * 1024 * 1024  # of a file, after which they are sent to the medium


class LinuxSlots(DirSlots):
    _reading: _Reading | None = None
    _settling: _Settling | None = None
    _settled = 0  # bytes of the open file that were sent to the medium

    def write(self, offset, data):
        super().write(offset, data)
        if self._walk is not None and self._walk.size is not None:
            if self._file is not None:
                self._file.flush()
            if self._reading is None:
                self._reading = _Reading(self.spare(), self._path(self.spare()))
            self._reading.allow(self._walk.offset)
            if self._walk.position - self._settled >= SETTLE_BYTES and (
                self._settling is None or self._settling.ended()
            ):
                self._settle()
                self._settled = self._walk.position
                self._settling = _Settling(self._file.name)

    def sync(self):
        try:
            self._settle()
        except OSError as error:
            self._forget()
            raise DeviceError("slot", "file system: %s" % error) from None
        super().sync()

    def folder(self, slot: str) -> str:
        """Where the slot's files lie."""
        return self._path(slot)

    def digest(self, slot: str) -> tuple[int, bytes] | None:
        """(bytes, SHA-256) of the whole image in `slot`, read back; None: not yet, ask again."""
        if self._reading is None or self._reading.slot != slot:
            self._give_up()
            self._reading = _Reading(slot, self._path(slot))
        self._reading.allow(None)
        if not self._reading.ended():
            return None
        result = self._reading.result()
        self._reading = None
        return result

    def _forget(self):
        super()._forget()
        self._give_up()
        if self._settling is not None:
            self._settling.wait()
        self._settling = None

    def _open(self, path, name, position):
        super()._open(path, name, position)
        self._settled = position

    def _carry_out(self, step):
        if step[0] == imagewalk.DONE:
            self._settle()
        super()._carry_out(step)

    def _settle(self) -> None:
        """Wait for what runs beside us; OSError when it failed."""
        settling, self._settling = self._settling, None
        if settling is not None:
            settling.wait()
            if settling.error is not None:
                raise settling.error

    def _give_up(self) -> None:
        if self._reading is not None:
            self._reading.give_up()
        self._reading = None


class _Settling:
    """What a file holds so far goes to the medium."""

    def __init__(self, path: str):
        self.error: OSError | None = None
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def ended(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        try:
            os.fdatasync(self._handle)
        except OSError as error:
            self.error = error
        finally:
            os.close(self._handle)


class _Reading:
    """One reading of a slot's image, from its start, as far as is allowed."""

    def __init__(self, slot: str, path: str):
        self.slot = slot
        self._path = path
        self._allowed: int | None = 0  # bytes; None: to the end
        self._given_up = False
        self._changed = threading.Condition()
        self._outcome: tuple[int, bytes] | AgentError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def allow(self, offset: int | None) -> None:
        with self._changed:
            self._allowed = offset
            self._changed.notify()

    def give_up(self) -> None:
        with self._changed:
            self._given_up = True
            self._changed.notify()
        self._thread.join()

    def ended(self) -> bool:
        return self._outcome is not None

    def result(self) -> tuple[int, bytes]:
        if isinstance(self._outcome, AgentError):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome

    def _run(self) -> None:
        try:
            self._outcome = self._read()
        except AgentError as error:
            self._outcome = error
        except (OSError, ValueError) as error:
            self._outcome = DeviceError("slot", "file system: %s" % error)

    def _read(self) -> tuple[int, bytes]:
        hasher, done = hashlib.sha256(), 0
        reader = None
        try:
            while size := self._wait(done):
                if reader is None:
                    reader = slotfiles.Reader(self.slot, self._path)
                data = reader.read(size)
                if not data:
                    break
                hasher.update(data)
                done += len(data)
        finally:
            if reader is not None:
                reader.close()
        return done, hasher.digest()

    def _wait(self, done: int) -> int:
        """Bytes that may be read now; 0 when the reading is given up."""
        with self._changed:
            while not self._given_up:
                if self._allowed is None:
                    return PIECE_BYTES
                if self._allowed > done:
                    return min(PIECE_BYTES, self._allowed - done)
                self._changed.wait()
        return 0
