# SPDX-License-Identifier: MIT
"""Slots in folders keep the contract, and survive what a file system can do to them."""

import os
import sys

import contract_slots
from agent.errors import DeviceError, MisuseError
from contract_slots import IMAGE, INDEX_BYTES, NOTE, contents, fill, refused
from platform_adapters import bootrecord, files
from platform_adapters.dirslots import DirSlots
from scratch import folder


class World:
    illegal = MisuseError

    def __init__(self):
        self.path = folder("slots")
        files.make_folder(self.path + "/state")
        self._limit = None

    def boot(self):
        slot, _ = bootrecord.start(self.path + "/state")
        self.slots = DirSlots(self.path + "/slots", self.path + "/state", slot)
        return self.slots

    def limit(self, size):
        self.slots.capacity = lambda: size

    def at(self, name):
        return self.path + "/slots/b/" + name


def put(path, data):
    with open(path, "wb") as file:
        file.write(data)


def test_contract():
    for check in contract_slots.CHECKS:
        check(World())


def test_the_folder_holds_the_files_and_our_three():
    world = World()
    fill(world.boot())
    assert sorted(name for name, _ in files.entries(world.at("."))) == [
        ".index",
        ".progress",
        ".release",
        "lib",
        "main.py",
        "z",
    ]
    assert files.read(world.at("main.py"), 9999) == b"import lib\n" * 20
    assert files.read(world.at("lib/empty.py"), 9) == b""
    assert files.read(world.at(".index"), 9999) == IMAGE[:INDEX_BYTES]


def test_progress_torn_at_any_byte_never_counts_too_much():
    world = World()
    slots = world.boot()
    slots.begin(NOTE)
    marks = [INDEX_BYTES, INDEX_BYTES + 500, len(IMAGE)]
    at = 0
    for mark in marks:
        slots.write(at, IMAGE[at:mark])
        slots.sync()
        at = mark
    whole = files.read(world.at(".progress"), 999)
    assert len(whole) == 36
    for cut in range(len(whole) + 1):
        for tail in (b"", b"\x00" * (len(whole) - cut), b"\xff" * (len(whole) - cut)):
            put(world.at(".progress"), whole[:cut] + tail)
            assert world.boot().filled() == ([0] + marks)[cut // 12], (cut, tail)


def test_writing_goes_on_over_a_torn_tail():
    world = World()
    slots = world.boot()
    slots.begin(NOTE)
    cut = INDEX_BYTES + 100
    slots.write(0, IMAGE[:cut])
    slots.sync()
    for name, tail in (("lib/m/data", b"garbage" * 50), (".progress", b"torn"), ("main.py", b"older" * 500)):
        put(world.at(name), (files.read(world.at(name), 9999) or b"") + tail)
    slots = world.boot()
    assert slots.filled() == cut
    slots.write(cut, IMAGE[cut:])
    slots.sync()
    assert contents(slots, "b") == IMAGE or contents(slots, "b") == b""


def test_a_short_or_missing_file_pulls_progress_back_to_its_start():
    for damage in (lambda name: put(name, b"short"), os.remove):
        world = World()
        fill(world.boot())
        damage(world.at("main.py"))
        slots = world.boot()
        start = IMAGE.find(b"import lib")
        assert slots.filled() == start
        slots.write(start, IMAGE[start:])
        slots.sync()
        assert contents(slots, "b") == IMAGE


def test_files_that_the_index_does_not_name_are_found():
    for plant in (
        lambda world: put(world.at("lib/planted.py"), b""),
        lambda world: put(world.at("lib/m/.index"), b""),
        lambda world: put(world.at("main.py"), b"import lib\n" * 20 + b"#"),
    ):
        world = World()
        slots = world.boot()
        fill(slots)
        plant(world)
        refused("slot_damaged", DeviceError, contents, slots, "b")


def test_a_damaged_file_does_not_read_back_as_the_image():
    world = World()
    slots = world.boot()
    fill(slots)
    os.remove(world.at("z"))
    assert contents(slots, "b") == IMAGE[:-4]


def test_a_file_in_place_of_the_slot():
    world = World()
    slots = world.boot()
    files.make_folder(world.path + "/slots")
    put(world.path + "/slots/b", b"")
    refused("slot_path", DeviceError, slots.begin, NOTE)


def test_links_are_neither_followed_nor_kept():
    if not hasattr(os, "symlink"):
        return
    world = World()
    slots = world.boot()
    outside = world.path + "/outside"
    files.make_folder(outside)
    put(outside + "/precious", b"1")
    fill(slots)
    os.symlink(outside, world.at("link"))
    os.symlink(outside + "/precious", world.at("file"))
    refused("slot_damaged", DeviceError, contents, slots, "b")
    fill(slots)
    assert contents(slots, "b") == IMAGE
    files.empty(world.path + "/slots/b")
    os.rmdir(world.path + "/slots/b")
    os.symlink(outside, world.path + "/slots/b")
    refused("slot_path", DeviceError, slots.begin, NOTE)
    assert os.listdir(outside) == ["precious"]


class Full:
    """A file on a full file system."""

    def __init__(self, file):
        self._file = file

    def write(self, data):
        raise OSError(28, "no space left")

    def flush(self):
        pass

    def close(self):
        self._file.close()


def test_a_full_file_system():
    world = World()
    slots = world.boot()
    slots.begin(NOTE)
    slots.write(0, IMAGE[: INDEX_BYTES + 10])
    slots.sync()
    slots._file = Full(slots._file)
    refused("slot_full", DeviceError, slots.write, INDEX_BYTES + 10, IMAGE[INDEX_BYTES + 10 :])
    assert slots.filled() == INDEX_BYTES + 10
    slots.write(slots.filled(), IMAGE[slots.filled() :])
    slots.sync()
    slots.activate()


def test_on_trial_a_factory_slot_is_not_written():
    world = World()
    files.make_folder(world.path + "/slots/a")
    put(world.path + "/slots/a/.release", b'{"version": "1.0.0"}')
    put(world.path + "/slots/a/main.py", b"1")
    slots = contract_slots.update(world)
    refused("on_trial", MisuseError, slots.write, 0, b"trueboot-app 1")
    assert sorted(name for name, _ in files.entries(world.path + "/slots/a")) == [".release", "main.py"]


def test_a_torn_note_is_no_note():
    world = World()
    slots = world.boot()
    slots.begin(NOTE)
    for data in (b"", b'{"version": "2', b"\x00" * 20, b"[1]"):
        put(world.at(".release"), data)
        assert slots.release("b") is None


def test_the_trampoline_names_the_running_slot():
    world = World()
    world.boot()
    sys.path.insert(0, world.path + "/slots/b")
    try:
        assert DirSlots(world.path + "/slots", world.path + "/state").running() == "b"
    finally:
        sys.path.pop(0)
    assert DirSlots(world.path + "/slots", world.path + "/state").running() == "a"
