# SPDX-License-Identifier: MIT
"""The whole agent on a real littlefs: journal, trust, boot record and app slots on flash whose power is cut.  MicroPython only.

The flash is that of `littlefs`, the lives and the judge are those of `sweep`, the far end is its cloud; keys, time and
chance are the memory platform's.  Programs, erases and what is sent are effects alike, numbered over all boots of a
life.  After a cut nothing reaches the flash any more, and the next boot mounts what was there then.
"""

import gc
import json
import random

import vfs

import littlefs_cuts as littlefs
import remembered
import sweep
from agent.errors import AgentError
from littlefs_cuts import AT, DONE, NOT_DONE, TORN_EARLY, TORN_LATE
from platform_adapters import bootrecord, dirslots, files, filestore, memory, memory_power

WAYS = (NOT_DONE, TORN_EARLY, TORN_LATE)
GEOMETRY = "pico"


class Life(memory_power.Life):
    """One boot; flash and network are counted alike."""

    def effect(self, name, do, tear=None):
        if self.count(name) is not None:
            raise memory.PowerCut(name)
        return do()

    def count(self, name):
        """None, or how the power goes in this effect: the boot has ended then."""
        self.check()
        device = self.device
        device.effects += 1
        device.trace.append(name)
        way = device.cuts.get(device.effects)
        if way is not None:
            self.end()
        return way

    def end(self, by_reset=False):
        if self.alive:
            self.device.data = bytearray(self.device.data)  # what is left
        super().end(by_reset)


class Flash(littlefs.Flash):
    """After a cut it goes on as a copy that nobody will see: files that are closed later find a flash."""

    def __init__(self, data, life):
        super().__init__(data)
        self._life = life

    def writeblocks(self, block, buffer, offset=0):
        try:
            return super().writeblocks(block, buffer, offset)
        except littlefs.Broken as error:
            raise memory.Illegal(str(error)) from None

    def _do(self, operation):
        way = None
        if self._life.alive:
            way = self._life.count("erase" if operation[1] is None else "program")
        littlefs.carry_out(operation, self.data, DONE if way is None else way)
        if way is not None:
            self._life.device.data = bytearray(self.data)
            raise memory.PowerCut("flash")


class Store(filestore.FileStore):
    """Tells the judge what it saved, in the words of the memory platform."""

    def __init__(self, folder, trace):
        super().__init__(folder)
        self._trace = trace

    def save(self, name, data):
        super().save(name, data)
        self._trace.append("store.save " + name)


class Records:
    """What the store holds, seen from above."""

    def __init__(self, device):
        self._device = device

    def __setitem__(self, name, data):
        """By the factory, which has the flash mounted: no effect."""
        filestore.FileStore(AT + "/state/store").save(name, data)
        self._device.effects, self._device.trace = 0, []

    def get(self, name, default=None):
        data = files.read(AT + "/state/store/" + name, filestore.RECORD_BYTES)
        return default if data is None else data

    def __contains__(self, name):
        return files.size(AT + "/state/store/" + name) is not None


class Images:
    def __getitem__(self, slot):
        return littlefs.contents(dirslots.DirSlots(AT + "/slots", AT + "/state", slot), slot)


class Device(memory.Device):
    factories = {}  # image -> a flash with that image in slot "a"

    def __init__(self, peer=None, config=None, anchors=(), root=b"", seed=b"trueboot"):
        super().__init__(peer, config, anchors, root, seed)
        self.records = Records(self)
        self.images = Images()
        self.data = self.slots = None
        self.mounted = False

    def install(self, slot, image, note):
        if image not in Device.factories:
            Device.factories[image] = littlefs.new_device(GEOMETRY, image, note)
        self.data = bytearray(Device.factories[image])

    def record(self):
        return bootrecord.load(AT + "/state")

    def power_on(self):
        cause = "reset" if self.life is not None and self.life.ended_by_reset else "power"
        self.power_off()
        self.life = life = Life(self)
        self.boots += 1
        vfs.mount(vfs.VfsLfs2(Flash(self.data, life), progsize=littlefs.GEOMETRIES[GEOMETRY]), AT)
        self.mounted = True
        slot, _ = bootrecord.start(AT + "/state")
        slots = self.slots = dirslots.DirSlots(AT + "/slots", AT + "/state", slot)
        if not slots.release(slot) or self.images[slot] not in self.known():
            raise memory.Illegal("brick: slot %s boots, and is no whole image" % slot)
        platform = memory.Memory(life, slot, cause)
        platform.slots = slots
        platform.store = Store(AT + "/state/store", self.trace)
        return platform

    def known(self):
        return [self.peer.world["factory"], self.peer.world["image"]]

    def power_off(self):
        if self.life is not None and self.life.alive:
            self.life.end()
        if self.slots is not None:
            self.slots._forget()  # no finaliser shall have to close a file
            self.slots = None
        if self.mounted:
            vfs.umount(AT)
            self.mounted = False


def live(world, healthy, cuts=None):
    run = sweep.Run(world, healthy, cuts)
    try:
        run.live()
    except (AgentError, OSError, AssertionError) as error:
        run.problem = "%s: %s" % (type(error).__name__, error)
    finally:
        run.device.power_off()
    gc.collect()
    return run


def swept(world, healthy, every, seed=0, first_only=False):
    """{"effects", "lives", "problems", "count"}, with cuts at every `every`th effect, the last first; a bad release's
    begin elsewhere."""
    clean = live(world, healthy)
    problems = [[[], clean.problem]] if clean.problem else []
    effects, lives = clean.device.effects, 1
    for at in range(effects - (seed + (0 if healthy else every // 2)) % every, 0, -every):
        for way in WAYS:
            if problems and first_only:
                break
            lives += 1
            run = live(world, healthy, {at: way})
            if run.problem:
                problems.append([[[at, way]], run.problem])
    return {"effects": effects, "lives": lives, "count": len(problems), "problems": problems[:5]}


def main(path, every, seed=0, defect=""):
    """Prints one JSON object for a good release, and one for a bad one; with `defect`, the first problem ends it."""
    random.seed(seed)
    world = sweep.load_world(path)
    remembered.signatures()
    memory.Device = Device
    if defect:
        sweep.plant(defect)
    for healthy in sweep.kinds(world):
        found = swept(world, healthy, every, seed, bool(defect))
        print(json.dumps(found))
        if defect and found["count"]:
            break


def one(path, healthy, cuts):
    """One life: prints each effect, then how it ended."""
    memory.Device = Device
    run = live(sweep.load_world(path), healthy, dict(cuts))
    for number in range(len(run.device.trace)):
        print(json.dumps([number + 1, run.device.trace[number]]))
    print(json.dumps({"problem": run.problem, "boots": run.boots, "job": run.cloud.job["state"]}))
