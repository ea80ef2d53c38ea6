# SPDX-License-Identifier: MIT
"""Lives of an ESP32 that updates its firmware, with the power cut where the test says.

The update machine is the real one; around it stands the least shell that
carries its commands out over `Esp32Slots` on the simulated board.  At each boot
it is judged what the adapter says against what is in flash, read by the boot
loader's model, which shares no line with the adapter.
"""

import gc
import hashlib
import json
import sys

from agent import states, update
from agent.errors import AgentError, MisuseError
from contract_slots import fill
from platform_adapters import memory_esp32_boot as loader
from platform_adapters.esp32_slots import Esp32Slots
from platform_adapters.memory_esp32 import AFTER, BEFORE, TORN, Board, Illegal, PowerCut, image
from platform_adapters.memory_power import Reset

MAX_BOOTS = 12
SYNC_EVERY = 1100  # bytes; so that progress stands in the middle of sectors, too
CHUNK = 550
LABELS = {"a": "ota_0", "b": "ota_1"}
WAYS = ((BEFORE, 0), (AFTER, 0), (TORN, 0), (TORN, 40), (TORN, 97))

FAST = sys.implementation.name != "micropython"

GOOD, SICK, CRASHING = "good", "sick", "crashing"


def firmware(version):
    return image(bytes([version]) * 2100 + bytes(range(256)) * 9)


IMAGES = {"%d.0.0" % n: firmware(n) for n in (1, 2, 3)}


def tidy():
    """Before a new board, which wants its flash in large pieces; a large heap does not need it."""
    if not FAST:
        gc.collect()


def sha256(data):
    return hashlib.sha256(data).digest().hex()


def release(version):
    data = IMAGES[version]
    return {"version": version, "sha256": sha256(data), "length": len(data), "security": 0, "kind": "firmware"}


OLD = image(b"old firmware" * 300)
NEW = image(b"new firmware" * 400)


def note(data=NEW, version="2.0.0"):
    return {"kind": "firmware", "version": version, "length": len(data)}


class World:
    """For `contract_slots`, and for a test that looks closer."""

    illegal = (MisuseError, Illegal)
    image = NEW
    about = {"kind": "firmware", "length": len(NEW)}
    head = 0
    cuts = (4095, 4096, 4097)
    trial_boots = 1

    def __init__(self, board=None, make=Esp32Slots):
        tidy()
        self.board = board or Board()
        self.board.install("ota_0", OLD)
        self.make = make

    def boot(self):
        esp32 = self.board.power_on()
        self.slots = self.make(esp32.Partition, esp32.store)
        return self.slots

    def limit(self, size):
        self.slots.capacity = lambda: size

    def states(self):
        """[(slot, state)] of the entries that are whole, the newest first."""
        found = [entry for entry in loader.otadata(self.board) if loader.whole(entry)]
        return [("ab"[(entry[0] - 1) % 2], entry[2]) for entry in sorted(found, key=lambda entry: -entry[0])]


