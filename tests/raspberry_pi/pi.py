# SPDX-License-Identifier: MIT
"""A Raspberry Pi to a slot adapter: partitions as folders and files, and the firmware as a script, stricter than life.

* The tryboot flag is set by an orderly reset with the argument "0 tryboot" alone, and gone when it was read.
* autoboot.txt: the first 512 bytes, sections [all] and [tryboot], the later value counts.  Without the file, or with
  a default that does not boot, the device is dead (hardware may still find something to boot).
* A partition boots only if the boot files and the root are, byte for byte, those of one known image, and the
  kernel's root is this slot's.  A trial that does not boot is reset by the watchdog, without the flag.
"""

from __future__ import annotations

import os
import shutil

from medium import Medium

from agent.wire import appimage
from platform_adapters import raspberry_pi_boot, raspberry_pi_files, raspberry_pi_image, raspberry_pi_slots
from platform_adapters.raspberry_pi_image import Partitions
from platform_adapters.raspberry_pi_slots import RaspberryPiSlots

ROOT_BYTES = 8192


def system(version: bytes) -> dict[str, bytes]:
    return {
        "boot/cmdline.txt": b"console=serial0 root=PARTUUID=made-02 rootwait panic=10\n",
        "boot/config.txt": b"arm_64bit=1\n# version " + version + b"\n",
        "boot/empty": b"",
        "boot/kernel8.img": b"kernel " + version * 150,
        "boot/overlays/watchdog.dtbo": b"overlay " + version,
        "root.img": b"root " + version * 900,
    }


OLD, NEW, OTHER = system(b"1"), system(b"2"), system(b"3")
IMAGE = appimage.build(NEW)
IMAGES = {"old": appimage.build(OLD), "new": IMAGE, "other": appimage.build(OTHER)}


class Dead(Exception):
    """Nothing boots."""


class Pi:
    def __init__(self, root: str):
        self.root, self.run = root, root + "/run"
        self.partitions = {
            slot: Partitions(
                number, "%s/p%d" % (root, number), "%s/p%d" % (root, number + 3), "PARTUUID=real-%02d" % (number + 3)
            )
            for slot, number in (("a", 2), ("b", 3))
        }
        for name in ("", "/run", "/p1", "/p2", "/p3", "/data"):
            os.mkdir(root + name)
        self.put("p1/autoboot.txt", raspberry_pi_boot.compose(2, 3))
        for slot in self.partitions.values():
            with open(slot.root, "wb") as file:
                file.write(b"\xee" * ROOT_BYTES)
        self.factory("a", OLD)
        self.flag = False
        self.trials: list[bool] = []  # for each trial: whether it booted
        self.slots: RaspberryPiSlots | None = None
        self.medium = Medium(root, self.run)

    def put(self, name: str, data: bytes) -> None:
        path = self.root + "/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)

    def factory(self, slot: str, files: dict[str, bytes]) -> None:
        """What a provisioning tool puts onto the card."""
        image, partitions = appimage.build(files), self.partitions[slot]
        for name, data in files.items():
            if name.startswith("boot/"):
                self.put("p%d/%s" % (partitions.number, name[5:]), data)
        with open(partitions.root, "r+b") as file:
            file.write(files["root.img"])
        cmdline = files["boot/cmdline.txt"]
        own = raspberry_pi_boot.cmdline_for(cmdline, partitions.root_argument)
        self.put("p%d/cmdline.txt" % partitions.number, own)
        self.put("data/%s/cmdline.txt" % slot, cmdline)
        self.put("data/%s/.index" % slot, image[: image.find(b"\n\n") + 2])
        self.put("data/%s/.release" % slot, b'{"version": "1.0.0", "kind": "system"}')

    def power_on(self) -> RaspberryPiSlots:
        """The firmware's part, and the adapter as a new boot makes it."""
        flag, self.flag = self.flag, False
        number = self.chosen(flag)
        booted = self.image_of(number)
        if flag:
            self.trials.append(booted is not None)
        if booted is None and flag:
            number = self.chosen(False)  # the watchdog
            booted = self.image_of(number)
        if booted is None:
            raise Dead("partition %d does not boot" % number)
        shutil.rmtree(self.run)
        os.mkdir(self.run)
        self.put("run/firmware/partition", number.to_bytes(4, "big"))
        shutil.copy(self.root + "/p%d/cmdline.txt" % number, self.run + "/cmdline")
        self.slots = RaspberryPiSlots(
            self.root + "/data",
            self.partitions,
            self.root + "/p1/autoboot.txt",
            self.run + "/firmware",
            self.run + "/cmdline",
            self.run,
            mounted=False,
        )
        return self.slots

    def reset(self) -> None:
        """An orderly one: all is synced, and the argument is passed on."""
        self.let_go()
        self.medium._adopt()
        try:
            with open(self.run + "/systemd/reboot-param") as file:
                self.flag = file.read().split() == ["0", "tryboot"]
        except FileNotFoundError:
            self.flag = False

    def let_go(self) -> None:
        if self.slots is not None:
            self.slots._forget()

    def chosen(self, flag: bool) -> int:
        try:
            with open(self.root + "/p1/autoboot.txt", "rb") as file:
                lines = file.read(512).decode("ascii", "replace").split("\n")
        except FileNotFoundError:
            raise Dead("no autoboot.txt") from None
        section, found = "all", {}
        for line in lines:
            if line.startswith("["):
                section = line.strip("[]")
            elif "=" in line and (section == "all" or (section == "tryboot" and flag)):
                name, _, value = line.partition("=")
                found[name] = value
        if found.get("tryboot_a_b") != "1" or found.get("boot_partition") not in ("2", "3"):
            raise Dead("autoboot.txt says %s" % found)
        return int(found["boot_partition"])

    def image_of(self, number: int) -> str | None:
        """Which image boots from the partition: "old", "new", "other" or None."""
        slot = next(slot for slot in self.partitions.values() if slot.number == number)
        there = {"boot/" + name for name in raspberry_pi_files.names(slot.boot)}
        for name, files in (("old", OLD), ("new", NEW), ("other", OTHER)):
            if there == set(files) - {"root.img"} and all(self.holds(slot, path, data) for path, data in files.items()):
                return name
        return None

    def holds(self, slot: Partitions, path: str, data: bytes) -> bool:
        if path == "boot/cmdline.txt":
            data = data.replace(b"PARTUUID=made-02", slot.root_argument.encode())
        with open(slot.root if path == "root.img" else slot.boot + path[4:], "rb") as file:
            return file.read(len(data) + (path != "root.img")) == data


MODULES = (raspberry_pi_files, raspberry_pi_image, raspberry_pi_slots)
