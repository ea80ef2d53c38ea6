# SPDX-License-Identifier: MIT
"""Tryboot slots keep the contract of all slots, and what is the firmware's own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "portable")]
from pi import IMAGE, NEW, OLD, ROOT_BYTES, Dead, Pi  # noqa: E402

import contract_slots  # noqa: E402
from agent.errors import DeviceError, MisuseError, RefusedError  # noqa: E402
from agent.wire import appimage  # noqa: E402
from contract_slots import contents, fill, refused  # noqa: E402
from platform_adapters import raspberry_pi_boot as boot  # noqa: E402
from platform_adapters.raspberry_pi_slots import RaspberryPiSlots  # noqa: E402

NOTE = {"version": "2.0.0", "kind": "system"}


class World:
    illegal = MisuseError
    image = IMAGE
    head = IMAGE.find(b"\n\n") + 2
    about = {"kind": "system"}
    trial_boots = 1
    cuts = [
        IMAGE.index(NEW[name]) + more
        for name in ("boot/cmdline.txt", "boot/kernel8.img", "root.img")
        for more in (-1, 0, 1, 56)
    ]

    def __init__(self, pi):
        self.pi = pi

    def boot(self):
        self.pi.reset()
        return self.pi.power_on()

    def limit(self, size):
        self.pi.slots.capacity = lambda: size


@pytest.fixture
def pi(tmp_path):
    return Pi(str(tmp_path / "pi"))


@pytest.mark.parametrize("check", contract_slots.ANY_IMAGE_CHECKS, ids=lambda check: check.__name__[6:])
def test_contract(pi, check):
    check(World(pi))


def test_an_image_lands_on_its_partitions(pi):
    world = World(pi)
    fill(world.boot(), IMAGE, note=NOTE)
    assert pi.image_of(3) == "new"
    there = Path(pi.partitions["b"].boot, "cmdline.txt").read_bytes()
    assert there == b"console=serial0 root=PARTUUID=real-06 rootwait panic=10\n"
    assert pi.image_of(2) == "old"


def test_a_cut_before_the_reset_forgets_the_activation(pi):
    world = World(pi)
    slots = world.boot()
    fill(slots, IMAGE, note=NOTE)
    slots.activate()
    pi.medium.settle("all that was written is there")
    assert pi.power_on().running() == "a" and pi.trials == []


def test_a_trial_that_does_not_boot_falls_back(pi):
    world = World(pi)
    slots = world.boot()
    fill(slots, IMAGE, note=NOTE)
    slots.activate()
    pi.put("p3/kernel8.img", b"rotten")
    assert world.boot().running() == "a" and pi.trials == [False]


def test_every_mix_of_the_old_and_the_new_sector_boots(pi):
    """Torn at any byte, from either end: the default is one of the two, and so says `state`."""
    old, new = boot.compose(2, 3), boot.compose(3, 2)
    assert len(old) == len(new) <= boot.SECTOR_BYTES
    for at in range(len(old) + 1):
        for mix in (old[:at] + new[at:], new[:at] + old[at:]):
            pi.put("p1/autoboot.txt", mix)
            assert pi.chosen(False) in (2, 3) and pi.chosen(True) in (2, 3)
            assert boot.Autoboot(mix).default == pi.chosen(False)


def test_after_a_torn_confirm_the_next_trial_finds_its_partition(pi):
    pi.put("p1/autoboot.txt", boot.compose(2, 2))
    world = World(pi)
    slots = world.boot()
    fill(slots, IMAGE, note=NOTE)
    slots.activate()
    assert world.boot().running() == "b"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[all]\nboot_partition=2\n[tryboot]\nboot_partition=3\n",
        b"[all]\ntryboot_a_b=1\nboot_partition=2\n",
        b"[all]\ntryboot_a_b=1\nboot_partition=2\nboot_partition=3\n[tryboot]\nboot_partition=3\n",
        b"[none]\n" + boot.compose(2, 3),
        boot.compose(2, 3) + b"#" * 512,
        b"\xff" * 60,
    ],
)
def test_an_autoboot_txt_of_another_kind_is_refused(pi, text):
    slots = World(pi).boot()
    pi.put("p1/autoboot.txt", text)
    refused("boot_config", DeviceError, slots.state)


def test_numbers_of_another_length_are_refused():
    refused("boot_config", DeviceError, boot.Autoboot(boot.compose(2, 3)).with_partitions, 10, 2)


def test_what_stands_beside_the_numbers_stays():
    text = b"# by hand\n\n[all]\r\n tryboot_a_b=1\nboot_partition=2\n\n[tryboot]\nboot_partition=3"
    after = boot.Autoboot(text).with_partitions(3, 2)
    assert after == text.replace(b"n=2", b"n=x").replace(b"n=3", b"n=2").replace(b"n=x", b"n=3")


def test_firmware_and_kernel_that_differ_are_not_believed(pi):
    World(pi).boot()
    arguments = (
        pi.root + "/data",
        pi.partitions,
        pi.root + "/p1/autoboot.txt",
        pi.run + "/firmware",
        pi.run + "/cmdline",
    )
    pi.put("run/firmware/partition", (3).to_bytes(4, "big"))
    refused("boot_config", DeviceError, RaspberryPiSlots, *arguments)
    pi.put("run/firmware/partition", (4).to_bytes(4, "big"))
    refused("boot_config", DeviceError, RaspberryPiSlots, *arguments)
    os.unlink(pi.run + "/firmware/partition")
    refused("boot_config", DeviceError, RaspberryPiSlots, *arguments)
    pi.put("run/firmware/partition", (2).to_bytes(4, "big"))
    slots = RaspberryPiSlots(*arguments, run=pi.run)
    refused("slot_path", DeviceError, slots.begin, NOTE)  # a folder, where a mounted partition is expected


def test_the_kernels_own_files_can_be_read():
    from platform_adapters import raspberry_pi_files as files

    assert files.read("/proc/cmdline", boot.CMDLINE_BYTES)


@pytest.mark.parametrize(
    ("change", "code", "kind"),
    [
        ({"boot/cmdline.txt": None}, "image_system", RefusedError),
        ({"root.img": None}, "image_system", RefusedError),
        ({"boot/cmdline.txt": b"console=tty1\n"}, "image_system", RefusedError),
        ({"boot/cmdline.txt": b"root=/dev/a root=/dev/b\n"}, "image_system", RefusedError),
        ({"boot/cmdline.txt": b""}, "image_system", RefusedError),
        ({"boot/KERNEL8.img": b"x"}, "image_system", RefusedError),
        ({"boot/dot.": b"x"}, "image_system", RefusedError),
        ({"main.py": b"x"}, "image_system", RefusedError),
        ({"root.img": bytes(ROOT_BYTES + 1)}, "slot_full", DeviceError),
    ],
)
def test_an_image_that_is_no_system_is_refused(pi, change, code, kind):
    slots = World(pi).boot()
    files = {name: data for name, data in {**NEW, **change}.items() if data is not None}
    refused(code, kind, fill, slots, appimage.build(files), 4096, NOTE)
    fill(slots, IMAGE, note=NOTE)
    slots.activate()


def test_what_was_changed_behind_its_back_does_not_read_back(pi):
    def other_root():
        path = pi.partitions["b"].boot + "/cmdline.txt"
        pi.put("p3/cmdline.txt", Path(path).read_bytes().replace(b"real-06", b"real-05"))

    for change in (
        lambda: pi.put("p3/config.txt", b"kernel=other.img\n"),
        lambda: pi.put("p3/tryboot.txt", b"kernel=other.img\n"),
        lambda: pi.put("p3/overlays/more.dtbo", b""),
        lambda: os.unlink(pi.partitions["b"].boot + "/kernel8.img"),
        lambda: pi.put("p3/kernel8.img", NEW["boot/kernel8.img"] + b"x"),
        lambda: pi.put("p6", b"rotten".ljust(ROOT_BYTES)),
        other_root,
    ):
        slots = World(pi).boot()
        fill(slots, IMAGE, note=NOTE)
        change()
        try:
            assert contents(slots, "b") != IMAGE
        except DeviceError as error:
            assert error.code == "slot_damaged"


def test_a_boot_file_that_went_missing_pulls_progress_back_to_its_start(pi):
    for name, damage in (
        ("boot/config.txt", lambda: os.unlink(pi.root + "/p3/config.txt")),
        ("boot/kernel8.img", lambda: pi.put("p3/kernel8.img", b"short")),
        ("boot/cmdline.txt", lambda: pi.put("p3/cmdline.txt", b"root=/dev/elsewhere\n")),
    ):
        slots = World(pi).boot()
        fill(slots, IMAGE, note=NOTE)
        damage()
        slots = World(pi).boot()
        start = IMAGE.index(NEW[name])
        assert slots.filled() == start
        slots.write(start, IMAGE[start:])
        slots.sync()
        assert contents(slots, "b") == IMAGE and pi.image_of(3) == "new"


def test_what_a_check_of_the_fat_left_behind_does_no_harm(pi):
    slots = World(pi).boot()
    fill(slots, IMAGE, note=NOTE)
    pi.put("p3/FSCK0000.REC", b"lost")
    assert contents(slots, "b") == IMAGE


def test_the_running_slot_reads_back_as_its_image(pi):
    assert contents(World(pi).boot(), "a") == appimage.build(OLD)


def test_without_autoboot_txt_the_model_is_dead(pi):
    os.unlink(pi.root + "/p1/autoboot.txt")
    with pytest.raises(Dead):
        pi.power_on()