class Life:
    """A board that runs 1.0.0 and is offered `versions`, one after the other; what they do on trial is `behaviour`."""

    def __init__(self, versions, behaviour=GOOD, cuts=None, torn=50, slots=Esp32Slots):
        tidy()
        self.board = Board(slot_bytes=2 * 4096)
        self.board.install("ota_0", IMAGES["1.0.0"])
        self.board.power_on().store.save("journal", b"")
        self.board.effects, self.board.trace, self.board.boots = 0, [], 0
        self.board.cuts, self.board.torn = cuts or {}, torn
        self.versions, self.behaviour, self.make = versions, behaviour, slots
        self.confirmed = None  # the version whose confirm returned
        self.told = []  # outcomes
        self.problem = ""

    def live(self):
        while not self.problem:
            if self.board.boots >= MAX_BOOTS * len(self.versions):
                self.problem = "no rest after %d boots" % self.board.boots
                break
            try:
                self.boot()
                if not self.problem:
                    self.judge_end()
                break
            except (PowerCut, Reset):
                continue
            except Illegal as error:
                self.problem = "illegal: %s" % error
            except AgentError as error:
                self.problem = "an error reached the app: %s" % error
        return self.problem

    def boot(self):
        esp32 = self.board.power_on()
        self.store, self.slots = esp32.store, self.make(esp32.Partition, esp32.store)
        self.judge()
        if self.problem:
            return
        kept = self.store.load("journal")
        self.state = json.loads(kept) if kept else states.initial("1.0.0", sha256(IMAGES["1.0.0"]))
        told = dict(self.slots.state(), slot=self.slots.running())
        self.event(("booted", told))
        while self.state["phase"] == update.IDLE:
            refused = [r[0] for r in self.state["refused"]]
            wanted = [v for v in self.versions if v > self.state["version"] and sha256(IMAGES[v]) not in refused]
            if not wanted or "rolled_back" in self.told:
                return
            self.event(("offered", release(wanted[0])))

    def event(self, event):
        before = self.state
        self.state, commands = update.step(before, event)
        for command in commands:
            self.carry_out(command)

    def carry_out(self, command):
        name = command[0]
        if name == "save":
            report = command[2]
            if report:
                self.told.append(report["outcome"])
            self.store.save("journal", json.dumps(command[1]).encode())
            if report and report["outcome"] == "rolled_back" and self.behaviour == GOOD:
                self.problem = "a good release was given up: %s" % report["reason"]
        elif name == "ask":
            self.event(("consented", self.slots.spare()))
        elif name == "fetch":
            self.fetch()
            self.event(("fetched",))
        elif name == "activate":
            self.slots.activate()
        elif name == "check":
            if self.behaviour == CRASHING:
                raise Reset("the image crashed")
            self.event(("healthy",) if self.behaviour == GOOD else ("failed", -1, "sick", True))
        elif name == "confirm":
            self.slots.confirm()
            self.confirmed = self.state["version"]
        elif name == "rollback":
            self.slots.rollback()
        elif name == "reboot":
            self.board.life.end(by_reset=True)
            raise Reset(command[1])

    def fetch(self):
        wanted, slots = self.state["release"], self.slots
        data = IMAGES[wanted["version"]]
        note = slots.release(slots.spare())
        if not note or note["sha256"] != wanted["sha256"]:
            slots.begin(wanted)
        at = slots.filled()
        while at < len(data):
            piece = data[at : min(at + CHUNK, at - at % SYNC_EVERY + SYNC_EVERY)]
            slots.write(at, piece)
            at += len(piece)
            if at % SYNC_EVERY == 0:
                slots.sync()
        slots.sync()
        if self.read(slots.spare()) != data:
            self.problem = "the slot does not read back as written"

    def read(self, slot):
        data = b""
        while True:
            piece = self.slots.read(slot, len(data), 1024)
            if not piece:
                return data
            data += piece

    def judge(self):
        """What the adapter says at the start of a boot, against the flash."""
        board, slots = self.board, self.slots
        entries = loader.otadata(board)
        here = entries[loader.active(entries)]
        spare = slots.spare()
        note = slots.release(spare)
        flash = bytes(board.flash[LABELS[spare]])
        if LABELS[slots.running()] != board.running:
            self.problem = "it says that %s runs" % slots.running()
        elif slots.state()["confirmed"] != (here[2] == loader.VALID):
            self.problem = "it says confirmed in state %d" % here[2]
        elif note and flash[: slots.filled()] != IMAGES[note["version"]][: slots.filled()]:
            self.problem = "progress is ahead: %d" % slots.filled()
        elif self.read(slots.running()) not in IMAGES.values():
            self.problem = "the running image does not read back"
        elif self.confirmed and self.read(slots.running()) < IMAGES[self.confirmed]:
            self.problem = "%s was confirmed and does not run" % self.confirmed

    def judge_end(self):
        last = self.versions[-1] if self.behaviour == GOOD else "1.0.0"
        label = self.board.running
        entries = loader.otadata(self.board)
        if bytes(self.board.flash[label])[: len(IMAGES[last])] != IMAGES[last]:
            self.problem = "it ends on another image than " + last
        elif entries[loader.active(entries)][2] != loader.VALID or not self.slots.state()["confirmed"]:
            self.problem = "it ends unconfirmed"
        elif self.state["version"] != last:
            self.problem = "it believes to run " + self.state["version"]
        elif self.behaviour == SICK and not self.state["refused"]:
            self.problem = "a sick release is not refused"


def sweep(versions, behaviour, slots=Esp32Slots, second_after=0, first_only=False, shown=None):
    """(effects of the clean life, lives, problems).  `second_after`: how many effects later the power goes again.

    On MicroPython, where a life takes ten times as long, each effect is cut in two of the five ways, by turns."""
    clean = Life(versions, behaviour, slots=slots)
    problems = ["clean: " + clean.problem] if clean.live() else []
    lives = 1
    for at in range(1, clean.board.effects + 1):
        for way, torn in WAYS if FAST else (WAYS[at % 5], WAYS[(at + 2) % 5]):
            if problems and first_only:
                return clean.board.effects, lives, problems
            cuts = {at: way}
            if second_after:
                cuts[at + second_after] = way
            life = None
            life = Life(versions, behaviour, cuts, torn, slots)
            lives += 1
            if life.live():
                problems.append("%s %d at effect %d: %s" % (way, torn, at, life.problem))
                if shown is not None:
                    shown.append([[[one, cuts[one], torn] for one in sorted(cuts)], life.problem])
    return clean.board.effects, lives, problems


