# SPDX-License-Identifier: MIT
"""Firmware slots of an ESP32: the contract, each flash operation cut, otadata, refusals; over a board stricter than NOR."""

import contract_slots
import esp32_mutants
import esp32_sweep
import esp32_walk
from agent.errors import DeviceError, MisuseError, RefusedError
from contract_slots import contents, fill, raises, refused
from esp32_sweep import CRASHING, GOOD, NEW, OLD, SICK, World, note
from platform_adapters import memory_esp32_boot as loader
from platform_adapters.esp32_slots import Esp32Slots
from platform_adapters.memory_esp32 import AFTER, BEFORE, TORN, Board, Illegal, PowerCut, image

HEAP = "640k"  # the board's flash and the boot loader's checks lie in it, too
TIMEOUT_S = 120


def test_contract():
    for check in contract_slots.ANY_IMAGE_CHECKS:
        check(World())


def test_planted_defects_are_caught():
    for name in esp32_mutants.DEFECTS:
        assert esp32_mutants.caught(name), "nobody noticed: " + name


def run(versions, behaviour, second_after=0):
    effects, lives, problems = esp32_sweep.sweep(versions, behaviour, second_after=second_after)
    assert problems == [], problems[:5]
    assert effects > 40 and lives == (5 if esp32_sweep.FAST else 2) * effects + 1


def test_two_updates_cut_at_each_effect():
    run(["2.0.0", "3.0.0"], GOOD)


def test_an_update_cut_twice():
    for second in (1, 2, 5) if esp32_sweep.FAST else (2,):
        run(["2.0.0"], GOOD, second)


def test_a_sick_release_cut_at_each_effect():
    run(["2.0.0"], SICK)


def test_an_activation_taken_back_cut_at_each_effect():
    assert esp32_sweep.take_back() == ""


def test_a_release_that_crashes_cut_at_each_effect():
    run(["2.0.0"], CRASHING)


def test_random_lives():
    assert esp32_walk.walk(1, 200 if esp32_sweep.FAST else 60) == ""


# what the boot loader remembers


def test_what_each_state_means():
    for state, confirmed, failure in (
        (loader.VALID, True, ""),
        (loader.UNDEFINED, True, ""),
        (loader.PENDING, False, ""),
        (loader.NEW, False, ""),
        (loader.ABORTED, True, "the other image does not boot"),
        (loader.INVALID, True, "the other image does not boot"),
    ):
        world = World()
        slots = world.boot()
        world.board.flash["otadata"][:32] = loader.pack(1, state)
        assert slots.state() == {"confirmed": confirmed, "failure": failure}, state
        assert slots.running() == "a"


def test_entries_of_one_update():
    world = World()
    slots = world.boot()
    assert world.states() == [("a", loader.VALID)]
    fill(slots, NEW, 999, note())
    slots.activate()
    assert world.states() == [("b", loader.NEW), ("a", loader.VALID)]
    slots = world.boot()
    assert world.states() == [("b", loader.PENDING), ("a", loader.VALID)]
    slots.confirm()
    assert world.states() == [("b", loader.VALID), ("a", loader.VALID)]


def test_a_trial_that_is_cut_is_aborted_and_can_be_tried_again():
    world = World()
    fill(world.boot(), NEW, 999, note())
    world.slots.activate()
    assert world.boot().running() == "b"
    slots = world.boot()
    assert slots.running() == "a" and world.states() == [("b", loader.ABORTED), ("a", loader.VALID)]
    assert slots.state() == {"confirmed": True, "failure": ""}
    slots.activate()
    assert world.boot().running() == "b"


def test_why_a_trial_ended_is_told_until_the_next():
    world = World()
    fill(world.boot(), NEW, 999, note())
    world.slots.fail("not on trial")
    world.slots.activate()
    world.boot().fail("ValueError main.py:7" + "." * 99)
    slots = world.boot()
    assert slots.running() == "a"
    assert slots.state()["failure"].startswith("ValueError main.py:7..") and len(slots.state()["failure"]) == 64
    slots.activate()
    assert slots.state()["failure"] == ""
    slots = world.boot()
    slots.fail("once more")
    slots.confirm()
    assert world.boot().state() == {"confirmed": True, "failure": ""}


