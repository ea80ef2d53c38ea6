# SPDX-License-Identifier: MIT
"""Lives of a Raspberry Pi: one whole update, with the power cut at each change of a medium, judged at each boot.

The agent's journal is played by `Life.phase`, which never fails: the journal has its own sweep.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import medium
from pi import MODULES, NEW, OLD, OTHER, Dead, Pi

from agent.errors import AgentError
from agent.wire import appimage
from contract_slots import contents

HEALTHY, CRASHING, REFUSING = "healthy", "crashing", "refusing"
KINDS = (HEALTHY, CRASHING, REFUSING)
MAX_BOOTS = 12
CHUNK = 1500
IMAGES = {"1.0.0": appimage.build(OLD), "2.0.0": appimage.build(NEW), "3.0.0": appimage.build(OTHER)}
CUTS = [(medium.BEFORE, outcome) for outcome in medium.OUTCOMES] + [(medium.TORN, medium.KEEP)]


class Broken(Exception):
    """A promise was not kept."""


class Life:
    """First 3.0.0 is activated; before the reset comes 2.0.0 instead, and that one is tried.

    `promised`: what has returned; `allowed`: the same after the call that is under way.
    """

    def __init__(self, root: str, kind: str):
        self.pi = Pi(root)
        self.kind = kind
        self.phase, self.wanted = "fetching", "3.0.0"
        self.promised = self.allowed = {"default": "a", "noted": None, "synced": 0}
        self.finishing: str | None = None
        self.problem = ""

    def plug(self, monkeypatch) -> None:
        for module in MODULES:
            monkeypatch.setattr(module, "os", self.pi.medium)

    def live(self, cuts=()) -> bool:
        """`cuts`: (at which effect of its boot sequence, how, what is left); each counts from the one before."""
        self.cuts = list(cuts)
        self.arm()
        for _ in range(MAX_BOOTS):
            try:
                if not self.boot():
                    self.pi.reset()
                elif not self.pi.medium.cut_at:
                    return True
                else:
                    raise medium.PowerCut  # at rest
            except medium.PowerCut:
                self.pi.slots = None
                self.pi.medium.settle(self.outcome)
                self.arm()
            except (Broken, Dead, AgentError, OSError) as error:
                self.problem = "%s: %s" % (type(error).__name__, error)
                self.pi.let_go()
                return False
        self.problem = "no rest after %d boots" % MAX_BOOTS
        return False

    def arm(self) -> None:
        self.pi.medium.cut_at = 0
        if self.cuts:
            self.pi.medium.cut_at, self.pi.medium.cut_way, self.outcome = self.cuts.pop(0)

    def doing(self, **changes) -> None:
        self.allowed = {**self.promised, **changes}

    def done(self, **changes) -> None:
        self.promised = self.allowed = {**self.promised, **changes}

    def boot(self) -> bool:
        slots = self.slots = self.pi.power_on()
        self.judge()
        if not slots.state()["confirmed"]:
            return self.trial()
        if self.phase in ("confirmed", "refused"):
            return True
        if self.phase == "trial":
            if slots.running() == "b":
                self.phase = "confirmed"  # the cut came between confirm and this
            else:
                self.phase = "staged" if self.kind == HEALTHY else "refused"
            return self.boot_again(self.phase != "staged")
        if self.phase == "fetching":
            self.fetch()
        slots.activate()
        if self.wanted == "3.0.0":
            self.phase, self.wanted = "fetching", "2.0.0"
            self.begin()
            self.fetch()
            slots.activate()
        return False

    def boot_again(self, resting: bool) -> bool:
        if resting:
            self.judge()
            if self.slots.running() != ("b" if self.kind == HEALTHY else "a"):
                raise Broken("it rests in slot %s" % self.slots.running())
        return resting

    def begin(self) -> None:
        note = {"version": self.wanted, "kind": "system", "size": len(IMAGES[self.wanted])}
        self.doing(noted=None, synced=0)
        self.finishing = self.wanted  # the note appears somewhere in between
        self.slots.begin(note)
        self.finishing = None
        self.done(noted=self.wanted, synced=0)

    def fetch(self) -> None:
        slots, image = self.slots, IMAGES[self.wanted]
        if (slots.release("b") or {}).get("version") != self.wanted:
            self.begin()
        at = slots.filled()
        while at < len(image):
            slots.write(at, image[at : at + CHUNK])
            at = min(at + CHUNK, len(image))
            self.doing(synced=at)
            slots.sync()
            self.done(synced=at)
        if contents(slots, "b", 4096) != image:
            raise Broken("the spare slot does not hold what was written")
        self.phase = "staged"

    def trial(self) -> bool:
        slots = self.slots
        if slots.running() != "b":
            raise Broken("on trial: %s" % slots.running())
        self.phase = "trial"
        if self.kind == HEALTHY:
            self.doing(default="b")
            slots.confirm()
            self.done(default="b")
            self.phase = "confirmed"
            return self.boot_again(True)
        if self.kind == REFUSING:
            slots.rollback()
        return False

    def judge(self) -> None:
        """Compare what there is with what was promised."""
        before, after, slots = self.promised, self.allowed, self.slots
        found = {**before, "default": {2: "a", 3: "b"}[self.pi.chosen(False)]}
        if contents(slots, slots.running(), 4096) != IMAGES["1.0.0" if slots.running() == "a" else "2.0.0"]:
            raise Broken("slot %s runs, and is not its image" % slots.running())
        if slots.running() == "a":
            version = found["noted"] = (slots.release("b") or {}).get("version")
            filled = found["synced"] = slots.filled()
            if filled < min(before["synced"], after["synced"]):
                raise Broken("%d filled, %d promised" % (filled, before["synced"]))
            if version and contents(slots, "b", 4096)[:filled] != IMAGES[version][:filled]:
                raise Broken("%d of %s filled, and they are not there" % (filled, version))
        if found["default"] not in (before["default"], after["default"]):
            raise Broken("the default is %s, promised %s" % (found["default"], before["default"]))
        if found["noted"] not in (before["noted"], after["noted"], self.finishing):
            raise Broken("the note is for %s, promised %s" % (found["noted"], before["noted"]))
        if not all(self.pi.trials):
            raise Broken("a trial of a slot that does not boot")
        self.finishing = None
        self.done(**found)


def sweep(
    folder: Path, monkeypatch, kind: str, every: int = 1, second: int = 0, first_only: bool = False, seed: int = 0
) -> dict:
    """Lives with a cut at every `every`th change, and at all of autoboot.txt; with `second`, again at every so many of
    what follows.  Each kind begins elsewhere; up to the trial all are alike."""
    lives, problems = 0, []

    def live(*cuts) -> Life:
        nonlocal lives
        lives += 1
        life = Life(str(folder / ("%s-%d" % (kind, lives))), kind)
        life.plug(monkeypatch)
        if not life.live(cuts):
            problems.append([cuts, life.problem])
        shutil.rmtree(life.pi.root)
        return life

    clean = live()
    effects = list(clean.pi.medium.effects)
    effects.append("end autoboot")
    for at in range(1, len(effects) + 1):
        if (at + KINDS.index(kind) + seed) % every and "autoboot" not in effects[at - 1]:
            continue
        for way, outcome in CUTS:
            if way == medium.TORN and not effects[at - 1].startswith("write"):
                continue
            if problems and first_only:
                break
            life = live((at, way, outcome))
            for again in range(1 + at % second, len(life.pi.medium.effects) + 1, second) if second else ():
                live((at, way, outcome), (again, medium.BEFORE, outcome))
    return {"kind": kind, "effects": len(effects) - 1, "lives": lives, "count": len(problems), "problems": problems[:5]}


def in_ram() -> str | None:
    """Where there is RAM for thousands of small files that come and go."""
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def main(depths: list[tuple[int, int]], seed: int = 0, defect: str = "") -> None:
    """Prints one JSON object for each kind; with `defect`, that is planted, and the first problem ends it."""
    import defects
    import pytest

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir=in_ram(), prefix="trueboot-") as folder:
        if defect:
            defects.plant(defect, patch)
        for kind in KINDS:
            found = [sweep(Path(folder), patch, kind, every, second, bool(defect), seed) for every, second in depths]
            total = found[0] | {name: sum(one[name] for one in found) for name in ("lives", "count")}
            total["problems"] = sorted((p for one in found for p in one["problems"]), key=lambda one: len(one[0]))[:5]
            print(json.dumps(total), flush=True)
            if defect and total["count"]:
                break


def one(kind: str, cuts: list) -> None:
    """One life: prints each change of the medium since the last cut, then how it ended."""
    import pytest

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir=in_ram(), prefix="trueboot-") as folder:
        life = Life(folder + "/pi", kind)
        life.plug(patch)
        life.live([tuple(cut) for cut in cuts])
        for number, effect in enumerate(life.pi.medium.effects, 1):
            print(json.dumps([number, effect]))
        print(json.dumps({"problem": life.problem, "trials": life.pi.trials}))
