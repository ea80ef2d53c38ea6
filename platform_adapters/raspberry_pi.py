# SPDX-License-Identifier: MIT
"""Raspberry Pi: Linux whose whole system is one of two slots, chosen by the firmware.

    RaspberryPi("/data/agent.toml")     like Linux(), with a table [raspberry_pi] where its partitions are not the usual ones

    [raspberry_pi]                                what is not there is as here
    autoboot = "/boot/autoboot/autoboot.txt"      on the first partition
    boot = [2, 3]                                 the boot partitions of slots "a" and "b": their numbers ...
    mounts = ["/boot/a", "/boot/b"]               ... and where they are mounted
    root = [5, 6]                                 the root partitions: numbers on the disk that the kernel's root is on, or
                                                  names, as the kernel's root= has them

`slots` is where the slots' records lie, `state` the rest: both on the data partition, which no update touches.
Store, keys, network and clock are those of Linux.  The app is a service of the image; its `trueboot-agent run` is systemd.

Rules it keeps
  * A boot loader that says it knows no tryboot is refused at the start, at the bench: no trial would ever come.
  * The reset passes on the argument that `activate` left, whatever the systemctl at hand does with the file.
  * A root that is mounted writable changes as it runs: it is not measured again (`at_install`).
  * Why the device started is told only where it is known: here a reset and the watchdog are one to the hardware.

Source: Raspberry Pi documentation, "Firmware parameters" (partition, pm_rsts, capabilities); systemctl(1).
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from agent.errors import DeviceError, MisuseError
from platform_adapters import linux_config
from platform_adapters.linux import Linux
from platform_adapters.raspberry_pi_image import Partitions
from platform_adapters.raspberry_pi_slots import RaspberryPiSlots

TABLE = "raspberry_pi"  # of the configuration
USUAL: dict[str, Any] = {
    "autoboot": "/boot/autoboot/autoboot.txt",
    "boot": [2, 3],
    "mounts": ["/boot/a", "/boot/b"],
    "root": [5, 6],
}
RESET_S = 120  # until a system that was told to reset must be down

_POWERED = 0x1000  # of PM_RSTS: the power came on (HADPOR)
_TRYBOOT_A_B = 1 << 2  # of the boot loader's capabilities
# The kernel's root on a partition that has a number: an MBR's PARTUUID, or a device.
_NUMBERED = re.compile(
    r"(PARTUUID=[0-9a-fA-F]{8}-)([0-9a-fA-F]{2})\Z|(/dev/(?:mmcblk\d+p|nvme\d+n\d+p|sd[a-z]))(\d+)\Z"
)


class RaspberryPi(Linux):
    def __init__(
        self,
        config: str | os.PathLike[str] | dict[str, Any] | None = None,
        proc: str = "/proc",
        run: str = "/run",
        mounted: bool = True,
    ):
        """`proc`, `run`, `mounted`: a test's own, see `RaspberryPiSlots`."""
        given = dict(config) if isinstance(config, dict) else linux_config.read(config)
        table = checked(given.pop(TABLE, {}))
        if given.get("slots_kind", "") not in ("", RaspberryPiSlots.kind):
            raise MisuseError(
                "config", "slots_kind %s: the slots here are systems; Linux has apps" % given["slots_kind"]
            )
        if given.get("esthesis_packages", "signed") != "signed":
            raise MisuseError("config", 'key esthesis_packages must be "signed": a script cannot make a system')
        super().__init__(given)
        del self.packages
        firmware, cmdline = proc + "/device-tree/chosen/bootloader", proc + "/cmdline"
        _check_boot_loader(firmware)
        self.slots = RaspberryPiSlots(  # type: ignore[assignment]
            self.config["slots"], layout(table, cmdline), table["autoboot"], firmware, cmdline, run, mounted
        )
        self.slots.at_install = _is_writable(proc + "/self/mounts")  # type: ignore[attr-defined]
        self.power = Power(self.power, firmware, run)  # type: ignore[assignment]