def test_the_mark_that_is_cut_boots_the_old_image_or_stays():
    for way, torn, then in ((BEFORE, 0, "a"), (TORN, 0, "a"), (TORN, 50, "a"), (AFTER, 0, "a")):
        for step in (1, 2):
            world = World()
            fill(world.boot(), NEW, 999, note())
            world.slots.activate()
            slots = world.boot()
            world.board.cuts = {world.board.effects + step: way}
            world.board.torn = torn
            raises(PowerCut, slots.confirm)
            slots = world.boot()
            assert slots.running() == ("b" if (way, step) == (AFTER, 2) else then)
            assert slots.state()["confirmed"]


def test_an_update_over_entries_of_a_flashing_tool():
    world = World()
    world.board.flash["otadata"][:32] = loader.pack(3, loader.UNDEFINED)
    slots = world.boot()
    assert slots.state()["confirmed"]
    fill(slots, NEW, 999, note())
    slots.activate()
    slots = world.boot()
    assert slots.running() == "b"
    slots.confirm()
    assert world.boot().running() == "b"


def test_when_the_other_image_rots_the_update_goes_on():
    world = World()
    fill(world.boot(), NEW, 999, note())
    world.slots.activate()
    world.boot()
    world.board.flash["ota_0"][2000] ^= 1
    slots = world.boot()
    assert slots.running() == "b" and world.states()[0] == ("b", loader.ABORTED)
    assert slots.state() == {"confirmed": True, "failure": "the other image does not boot"}
    slots.confirm()
    fill(slots, OLD, 999, note(OLD, "3.0.0"))
    assert world.states()[0] == ("b", loader.VALID)
    slots.activate()
    assert world.boot().running() == "a"
    assert world.boot().running() == "b"
    assert world.boot().running() == "b"


def test_a_chosen_image_that_rots_is_refused_and_replaced():
    world = World()
    fill(world.boot(), NEW, 999, note())
    world.slots.activate()
    world.boot().confirm()
    world.board.flash["ota_1"][2000] ^= 1
    slots = world.boot()
    assert slots.running() == "a" and slots.state()["confirmed"] and slots.filled() == len(NEW)
    refused("image_rejected", RefusedError, slots.activate)
    fill(slots, NEW, 999, note())
    slots.activate()
    assert world.boot().running() == "b"


# refusals


def test_layouts_without_two_slots():
    for board in (
        Board(apps=("factory",)),
        Board(apps=("factory",), with_otadata=False),
        Board(apps=("ota_0",)),
        Board(apps=("ota_0", "ota_1", "ota_2")),
        Board(apps=("factory", "ota_0", "ota_1")),
    ):
        board.install(board.table[-1][4] if not board.has("factory") else "factory", OLD)
        esp32 = board.power_on()
        refused("slot_layout", DeviceError, Esp32Slots, esp32.Partition, esp32.store)
    for row, value in ((0, True), (1, True)):
        board = World().board
        board.table[row] = board.table[row][:5] + (value,)
        esp32 = board.power_on()
        refused("slot_layout", DeviceError, Esp32Slots, esp32.Partition, esp32.store)


def test_a_firmware_without_rollback_is_found_at_the_first_activation():
    world = World()
    world.board.app_rolls_back = False
    slots = world.boot()
    fill(slots, NEW, 999, note())
    refused("no_rollback", DeviceError, slots.activate)
    assert world.boot().running() == "a" and world.states() == [("a", loader.VALID)]


def test_a_boot_loader_without_rollback_is_found_at_the_first_trial():
    for healthy in (True, False):
        world = World()
        world.board.loader_rolls_back = False
        slots = world.boot()
        fill(slots, NEW, 999, note())
        slots.activate()
        slots = world.boot()
        assert slots.running() == "b" and not slots.state()["confirmed"]
        if healthy:
            slots.confirm()
        else:
            slots.rollback()
            refused("rolled_back", MisuseError, slots.confirm)
        slots = world.boot()
        assert slots.running() == ("b" if healthy else "a") and slots.state()["confirmed"]
        refused("no_rollback", DeviceError, slots.begin, note(OLD))
        refused("no_rollback", DeviceError, slots.activate)


