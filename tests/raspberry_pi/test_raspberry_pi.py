# SPDX-License-Identifier: MIT
"""The platform of a Raspberry Pi: the device contract of Linux, its own slots, its reset, and what it refuses at the start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "portable")]
from pi import IMAGE, OLD, ROOT_BYTES, Pi  # noqa: E402

import contract_device  # noqa: E402
from agent import config as schema  # noqa: E402
from agent.errors import DeviceError, MisuseError  # noqa: E402
from agent.wire import appimage  # noqa: E402
from contract_slots import contents, fill  # noqa: E402
from platform_adapters import linux_install, raspberry_pi  # noqa: E402
from platform_adapters.linux_service import main as service  # noqa: E402

NOTE = {"version": "2.0.0", "kind": "system", "size": len(IMAGE)}
SETTINGS = 'product_key = "pk"\ndevice_key = "dk"\nhardware = "pi"\nhttps = "https://a:1"\nmqtt = "mqtts://a:2"\n'


class Bench:
    """A card of `pi` as a device with its own configuration and a /proc of its own."""

    def __init__(self, folder: Path):
        self.pi = Pi(str(folder / "pi"))
        self.proc, self.data = folder / "proc", folder / "pi" / "data"
        table = "[raspberry_pi]\nautoboot = %s\nmounts = %s\nroot = %s\n" % tuple(
            json.dumps(value)
            for value in (
                self.pi.root + "/p1/autoboot.txt",
                [slot.boot for slot in self.pi.partitions.values()],
                [slot.root for slot in self.pi.partitions.values()],
            )
        )
        for slot, partitions in self.pi.partitions.items():
            self.pi.partitions[slot] = partitions._replace(root_argument=partitions.root)
        self.pi.factory("a", OLD)
        (self.data / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")
        (self.data / "root.json").write_text("{}")
        (self.data / "agent.toml").write_text(SETTINGS + 'slots = "."\n' + table)
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self" / "mounts").write_text("none / overlay rw 0 0\n/dev/root / squashfs ro,relatime 0 0\n")
        (self.proc / "device-tree" / "chosen" / "bootloader").mkdir(parents=True)
        self.says(pm_rsts=0x1000, capabilities=0x7F)

    def says(self, **numbers: int) -> None:
        for name, number in numbers.items():
            (self.proc / "device-tree/chosen/bootloader" / name).write_bytes(number.to_bytes(4, "big"))

    def boot(self) -> raspberry_pi.RaspberryPi:
        self.pi.power_on()
        self.says(partition=int.from_bytes(Path(self.pi.run, "firmware/partition").read_bytes(), "big"))
        (self.proc / "cmdline").write_bytes(Path(self.pi.run, "cmdline").read_bytes())
        return self.look()

    def look(self) -> raspberry_pi.RaspberryPi:
        platform = raspberry_pi.RaspberryPi(self.data / "agent.toml", str(self.proc), self.pi.run, mounted=False)
        self.pi.slots = platform.slots
        return platform


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr("platform_adapters.linux.Net", lambda anchors, keys, lists: None)  # tests/contract has it
    return Bench(tmp_path)


@pytest.mark.parametrize("check", contract_device.CHECKS, ids=lambda check: check.__name__)
def test_device_contract(bench, check):
    bench.boot()
    check(bench.look)


def test_it_drives_its_system_slots_and_resets_into_them(bench, monkeypatch):
    platform = bench.boot()
    schema.check(platform.config)  # the table is the platform's, and not told to the agent
    assert platform.slots.kind == "system" and platform.slots.running() == "a"
    assert contents(platform.slots, "a") == appimage.build(OLD) and not platform.slots.at_install
    fill(platform.slots, IMAGE, note=NOTE)
    platform.slots.activate()
    ran = []

    class Down(BaseException):
        pass

    def run(command, **how):
        ran.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    def sleep(seconds):
        raise Down(seconds)

    monkeypatch.setattr(raspberry_pi.subprocess, "run", run)
    monkeypatch.setattr(raspberry_pi.time, "sleep", sleep)
    with pytest.raises(Down, match="120"):
        platform.power.reboot("activate")
    assert ran == [["systemctl", "reboot", "--reboot-argument=0 tryboot"]]
    bench.pi.reset()
    platform = bench.boot()
    assert platform.slots.running() == "b" and not platform.slots.state()["confirmed"]
    platform.slots.confirm()
    bench.pi.reset()
    assert bench.boot().slots.running() == "b" and bench.pi.chosen(False) == 3
    with pytest.raises(Down):
        bench.look().power.reboot("again")
    assert ran[1:] == [["systemctl", "reboot"]]


@pytest.mark.parametrize(
    ("script", "limit_s", "said"),
    [("echo denied >&2; exit 4", 30, "denied"), ("exit 0", 0.5, "does not go down"), (None, 30, "systemctl")]
    + [("exec sleep 9", 0.5, "timed out")],
)
def test_a_reset_that_does_not_come_is_an_error(bench, monkeypatch, script, limit_s, said):
    power = bench.boot().power
    folder = bench.proc / "bin"
    folder.mkdir()
    if script:
        (folder / "systemctl").write_text("#!/bin/sh\nPATH=/usr/bin:/bin\n" + script + "\n")
        (folder / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(raspberry_pi, "RESET_S", limit_s)
    with pytest.raises(DeviceError, match="reset_failed.*" + said):
        power.reboot("activate")


def test_why_it_started(bench):
    assert bench.boot().power.cause() == "power"
    bench.says(pm_rsts=0x20)  # a reset, or the watchdog: one bit for both
    assert bench.boot().power.cause() == "unknown"
    os.unlink(bench.proc / "device-tree/chosen/bootloader/pm_rsts")
    assert bench.boot().power.cause() == "unknown"
    bench.boot().power.feed()


def test_a_boot_loader_without_tryboot_is_refused(bench):
    bench.boot()
    bench.says(capabilities=0x7F & ~4)
    with pytest.raises(DeviceError, match="rpi-eeprom-update"):
        bench.look()
    os.unlink(bench.proc / "device-tree/chosen/bootloader/capabilities")
    bench.look()  # a Pi 5 does not say, and knows it


def test_a_root_that_changes_as_it_runs_is_not_measured_again(bench):
    bench.boot()
    for text in ("/dev/root / squashfs ro 0 0\nx / ext4 rw,errors=remount-ro 0 0\n", "proc /proc proc rw 0 0\n"):
        (bench.proc / "self" / "mounts").write_text(text)
        assert bench.look().slots.at_install
    os.unlink(bench.proc / "self" / "mounts")
    assert bench.look().slots.at_install


@pytest.mark.parametrize(
    ("kernel", "arguments", "devices"),
    [
        ("PARTUUID=1c2d3e4f-05", ["PARTUUID=1c2d3e4f-05", "PARTUUID=1c2d3e4f-0a"], "/dev/disk/by-partuuid/1c2d3e4f-0"),
        ("/dev/mmcblk0p10", ["/dev/mmcblk0p5", "/dev/mmcblk0p10"], "/dev/mmcblk0p"),
        ("/dev/nvme0n1p5", ["/dev/nvme0n1p5", "/dev/nvme0n1p10"], "/dev/nvme0n1p"),
        ("/dev/sda5", ["/dev/sda5", "/dev/sda10"], "/dev/sda"),
    ],
)
def test_partitions_by_number(tmp_path, kernel, arguments, devices):
    (tmp_path / "cmdline").write_text("console=tty1 root=%s rootwait\n" % kernel)
    found = raspberry_pi.layout({**raspberry_pi.USUAL, "root": [5, 10]}, str(tmp_path / "cmdline"))
    assert [slot.root_argument for slot in found.values()] == arguments
    assert all(slot.root.startswith(devices) for slot in found.values())
    assert [(slot.number, slot.boot) for slot in found.values()] == [(2, "/boot/a"), (3, "/boot/b")]


@pytest.mark.parametrize("words", ["root=LABEL=x", "root=PARTUUID=0b1c-22", "quiet", "root=/dev/mmcblk0"])
def test_a_root_without_a_number_must_be_named(tmp_path, words):
    (tmp_path / "cmdline").write_text(words)
    with pytest.raises(DeviceError, match="boot_config"):
        raspberry_pi.layout(raspberry_pi.USUAL, str(tmp_path / "cmdline"))
    named = {**raspberry_pi.USUAL, "root": ["PARTUUID=one", "/dev/two"]}
    found = raspberry_pi.layout(named, str(tmp_path / "cmdline"))
    assert [slot.root for slot in found.values()] == ["/dev/disk/by-partuuid/one", "/dev/two"]


@pytest.mark.parametrize(
    "table",
    [1, {"rout": [5, 6]}, {"root": [5]}, {"root": 5}, {"boot": ["2", "3"]}, {"boot": [True, 2]}, {"root": [5, 5]}]
    + [{"mounts": [1, 2]}, {"autoboot": ["x"]}],
)
def test_a_wrong_table_is_refused_by_name(bench, table):
    with pytest.raises(MisuseError, match="raspberry_pi"):
        raspberry_pi.RaspberryPi({"state": str(bench.data / "state"), "raspberry_pi": table})


def test_another_kind_of_slots_is_refused(bench):
    bench.boot()
    for kind in ("app", "firmware"):
        with pytest.raises(MisuseError, match="slots_kind " + kind):
            raspberry_pi.RaspberryPi({"state": str(bench.data / "state"), "slots_kind": kind})


def test_the_way_in_for_bundles_and_the_look_from_outside(bench, monkeypatch, capsys):
    bench.boot()
    monkeypatch.setattr(raspberry_pi, "RaspberryPi", lambda config: _as_here(bench, config))
    looker = linux_install.Looker(raspberry_pi.linux_config.read(bench.data / "agent.toml"))
    assert looker.platform.slots.kind == "system" and looker.update_state["version"] == "1.0.0"
    config = ["--config", str(bench.data / "agent.toml")]
    assert service(["status", "--json", *config]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["slot"], told["confirmed"], told["trial"]) == ("a", True, None)
    assert told["release"]["version"] == "1.0.0"
    assert service(["run", *config]) == 78
    assert "systemd" in capsys.readouterr().err


Real = raspberry_pi.RaspberryPi


def _as_here(bench, config):
    return Real(config, str(bench.proc), bench.pi.run, mounted=False)


def test_the_card_is_as_big_as_it_says(bench):
    assert bench.boot().slots.capacity() > ROOT_BYTES