def main(seconds):
    """Prints one JSON object for each behaviour.  `seconds`: how many effects later the power goes again, 0 for never."""
    for behaviour in (GOOD, CRASHING, SICK):
        effects, lives, count, shown = 0, 0, 0, []
        for second in seconds if behaviour == GOOD else (0,):
            effects, more, problems = sweep(["2.0.0"], behaviour, second_after=second, shown=shown)
            lives += more
            count += len(problems)
        shown = shown or [[[], "the clean life"]] * count
        shown.sort(key=lambda one: len(one[0]))
        print(
            json.dumps({"kind": behaviour, "effects": effects, "lives": lives, "count": count, "problems": shown[:5]})
        )


def one(behaviour, cuts):
    """One life: prints each effect, then how it ended."""
    life = Life(["2.0.0"], behaviour, {at: way for at, way, _ in cuts}, cuts[0][2] if cuts else 50)
    problem = life.live()
    for number, name in enumerate(life.board.trace):
        print(json.dumps([number + 1, name, life.board.cuts.get(number + 1, "")]))
    print(json.dumps({"problem": problem, "boots": life.board.boots, "told": life.told}))


def torn_tail(make=Esp32Slots):
    """A write behind the last sync is torn, and its bytes were wrong ones; the download goes on and is cut at each effect."""
    for synced in (0, 1, 255, 300, 4095, 4096, 4100):
        for torn in (0, 30, 99):
            at = 1
            while at:
                problem, cut = _torn_tail(make, synced, torn, at)
                if problem:
                    return "%d synced, torn %d, effect %d: %s" % (synced, torn, at, problem)
                at = at + 1 if cut and at < 12 else 0
    return ""


def _torn_tail(make, synced, torn, at):
    """(problem, whether there was an effect `at`)."""
    world = World(make=make)
    board, slots = world.board, world.boot()
    slots.begin(note())
    slots.write(0, NEW[:synced])
    slots.sync()
    board.cuts, board.torn = {board.effects + (2 if synced % 4096 == 0 else 1): TORN}, torn
    try:
        slots.write(synced, (NEW[synced : max(synced, 24)] + b"wrong" * 999)[: len(NEW) - synced])
        slots.sync()
    except PowerCut:
        pass
    slots = world.boot()
    if slots.filled() != synced:
        return "%d count" % slots.filled(), True
    board.cuts = {board.effects + at: TORN}
    try:
        rest(slots)
        cut = False
    except PowerCut:
        cut = True
        slots = world.boot()
        if bytes(board.flash["ota_1"][: slots.filled()]) != NEW[: slots.filled()]:
            return "progress is ahead: %d" % slots.filled(), True
    except Illegal as error:
        return "illegal: %s" % error, True
    try:
        rest(slots)
    except Illegal as error:
        return "illegal: %s" % error, True
    whole = bytes(board.flash["ota_1"][: len(NEW)]) == NEW
    return "" if whole else "the image is damaged", cut


def rest(slots):
    for at in range(slots.filled(), len(NEW), 3000):
        slots.write(at, NEW[at : at + 3000])
        slots.sync()


def take_back(make=Esp32Slots):
    """Slot "b" runs, a release in "a" is activated, and another one begun; cut at each effect.  The problem, or ""."""
    at = 1
    while True:
        for way, torn in WAYS:
            world = World(make=make)
            board, slots = world.board, world.boot()
            fill(slots, note=note(), image=NEW, step=2000)
            slots.activate()
            world.boot().confirm()
            fill(world.slots, note=note(OLD, "3.0.0"), image=OLD, step=2000)
            world.slots.activate()
            board.cuts, board.torn = {board.effects + at: way}, torn
            try:
                world.slots.begin(note(OLD, "4.0.0"))
                return ""  # all of its effects have been cut
            except PowerCut:
                problem = _taken_back(world)
            except Illegal as error:
                problem = "illegal: %s" % error
            if problem:
                return "%s %d at effect %d: %s" % (way, torn, at, problem)
        at += 1


def _taken_back(world):
    try:
        slots = world.boot()
        if slots.running() == "b":
            return "" if slots.state()["confirmed"] else "the running image lost its confirmation"
        if slots.state()["confirmed"]:
            return "an image runs unconfirmed and is said to be"
        slots = world.boot()  # its trial ends
        return "" if slots.running() == "b" and slots.state()["confirmed"] else "there is no way back from the trial"
    except Illegal as error:
        return "illegal: %s" % error