def test_images_that_are_none():
    slots = World().boot()
    slots.begin(note())
    refused("image_header", RefusedError, slots.write, 0, b"x" + NEW[1:])
    assert slots.filled() == 0
    other = image(b"for another chip" * 300, chip=9)
    slots.begin(note(other))
    refused("image_header", RefusedError, slots.write, 0, other)
    slots.begin(note())
    slots.write(0, NEW)
    refused("image_length", RefusedError, slots.write, len(NEW), b"x")
    assert slots.filled() == 0
    for release in ({}, {"length": None}, {"length": 0}, {"length": -1}):
        refused("slot_note", MisuseError, slots.begin, release)
    refused("slot_full", DeviceError, slots.begin, {"length": slots.capacity() + 1})
    slots.begin({"length": slots.capacity()})
    refused("slot_name", MisuseError, slots.release, "c")


def test_an_image_that_the_boot_loader_refuses():
    for data in (NEW[:-1] + b"x", NEW[:-40] + bytes(40), b"\xe9" + b"\xff" * 5000):
        world = World()
        slots = world.boot()
        data = data[:12] + OLD[12:14] + data[14:]
        fill(slots, data, 999, note(data))
        refused("image_rejected", RefusedError, slots.activate)
        assert world.states() == [("a", loader.VALID)]
        fill(slots, NEW, 999, note())
        slots.activate()
        assert world.boot().running() == "b"


def test_an_activated_slot_is_not_written():
    world = World()
    fill(world.boot(), NEW, 999, note())
    world.slots.activate()
    raises((MisuseError, RefusedError), world.slots.write, len(NEW), b"x")
    effects = world.board.effects
    world.slots.activate()
    assert world.board.effects == effects


def test_flash_that_fails():
    world = World()
    slots = world.boot()
    slots.begin(note())
    slots.write(0, NEW[:1000])
    slots.sync()
    world.board.failures = {world.board.effects + 1: OSError(-0x6001, "FLASH_OP_FAIL")}
    slots.write(1000, NEW[1000:2000])
    refused("slot", DeviceError, slots.sync)
    assert slots.filled() == 1000
    esp32_sweep.rest(slots)
    slots.activate()


# progress


def test_a_write_torn_behind_the_last_sync_is_made_good():
    assert esp32_sweep.torn_tail() == ""


def test_a_call_erases_no_more_than_it_writes():
    world = World()
    slots = world.boot()

    def erased(call, *arguments):
        del world.board.trace[:]
        call(*arguments)
        return len([name for name in world.board.trace if name.startswith("erase")])

    assert erased(slots.begin, note()) == 0
    for at in range(0, len(NEW), 1024):
        assert erased(slots.write, at, NEW[at : at + 1024]) <= 1
    assert erased(slots.sync) <= 1
    assert erased(slots.begin, note()) == 0
    assert erased(slots.write, 0, NEW) == len(NEW) // 4096


