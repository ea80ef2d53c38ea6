# SPDX-License-Identifier: MIT
"""App slots on a real littlefs, over NOR flash in RAM whose power is cut at every program and erase.  MicroPython only.

A life is one whole update, good or bad, of a device with nothing but what it
finds on its flash: journal, slots, boot record, and the trampoline's choice.
The clean life's flash operations are recorded, with what had been promised
after each.  Then the flash is put as it was at each operation, done, not done
or torn, the file system is mounted anew, and the same device goes on; again
with a second cut in that recovery.  What is judged at each boot:

  * it mounts, and what boots is a whole image, the right one (no brick);
  * whatever had returned before the cut is so, and nothing else (no lie);
  * progress is not behind what `sync` promised, nor ahead of what is there.

The flash is stricter than real: a program that would set a bit is refused, a
torn erase leaves noise.
"""

import gc
import io
import json
import os
import random

import vfs

import contract_slots
from agent import journal
from agent.errors import AgentError, DeviceError, MisuseError
from agent.wire import appimage
from platform_adapters import bootrecord, dirslots, files, filestore

AT = "/flash"
BLOCK = 4096
BLOCKS = 52
MAX_BOOTS = 12
CHUNK = 700
OLD = appimage.build({"main.py": b"version = 1\n"})
NEW = appimage.build(
    {"lib/big.py": b"x = 1\n" * 250, "lib/empty.py": b"", "lib/small.py": b"y = 2\n", "main.py": b"version = 2\n" * 60}
)
NOTE = {"version": "2.0.0", "size": len(NEW)}
DONE, NOT_DONE, TORN_EARLY, TORN_LATE = 0, 1, 2, 3
WAYS = (NOT_DONE, TORN_EARLY, TORN_LATE)  # an operation that was done is the next one, not done
HEALTHY, CRASHING, REFUSING = "healthy", "crashing", "refusing"
KINDS = (HEALTHY, CRASHING, REFUSING)
GEOMETRIES = {"pico": 256, "esp32": 32}  # bytes that littlefs programs at a time there


class Journal:
    """As the agent keeps it: `record` is the state as last saved."""

    def __init__(self, store):
        self._store = store
        self.record = journal.load(store)

    def save(self, **changes):
        record = changed(self.record, changes)
        journal.save(self._store, record)
        self.record = record


class Broken(Exception):
    """A promise was not kept."""