def layout(table: dict[str, Any], cmdline: str) -> dict[str, Partitions]:
    """Slot -> its partitions."""
    kernel = _word(cmdline, "root=")
    found = {}
    for slot, number, mount, root in zip("ab", table["boot"], table["mounts"], table["root"], strict=True):
        argument = _beside(kernel, root) if isinstance(root, int) else root
        device = argument
        if argument.startswith("PARTUUID="):
            device = "/dev/disk/by-partuuid/" + argument[9:]
        found[slot] = Partitions(number, mount, device, argument)
    return found


class Power:
    def __init__(self, linux: Any, firmware: str, run: str):
        """`linux`: the port of Linux, which feeds the service's watchdog."""
        self.feed = linux.feed
        self._status_file = firmware + "/pm_rsts"
        self._argument_file = run + "/systemd/reboot-param"

    def reboot(self, reason: str) -> None:
        command = ["systemctl", "reboot"]
        try:
            argument = Path(self._argument_file).read_text().strip()
        except OSError:
            argument = ""  # nothing is activated
        if argument:
            command.append("--reboot-argument=" + argument)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=RESET_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DeviceError("reset_failed", "systemctl: %s" % error) from None
        if done.returncode:
            raise DeviceError("reset_failed", "systemctl: %s" % done.stderr.strip()[:200])
        time.sleep(RESET_S)  # systemd ends this process
        raise DeviceError("reset_failed", "the system does not go down")

    def cause(self) -> str:
        """The chip resets itself by its watchdog, when it is told to and when it hangs: that is "unknown"."""
        status = _number(self._status_file)
        return "power" if status is not None and status & _POWERED else "unknown"


def checked(given: Any) -> dict[str, Any]:
    table = dict(USUAL)
    if not isinstance(given, dict):
        raise MisuseError("config", "key %s must be a table" % TABLE)
    for name, value in given.items():
        if name not in USUAL:
            raise MisuseError("config", "unknown key %s.%s; known: %s" % (TABLE, name, ", ".join(sorted(USUAL))))
        kinds = {"boot": (int,), "root": (int, str)}.get(name, (str,))
        if name == "autoboot":
            good = isinstance(value, str)
        else:
            good = isinstance(value, list) and len(value) == 2 and all(type(one) in kinds for one in value)
            good = good and value[0] != value[1]
        if not good:
            told = "a path" if name == "autoboot" else "two different ones, for slots a and b"
            raise MisuseError("config", "key %s.%s must be %s" % (TABLE, name, told))
        table[name] = value
    return table


def _word(cmdline: str, name: str) -> str:
    try:
        words = Path(cmdline).read_text().split()
    except OSError as error:
        raise DeviceError("boot_config", "cannot read %s: %s" % (cmdline, error.strerror)) from None
    return next((word[len(name) :] for word in words if word.startswith(name)), "")


def _beside(kernel: str, number: int) -> str:
    """The partition `number` of the disk that the kernel's root `kernel` lies on, in the kernel's words."""
    match = _NUMBERED.match(kernel)
    if not match:
        told = "root=%s names no numbered partition: name both in %s.root" % (kernel[:80], TABLE)
        raise DeviceError("boot_config", told)
    disk, _, device, _ = match.groups()
    return "%s%02x" % (disk, number) if disk else "%s%d" % (device, number)


def _check_boot_loader(firmware: str) -> None:
    """DeviceError for a boot loader that says it knows no tryboot; one that does not say may."""
    capabilities = _number(firmware + "/capabilities")
    if capabilities is not None and not capabilities & _TRYBOOT_A_B:
        raise DeviceError("boot_config", "this boot loader knows no tryboot_a_b: update it with rpi-eeprom-update")


def _number(path: str) -> int | None:
    try:
        return int.from_bytes(Path(path).read_bytes()[:4], "big")
    except OSError:
        return None


def _is_writable(mounts: str) -> bool:
    """Whether the root file system is; as long as nobody says otherwise."""
    try:
        lines = [line.split() for line in Path(mounts).read_text().splitlines()]
    except OSError:
        return True
    options = [words[3].split(",") for words in lines if len(words) > 3 and words[1] == "/"]
    return not options or "ro" not in options[-1]