def test_what_each_call_costs():
    """The table of docs/slots-esp32.md."""
    world = World()
    world.board.install("ota_0", OLD)

    def cost(call, *arguments):
        del world.board.trace[:]
        call(*arguments)
        kinds = [name.split(" ")[0] for name in world.board.trace]
        return [kinds.count(kind) for kind in ("erase", "program", "store.save")]

    slots = world.boot()
    assert cost(slots.begin, note()) == [0, 0, 1]
    assert cost(slots.write, 0, NEW[:4096]) == [1, 16, 0]
    slots.write(4096, NEW[4096:])
    assert cost(slots.sync) == [1, (len(NEW) - 4096 + 255) // 256, 1]
    assert cost(slots.activate) == [1, 1, 0]
    assert cost(slots.begin, note()) == [1, 0, 1]
    fill(slots, NEW, 999, note())
    slots.activate()
    assert cost(world.boot) == [1, 1, 0]
    assert cost(world.boot) == [1, 1, 0]
    assert cost(world.boot) == [0, 0, 0]
    world.slots.activate()
    slots = world.boot()
    assert cost(slots.confirm) == [1, 1, 0]
    assert cost(world.boot) == [0, 0, 0]


def test_a_torn_record_is_no_record():
    world = World()
    fill(world.boot(), NEW, 999, note())
    whole = world.board.records["firmware.b"]
    for size in range(0, len(whole), 7):
        world.board.records["firmware.b"] = whole[:size]
        slots = world.boot()
        assert slots.release("b") is None and slots.filled() == 0
        raises(MisuseError, slots.write, 0, NEW[:10])
        raises(MisuseError, slots.activate)
    for data in (b"[1]", b'{"note": 1, "filled": 2}', b'{"note": {"length": 5}, "filled": "x"}'):
        world.board.records["firmware.b"] = data
        assert world.boot().release("b") is None


def test_the_factory_image_has_its_length_from_its_headers():
    slots = World().boot()
    assert slots.release("a") is None
    assert contents(slots, "a") == OLD
    for data in (b"", b"\xe9\xff" + bytes(40), OLD[:28] + b"\xff\xff\xff\x7f"):
        world = World()
        slots = world.boot()
        world.board.install("ota_0", data)
        assert slots.read("a", 0, 10) == b""


def test_images_of_all_lengths():
    for length in range(1, 70, 4):
        data = image(bytes(length))
        world = World()
        world.board.install("ota_0", data)
        assert contents(world.boot(), "a") == data and len(data) % 16 == 0


# the board is as strict as it says


def test_what_flash_would_spoil_is_illegal():
    board = World().board
    esp32 = board.power_on()
    here, spare = esp32.Partition("ota_0"), esp32.Partition("ota_1")
    spare.writeblocks(0, b"\xf0" * 10, 5)
    spare.writeblocks(0, b"\x30" * 10, 5)
    raises(Illegal, spare.writeblocks, 0, b"\x31", 5)
    spare.writeblocks(0, b"\xff" * 4096)
    spare.writeblocks(0, b"\x31", 5)
    for call in (
        lambda: here.ioctl(6, 0),
        lambda: here.writeblocks(0, b"\x00", 9),
        lambda: esp32.Partition("otadata").ioctl(6, 0),
        lambda: esp32.Partition("otadata").writeblocks(1, b"\x00", 0),
    ):
        raises(Illegal, call)
    spare.writeblocks(0, NEW + b"\xff" * (-len(NEW) % 4096))
    spare.set_boot()
    for call in (spare.set_boot, esp32.Partition.mark_app_valid_cancel_rollback, lambda: spare.ioctl(6, 0)):
        raises(Illegal, call)
    board.flash["ota_0"][50] ^= 1
    board.flash["ota_1"][50] ^= 1
    raises(Illegal, board.power_on)  # a brick


def test_the_partition_class():
    board = World().board
    esp32 = board.power_on()
    partition = esp32.Partition
    first, second = partition.find(partition.TYPE_APP)
    assert first.info() == (0, 0x10, 0x10000, 16384, "ota_0", False)
    assert partition(partition.RUNNING).info() == partition(partition.BOOT).info() == first.info()
    assert first.get_next_update().info() == second.info()
    assert second.get_next_update().info() == first.info()
    assert [p.info()[4] for p in partition.find(partition.TYPE_DATA, label="otadata")] == ["otadata"]
    assert partition.find(partition.TYPE_DATA, 2) == []
    assert (first.ioctl(4, 0), first.ioctl(5, 0), first.ioctl(3, 0)) == (4, 4096, 0)
    data = bytearray(4)
    first.readblocks(0, data)
    assert data == OLD[:4]
    first.readblocks(0, data, 8)
    assert data == OLD[8:12]
    for code, call in (
        (-0x104, lambda: first.readblocks(3, bytearray(4097))),
        (-0x102, lambda: first.readblocks(5, data)),
        (-0x104, lambda: second.writeblocks(0, b"123")),
        (-5379, second.set_boot),
        (-5379, partition("otadata").set_boot),
        (2, lambda: partition("nvs")),
    ):
        assert raises(OSError, call).args[0] == code
    board.cuts = {board.effects + 1: BEFORE}
    raises(PowerCut, second.ioctl, 6, 0)
    for call in (first.info, lambda: first.readblocks(0, data), lambda: partition("ota_0"), lambda: partition.find()):
        raises(PowerCut, call)


def test_a_factory_partition_boots_without_entries():
    board = Board(apps=("factory", "ota_0", "ota_1"))
    board.install("factory", OLD)
    esp32 = board.power_on()
    assert board.running == "factory"
    board.install("ota_0", NEW)
    esp32.Partition("ota_0").set_boot()
    board.power_on()
    assert board.running == "ota_0"
    board.power_on()
    assert board.running == "factory"