class Flash:
    """A block device of MicroPython, with the rules of NOR flash.  `log` collects (address, bytes or None for an erase)."""

    def __init__(self, data=None):
        self.data = bytearray(b"\xff" * (BLOCK * BLOCKS)) if data is None else data
        self.log = []
        self.erases = self.programs = self.programmed = 0

    def readblocks(self, block, buffer, offset=0):
        at = block * BLOCK + offset
        buffer[:] = memoryview(self.data)[at : at + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        at = block * BLOCK + offset
        new, old = bytes(buffer), bytes(memoryview(self.data)[at : at + len(buffer)])
        if int.from_bytes(new, "big") | int.from_bytes(old, "big") != int.from_bytes(old, "big"):
            raise Broken("flash: a program sets bits, at %d" % at)
        self.programs += 1
        self.programmed += len(new)
        self._do((at, new))

    def ioctl(self, what, argument):
        if what == 4:
            return BLOCKS
        if what == 5:
            return BLOCK
        if what == 6:
            self.erases += 1
            self._do((argument * BLOCK, None))
        return 0

    def _do(self, operation):
        self.log.append(operation)
        carry_out(operation, self.data, DONE)


def carry_out(operation, data, way):
    at, new = operation
    if way == NOT_DONE:
        return
    erase = new is None
    if erase:
        new = b"\xff" * BLOCK
    whole = len(new) if way == DONE else len(new) // 8 if way == TORN_EARLY else len(new) - 1 - len(new) // 8
    data[at : at + whole] = memoryview(new)[:whole]
    if way == DONE:
        return
    if erase:  # cells half way up: any of the missing bits
        for index in range(at + whole, at + len(new)):
            data[index] |= random.getrandbits(8)
    else:  # the byte at the tear: some of its bits
        data[at + whole] &= new[whole] | random.getrandbits(8)


class Sectors:
    """A block device for FAT: sectors that are written over in place."""

    SECTOR = 512

    def __init__(self, data=None):
        self.data = bytearray(BLOCK * BLOCKS) if data is None else data
        self.log = []
        self.erases = self.programs = self.programmed = 0

    def readblocks(self, block, buffer):
        at = block * self.SECTOR
        buffer[:] = memoryview(self.data)[at : at + len(buffer)]

    def writeblocks(self, block, buffer):
        at = block * self.SECTOR
        self.programs += 1
        self.programmed += len(buffer)
        self.log.append((at, bytes(buffer)))
        self.data[at : at + len(buffer)] = buffer

    def ioctl(self, what, argument):
        return len(self.data) // self.SECTOR if what == 4 else self.SECTOR if what == 5 else 0


class World:
    """A mounted flash, and what was promised by it.

    promised   what has returned: "journal", "record": the last saved; "noted", "synced": of the spare slot;
               "boots": "a", "b", or "trial" of b; "attempts", "ran": trial boots that were begun, and that got to run
    allowed    the same after the call that is under way
    history    both, whenever they change, with the operations done by then
    """

    def __init__(self, geometry, data=None, promised=None, allowed=None):
        self.geometry = geometry
        self.flash = Sectors(data) if geometry == "fat" else Flash(data)
        if data is None and geometry == "fat":
            vfs.VfsFat.mkfs(self.flash)
        elif data is None:
            vfs.VfsLfs2.mkfs(self.flash, progsize=GEOMETRIES[geometry])
        self.flash.log = []
        nothing = {"journal": 0, "record": 0, "noted": False, "synced": 0, "boots": "a", "attempts": 0, "ran": 0}
        self.promised = promised or nothing
        self.allowed = allowed or self.promised
        self.history = [(0, self.promised, self.allowed)]

    def mount(self):
        if self.geometry == "fat":
            vfs.mount(vfs.VfsFat(self.flash), AT)
        else:
            vfs.mount(vfs.VfsLfs2(self.flash, progsize=GEOMETRIES[self.geometry]), AT)

    def doing(self, **changes):
        self._note(self.promised, changed(self.promised, changes))

    def done(self, **changes):
        promised = changed(self.promised, changes)
        self._note(promised, promised)

    def count(self, name):
        """One more, done or not."""
        more = {name: self.promised[name] + 1}
        self._note(changed(self.promised, more), changed(self.allowed, more))

    def _note(self, promised, allowed):
        self.promised, self.allowed = promised, allowed
        self.history.append((len(self.flash.log), promised, allowed))


def changed(before, changes):
    after = dict(before)
    after.update(changes)
    return after


class Device:
    """One boot of a device that knows what its flash tells, and no more."""

    def __init__(self, world):
        self.world = world
        if "trial" in (world.promised["boots"], world.allowed["boots"]):
            world.count("attempts")
        self.slot, self.on_trial = bootrecord.start(AT + "/state")
        if self.on_trial:
            world.count("ran")
        self.slots = dirslots.DirSlots(AT + "/slots", AT + "/state", self.slot)
        self.store = filestore.FileStore(AT + "/state/store")
        self.record = journal.load(self.store)

    def judge(self):
        """Compare what there is with what was promised."""
        before, after = self.world.promised, self.world.allowed
        found = {
            "journal": self.record.get("count", 0),
            "record": json.loads(self.store.load("record") or b"0"),
            "boots": self.slot if self.slots.state()["confirmed"] else "trial",
        }
        if found["boots"] == "a" and before["attempts"] > bootrecord.TRIAL_BOOTS:
            before = changed(before, {"boots": "a"})
        for name in found:
            if found[name] not in (before[name], after[name]):
                raise Broken("%s: %s, promised %s" % (name, found[name], before[name]))
        if before["ran"] > bootrecord.TRIAL_BOOTS:
            raise Broken("a trial ran %d times" % before["ran"])
        if contents(self.slots, self.slot) != (OLD if self.slot == "a" else NEW):
            raise Broken("slot %s boots, and is not its image" % self.slot)
        if self.slot == "a":
            found.update(self.judge_spare())
        self.world.done(**found)

    def judge_spare(self):
        before, after = self.world.promised, self.world.allowed
        noted, filled = self.slots.release("b") == NOTE, self.slots.filled()
        if noted not in (before["noted"], after["noted"]):
            raise Broken("the note is there: %s, promised %s" % (noted, before["noted"]))
        if filled < min(before["synced"], after["synced"]):
            raise Broken("%d filled, %d promised" % (filled, before["synced"]))
        if contents(self.slots, "b")[:filled] != NEW[:filled]:
            raise Broken("%d filled, and they are not there" % filled)
        return {"noted": noted, "synced": filled}

    def live(self, kind):
        """Whether the device is at rest; if not, it wants a reset."""
        phase = self.record.get("phase", "idle")
        if phase in ("confirmed", "refused"):
            return True
        if self.on_trial:
            return self.trial(kind)
        if phase == "trial" and self.slot == "b":
            self.save(phase="confirmed")  # the cut came between confirm and this
            return True
        if phase == "trial":
            self.save(phase="staged" if kind == HEALTHY else "refused")
            return kind != HEALTHY
        if phase == "idle":
            self.save(phase="fetching", regret=1)
        if phase in ("idle", "fetching"):
            self.fetch()
        self.activate()
        if self.record["regret"]:  # another release came before the reset
            self.save(phase="fetching", regret=0)
            self.begin()
            self.fetch()
            self.activate()
        return False

    def save(self, **changes):
        count = self.record.get("count", 0) + 1
        self.world.doing(journal=count)
        record = changed(self.record, changes)
        record["count"] = count
        journal.save(self.store, record)
        self.record = record
        self.world.done(journal=count)
        self.world.doing(record=count)
        self.store.save("record", json.dumps(count).encode())
        self.world.done(record=count)

    def begin(self):
        self.world.doing(boots="a", noted=not self.world.promised["noted"], synced=0)
        self.slots.begin(NOTE)
        self.world.done(boots="a", noted=True, synced=0, attempts=0, ran=0)

    def fetch(self):
        slots = self.slots
        if slots.release("b") != NOTE:
            self.begin()
        at = slots.filled()
        while at < len(NEW):
            for _ in range(2):
                slots.write(at, NEW[at : at + CHUNK])
                at += len(NEW[at : at + CHUNK])
            self.world.doing(synced=at)
            slots.sync()
            self.world.done(synced=at)
        if contents(slots, "b") != NEW:
            raise Broken("the spare slot does not hold what was written")
        self.save(phase="staged")

    def activate(self):
        self.world.doing(boots="trial")
        self.slots.activate()
        self.world.done(boots="trial", attempts=0, ran=0)

    def trial(self, kind):
        if self.record["phase"] != "trial":
            self.save(phase="trial")
        if kind == HEALTHY:
            self.world.doing(boots="b")
            self.slots.confirm()
            self.world.done(boots="b", attempts=0)
            self.save(phase="confirmed")
        elif kind == REFUSING:
            self.world.doing(boots="a")
            self.slots.rollback()
            self.world.done(boots="a", attempts=0)
        else:
            bootrecord.save(AT + "/state", bootrecord.fail(bootrecord.load(AT + "/state"), "ValueError main.py:1"))
        return kind == HEALTHY


def contents(slots, slot):
    return contract_slots.contents(slots, slot, 4096)


def live(world, kind):
    """Boot until the device rests, in the right slot."""
    for _ in range(MAX_BOOTS):
        world.mount()
        try:
            device = Device(world)
            device.judge()
            resting = device.live(kind)
            if resting:
                device.judge()
                if device.record["phase"] != ("confirmed" if kind == HEALTHY else "refused"):
                    raise Broken("it believes to be %s" % device.record["phase"])
                if device.slot != ("b" if kind == HEALTHY else "a") or not device.slots.state()["confirmed"]:
                    raise Broken("it rests in slot %s" % device.slot)
                return
        finally:
            vfs.umount(AT)
    raise Broken("no rest after %d boots" % MAX_BOOTS)


def problem(world, kind):
    """What a life came to, or ""."""
    try:
        live(world, kind)
    except (Broken, AgentError, OSError, ValueError) as error:  # ValueError: FAT gives back names that are none
        return "%s: %s" % (type(error).__name__, error)
    finally:
        gc.collect()
    return ""


def new_device(geometry, image=OLD, note=None):
    """The flash of a device as it leaves the factory."""
    world = World(geometry)
    world.mount()
    files.make_folder(AT + "/state")
    slots = dirslots.DirSlots(AT + "/slots", AT + "/state", "a")
    contract_slots.fill(slots, image, 4096, note or {"version": "1.0.0"})
    os.rename(AT + "/slots/b", AT + "/slots/a")
    vfs.umount(AT)
    return world.flash.data


class Sweep:
    """Lives of one kind, with the power cut at every `every`th operation, and again at every `second`th of the recovery.

    Each kind begins elsewhere; up to the trial all are alike, so that with 3 they cut everywhere.
    """

    def __init__(self, geometry, kind, every, second, first_only=False):
        self.geometry, self.kind, self.second, self.first_only = geometry, kind, second, first_only
        self.lives, self.problems = 1, []
        data = new_device(geometry)
        self.clean = World(geometry, bytearray(data))
        found = problem(self.clean, kind)
        if found:
            self.problems.append(["clean", found])
        elif every:
            self.cut(self.clean, data, every, [])

    def cut(self, world, data, every, before):
        """Live on from each operation of `world`, which began with `data`."""
        log, history = world.flash.log, world.history
        entry = 0
        for index in range(len(log)):
            if self.problems and self.first_only:
                return
            while entry + 1 < len(history) and history[entry + 1][0] <= index:
                entry += 1
            if (index + KINDS.index(self.kind) + len(before)) % every == 0:
                for way in WAYS:
                    self.recover(log[index], data, way, history[entry], before + [index, way])
            carry_out(log[index], data, DONE)

    def recover(self, operation, data, way, entry, where):
        after = bytearray(data)
        carry_out(operation, after, way)
        again = World(self.geometry, bytearray(after), entry[1], entry[2])
        found = problem(again, self.kind)
        self.lives += 1
        if found:
            self.problems.append([where, found])
        elif self.second and len(where) == 2:
            self.cut(again, after, self.second, where)


def one(geometry, kind, cuts):
    """One life: prints each operation with what became of it, then how it ended.  `cuts`: index, way, and again."""
    data = new_device(geometry)
    world = World(geometry, bytearray(data))
    found = problem(world, kind)
    for number in range(0, len(cuts), 2):
        at, log, history = cuts[number], world.flash.log, world.history
        for index in range(at):
            print(json.dumps([index, repr(log[index])[:60], "done"]))
            carry_out(log[index], data, DONE)
        print(json.dumps([at, repr(log[at])[:60], ("done", "not done", "torn early", "torn late")[cuts[number + 1]]]))
        entry = [one for one in history if one[0] <= at][-1]
        carry_out(log[at], data, cuts[number + 1])
        world = World(geometry, bytearray(data), entry[1], entry[2])
        found = problem(world, kind)
    print(json.dumps({"problem": found}))


def costs(geometry):
    """Flash operations of each call of one plain update: name -> [erases, programs, bytes]."""
    world = World(geometry, new_device(geometry))
    flash, found = world.flash, {}
    world.mount()
    device = Device(world)
    slots, before = device.slots, [0, 0, 0]

    def spent(name):
        now = [flash.erases, flash.programs, flash.programmed]
        found[name] = [now[i] - before[i] for i in range(3)]
        before[:] = now

    spent("start")
    journal.save(device.store, {"phase": "fetching"})
    spent("journal save")
    slots.begin(NOTE)
    spent("begin")
    for at in range(0, len(NEW), CHUNK):
        slots.write(at, NEW[at : at + CHUNK])
    spent("write")
    slots.sync()
    spent("sync")
    slots.activate()
    spent("activate")
    bootrecord.start(AT + "/state")
    spent("start on trial")
    slots = dirslots.DirSlots(AT + "/slots", AT + "/state", "b")
    slots.confirm()
    spent("confirm")
    vfs.umount(AT)
    found["image"] = [len(NEW), 4]
    print(json.dumps(found))


class OnFlash:
    """The world of the contract suite."""

    illegal = MisuseError

    def __init__(self):
        self._world = World("pico", new_device("pico"))
        self._world.mount()

    def boot(self):
        slot, _ = bootrecord.start(AT + "/state")
        self.slots = dirslots.DirSlots(AT + "/slots", AT + "/state", slot)
        return self.slots

    def limit(self, size):
        self.slots.capacity = lambda: size


def contract():
    """Prints the names of the checks that hold."""
    for check in contract_slots.CHECKS + [check_a_full_flash]:
        world = OnFlash()
        try:
            check(world)
        finally:
            vfs.umount(AT)
        del world
        gc.collect()
        print(check.__name__)


def check_a_full_flash(world):
    slots = world.boot()
    slots.begin(NOTE)
    slots.write(0, NEW[:CHUNK])
    slots.sync()
    with open(AT + "/filler", "wb") as filler:
        contract_slots.raises(OSError, lambda: [filler.write(bytes(BLOCK)) for _ in range(BLOCKS)])
        filler.flush()
    contract_slots.refused("slot_full", DeviceError, slots.write, CHUNK, NEW[CHUNK:])
    assert slots.filled() == CHUNK
    os.remove(AT + "/filler")
    slots.write(CHUNK, NEW[CHUNK:])
    slots.sync()
    slots.activate()
    assert world.boot().running() == "b"


def refusals():
    """The adapter starts on littlefs and on nothing lesser."""
    from platform_adapters import micropython_unix

    for system, code in (
        (World("pico", new_device("pico")), None),
        (World("fat"), "file_system"),
        (Unknown(), "file_system"),
    ):
        system.mount()
        try:
            with open(AT + "/trueboot.json", "w") as file:
                file.write("{}")
            try:
                micropython_unix.MicroPythonUnix(AT)
                found = None
            except DeviceError as error:
                found = error.code
                print(error)
        finally:
            vfs.umount(AT)
        assert found == code, (system, found)


class Unknown:
    """A file system of somebody's own, with one file."""

    def mount(self, *how):
        if not how:
            vfs.mount(self, AT)

    def umount(self):
        pass

    def open(self, path, mode):
        return io.StringIO() if "w" in mode else io.BytesIO(b"{}")

    def stat(self, path):
        return (0x8000, 0, 0, 0, 0, 0, 2, 0, 0, 0)


def main(geometry, every, second, mutant="", first_only=False):
    """Prints one JSON object for each kind of life; with `mutant`, that defect is planted."""
    random.seed(1)
    if mutant:
        __import__("littlefs_mutants").plant(mutant)
    if first_only and any(Sweep(geometry, kind, 0, 0).problems for kind in KINDS):
        every = 0  # a defect that shows without a cut
    for kind in KINDS:
        found = Sweep(geometry, kind, every, second, first_only)
        flash = found.clean.flash
        print(
            json.dumps(
                {
                    "kind": kind,
                    "operations": len(flash.log),
                    "erases": flash.erases,
                    "programs": flash.programs,
                    "programmed_bytes": flash.programmed,
                    "lives": found.lives,
                    "count": len(found.problems),
                    "problems": found.problems[:5],
                }
            )
        )
        if first_only and found.problems:
            return
