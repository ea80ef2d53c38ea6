# SPDX-License-Identifier: MIT
"""System slots of a Raspberry Pi: two boot partitions, two root partitions, and the firmware's tryboot.  CPython only.

What an image is, and where its parts lie, is in `raspberry_pi_image`.

Rules it keeps
  * The running slot's partitions are never written, nor is a root partition that is mounted.
  * `activate` changes no medium: it leaves the argument for the next orderly reset, in RAM.  A cut forgets it, and the
    old slot boots.  The firmware forgets the flag when it reads it, so a trial is one boot.
  * `confirm` is one sector, read back: see `raspberry_pi_boot`.
  * Which slot runs is told by the firmware and by the kernel's command line; when they differ, neither is believed.
  * What is read comes from the medium, not from the page cache, as soon as it was synced.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agent.errors import DeviceError, MisuseError
from platform_adapters import imagewalk, slotfiles
from platform_adapters import raspberry_pi_boot as boot
from platform_adapters import raspberry_pi_files as files
from platform_adapters import raspberry_pi_image as image

NOTE_BYTES = 16 * 1024
OTHERS = {"a": "b", "b": "a"}
_ENOSPC = 28


class RaspberryPiSlots:
    kind = "system"

    def __init__(
        self,
        folder: str,
        slots: dict[str, image.Partitions],
        autoboot: str,
        firmware: str = "/proc/device-tree/chosen/bootloader",
        cmdline: str = "/proc/cmdline",
        run: str = "/run",
        mounted: bool = True,
    ):
        """`folder` lies on the data partition, `autoboot` is the file autoboot.txt, `run` is in RAM.
        `mounted`: a boot folder that is no mount point is refused, since what is written there boots nowhere."""
        self._mounted = mounted
        self._folder, self._slots, self._autoboot_file = folder, slots, autoboot
        self._argument_file = run + "/systemd/reboot-param"
        self._given_up_file = run + "/trueboot-given-up"
        self._walk: imagewalk.Walk | None = None
        self._handle: int | None = None
        self._touched: list[str] = []
        self._reader: image.Reader | None = None
        self._running = self._find_running(firmware, cmdline)

    def running(self) -> str:
        return self._running

    def spare(self) -> str:
        return OTHERS[self._running]

    def state(self) -> dict[str, Any]:
        return {"confirmed": self._autoboot().default == self._slots[self._running].number, "failure": ""}

    def capacity(self) -> int:
        spare = self._slots[self.spare()]
        with _device():
            return image.boot_room(spare) + (files.size(spare.root) or 0)

    def release(self, slot: str) -> dict[str, Any] | None:
        with _device():
            data = files.read(self._path(slot) + "/.release", NOTE_BYTES)
        try:
            note = json.loads(data) if data else None
        except ValueError:
            return None
        return note if isinstance(note, dict) else None

    def begin(self, release: dict[str, Any]) -> None:
        self._must_be_confirmed()
        size = release.get("size")
        if size is not None and size > self.capacity():
            raise DeviceError("slot_full", "%d bytes into a slot that takes %d" % (size, self.capacity()))
        self._forget()
        path, spare = self._path(self.spare()), self._slots[self.spare()]
        with _device():
            if self._mounted and not os.path.ismount(spare.boot):
                raise DeviceError("slot_path", "the boot partition of slot %s is not mounted" % self.spare())
            files.remove(self._argument_file)
            files.make_folder(path)
            for name in (
                ".progress",
                ".index",
                ".release",
                "cmdline.txt",
            ):  # these first: what is half removed must not count
                files.remove(path + "/" + name)
                files.sync_folder(path)
            files.empty(spare.boot)
            files.sync_folder(spare.boot)
            files.replace(path + "/.release", json.dumps(release).encode())

    def filled(self) -> int:
        with _device():
            path = self._path(self.spare())
            durable, index = slotfiles.progress(path)[0], files.size(path + "/.index") or 0
            return image.present(path, self._slots[self.spare()], index, durable) if index and durable >= index else 0

    def write(self, offset: int, data: bytes) -> None:
        with _device():
            walk = self._walk or self._resume(offset)
            if offset != walk.offset:
                raise MisuseError("slot_offset", "%d, where %d is next" % (offset, walk.offset))
            if self._reader is not None and self._reader.slot == self.spare():
                self._reader.close()
                self._reader = None
            try:
                for step in walk.feed(data):
                    self._carry_out(walk, step)
            except BaseException:
                self._forget()
                raise

    def sync(self) -> None:
        if self._walk is None:
            return
        path = self._path(self.spare())
        try:
            with _device():
                if self._handle is not None:
                    os.fsync(self._handle)
                for folder in self._touched:
                    files.sync_folder(folder)
                self._touched = []
                if self._walk.size is not None:
                    self._note_progress(path, self._walk.offset)
        except DeviceError:
            self._forget()
            raise

    def read(self, slot: str, offset: int, size: int) -> bytes:
        with _device():
            reader = self._reader
            if reader is None or reader.slot != slot or reader.offset > offset:
                if reader is not None:
                    reader.close()
                reader = self._reader = image.Reader(slot, self._path(slot), self._slots[slot], self._limit(slot))
            return reader.read(size) if reader.skip_to(offset) else b""

    def _limit(self, slot: str) -> int | None:
        """Where the image that is being written ends for now: a root partition has no end of its own."""
        if slot != self.spare():
            return None
        return self.filled() if self._walk is None else self._walk.offset

    def activate(self) -> None:
        self._must_be_confirmed()
        path = self._path(self.spare())
        with _device():
            size = files.size(path + "/.index") or 0
            if size:
                size += sum(length for _, length in image.entries(path))
            if not size or self.filled() != size:
                raise MisuseError(
                    "slot_incomplete", "slot %s holds %d of %d bytes" % (self.spare(), self.filled(), size)
                )
            self._set_partitions(self._running, self.spare())
            os.makedirs(os.path.dirname(self._argument_file), exist_ok=True)
            files.put(self._argument_file, boot.TRYBOOT.encode() + b"\n")

    def confirm(self) -> None:
        if self.state()["confirmed"]:
            return
        if os.path.exists(self._given_up_file):
            raise MisuseError("rolled_back", "slot %s has been given up" % self._running)
        self._set_partitions(self._running, self.spare())

    def rollback(self) -> None:
        if not self.state()["confirmed"]:
            with _device():
                files.put(self._given_up_file, b"")  # the next reset boots the default; no confirm until then

    def _find_running(self, firmware: str, cmdline: str) -> str:
        with _device():
            number = int.from_bytes(files.read(firmware + "/partition", 4) or b"", "big")
            words = (files.read(cmdline, boot.CMDLINE_BYTES) or b"").split()
        for slot, partitions in self._slots.items():
            if partitions.number == number:
                if b"root=" + partitions.root_argument.encode() in words:
                    return slot
                raise DeviceError("boot_config", "the firmware booted slot %s, the kernel has another root" % slot)
        raise DeviceError("boot_config", "the firmware booted partition %d, which is no slot's" % number)

    def _autoboot(self) -> boot.Autoboot:
        with _device():
            data = files.read(self._autoboot_file, boot.SECTOR_BYTES)
        return boot.Autoboot(data or b"")

    def _set_partitions(self, default: str, trial: str) -> None:
        before = self._autoboot()
        numbers = self._slots[default].number, self._slots[trial].number
        if (before.default, before.trial) == numbers:
            return
        data = before.with_partitions(*numbers)
        with _device():
            files.overwrite(self._autoboot_file, data)
            if files.read(self._autoboot_file, boot.SECTOR_BYTES) != data:
                raise DeviceError("boot_config", "autoboot.txt does not read back as written")

    def _must_be_confirmed(self) -> None:
        if not self.state()["confirmed"]:
            raise MisuseError("on_trial", "the running image is not confirmed")

    def _path(self, slot: str) -> str:
        if slot not in self._slots:
            raise MisuseError("slot_name", repr(slot))
        return self._folder + "/" + slot

    def _forget(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
        if self._walk is not None:
            self._walk.close()
        if self._reader is not None:
            self._reader.close()
        self._handle = self._walk = self._reader = None
        self._touched = []

    def _resume(self, offset: int) -> imagewalk.Walk:
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
                self._open(walk.path, walk.position)
        else:
            self._open(".index", 0)
        self._walk = walk
        return walk

    def _carry_out(self, walk: imagewalk.Walk, step: Any) -> None:
        what = step[0]
        if what in (imagewalk.DATA, imagewalk.INDEX):
            assert self._handle is not None
            end = walk.position if what == imagewalk.DATA else walk.offset
            files.write(self._handle, end - len(step[1]), step[1])
        elif what == imagewalk.OPEN:
            self._open(step[1], 0)
        else:
            assert self._handle is not None
            os.fsync(self._handle)
            os.close(self._handle)
            self._handle = None
            if what == imagewalk.WHOLE:
                image.check(self._path(self.spare()), self._slots[self.spare()])
            elif step[1] == image.CMDLINE:
                self._make_cmdline()

    def _open(self, name: str, position: int) -> None:
        path, flags = image.place(name, self._path(self.spare()), self._slots[self.spare()]), os.O_WRONLY | os.O_CLOEXEC
        if name == image.ROOT:  # O_EXCL: a block device that is mounted is refused
            self._handle = os.open(path, flags | os.O_EXCL)
            return
        folder = os.path.dirname(path)
        while True:
            self._touch(folder)
            if os.path.isdir(folder):
                break
            folder = os.path.dirname(folder)
        for folder in reversed(self._touched):
            if not os.path.isdir(folder):
                os.mkdir(folder)
        self._handle = os.open(path, flags | os.O_NOFOLLOW | (0 if position else os.O_CREAT | os.O_TRUNC), 0o644)

    def _touch(self, folder: str) -> None:
        if folder not in self._touched:
            self._touched.append(folder)

    def _make_cmdline(self) -> None:
        path, spare = self._path(self.spare()), self._slots[self.spare()]
        own = files.read(path + "/cmdline.txt", boot.CMDLINE_BYTES) or b""
        files.put(spare.boot + "/cmdline.txt", boot.cmdline_for(own, spare.root_argument))

    def _note_progress(self, path: str, offset: int) -> None:
        _, at = slotfiles.progress(path)
        handle = os.open(path + "/.progress", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            files.write(handle, at, slotfiles.progress_entry(offset))
            os.fsync(handle)
        finally:
            os.close(handle)
        if not at:
            files.sync_folder(path)


@contextmanager
def _device() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == _ENOSPC:
            raise DeviceError("slot_full", "no space is left on the device") from None
        raise DeviceError("slot", "file system: %s" % error) from None
