# SPDX-License-Identifier: MIT
"""The whole agent on the card of a Raspberry Pi: journal, trust, certificate and system slots as files of one medium.

The slots are those of `pi`, with its firmware; the store is the one that Linux has, on the data partition; time,
network and keys are the memory platform's, and what is sent counts as an effect like what is written.  The lives and
the judge are those of the sweep on the memory platform (tests/portable/sweep.py).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import medium
from life import in_ram
from pi import IMAGES, MODULES, Dead, Pi

import remembered
import sweep
from agent.errors import AgentError
from platform_adapters import files, memory, memory_power
from platform_adapters.filestore import FileStore

CUTS = [(medium.BEFORE, outcome) for outcome in medium.OUTCOMES] + [(medium.TORN, medium.KEEP)]


class Life(memory_power.Life):
    """One boot.  An effect of the medium and one of the network are counted alike."""

    outcome = medium.KEEP

    def effect(self, name: str, do: Any, tear: Any = None) -> Any:
        self.count(name)
        return do()

    def count(self, name: str) -> bool:
        """Before the effect; True if the power goes within it."""
        self.check()
        device = self.device
        device.effects += 1
        device.trace.append(name)
        way, outcome = device.cuts.get(device.effects, ("", medium.KEEP))
        if not way:
            return False
        self.outcome = outcome
        self.end()
        if way == medium.TORN and name.startswith("write"):
            return True
        raise memory.PowerCut(name)


class Card(medium.Medium):
    def __init__(self, root: str, volatile: str, device: Device):
        super().__init__(root, volatile)
        self._device = device

    def _effect(self, what: str, path: str) -> bool:
        if self._is_volatile(path) or self._device.life is None:
            return False
        return self._device.life.count("%s %s" % (what, os.path.relpath(path, self.root)))


class Store(FileStore):
    """Tells what it saved, in the words of the memory platform, for the judge."""

    def __init__(self, folder: str, trace: list[str]):
        super().__init__(folder)
        self._trace = trace

    def save(self, name: str, data: bytes) -> None:
        super().save(name, data)
        self._trace.append("store.save " + name)


class Records:
    """The records as the card has them, seen from above."""

    def __init__(self, device: Device):
        self._folder = Path(device.pi.root, "data", "store")

    def get(self, name: str, default: bytes | None = None) -> bytes | None:
        path = self._folder / name
        return path.read_bytes() if path.exists() else default

    def __contains__(self, name: str) -> bool:
        return (self._folder / name).exists()

    def __setitem__(self, name: str, data: bytes) -> None:
        """By the factory: no effect."""
        self._folder.mkdir(exist_ok=True)
        (self._folder / name).write_bytes(data)


class Images:
    """What the slots would boot: one of the known images, or nothing."""

    def __init__(self, pi: Pi):
        self._pi = pi

    def __getitem__(self, slot: str) -> bytes:
        return IMAGES.get(self._pi.image_of(self._pi.partitions[slot].number) or "", b"")


class Device(memory.Device):
    def __init__(self, folder: str, **given: Any):
        super().__init__(**given)
        self.pi = Pi(folder)
        self.pi.medium = Card(folder, self.pi.run, self)
        self.records = Records(self)
        self.images = Images(self.pi)
        self.running = "a"

    def install(self, slot: str, image: bytes, note: dict[str, Any]) -> None:
        """The factory of `pi` did it; what is left is the note."""
        assert image == self.images[slot]
        self.pi.put("data/%s/.release" % slot, json.dumps(note).encode())

    def record(self) -> dict[str, Any]:
        default = "a" if self.pi.chosen(False) == 2 else "b"
        trial = self.running if self.running != default else None
        return {"active": default, "trial": trial, "boots": 0, "failure": ""}

    def power_on(self) -> memory.Memory:
        before, cause = self.life, "power"
        if before is not None and before.ended_by_reset:
            cause = "reset"
            self.pi.reset()
        else:
            if before is not None and before.alive:
                before.end()  # a test's own end of a boot: nothing is lost
            self.pi.slots = None
            self.pi.medium.settle(before.outcome if before is not None else medium.KEEP)
        self.life = life = Life(self)
        self.boots += 1
        try:
            slots = self.pi.power_on()
        except Dead as error:
            raise memory.Illegal("brick: %s" % error) from None
        if not all(self.pi.trials):
            raise memory.Illegal("a trial of a slot that does not boot")
        self.running = slots.running()
        platform = memory.Memory(life, self.running, cause)
        platform.slots = slots
        platform.store = Store(self.pi.root + "/data/store", self.trace)
        return platform


def plug(monkeypatch: Any, folder: Path) -> None:
    """From now on `memory.Device` is one of these, each in a folder of its own, and its files are the card's."""
    made: list[Device] = []

    def make(**given: Any) -> Device:
        for device in made:
            shutil.rmtree(device.pi.root, ignore_errors=True)
        made[:] = []
        device = Device(str(folder / ("%d" % len(os.listdir(folder)))), **given)
        made.append(device)
        for module in (*MODULES, files):
            monkeypatch.setattr(module, "os", device.pi.medium)
        monkeypatch.setattr(files, "open", device.pi.medium.file, raising=False)
        return device

    monkeypatch.setattr(memory, "Device", make)


def live(world: dict[str, Any], healthy: bool, cuts: dict[int, Any] | None = None) -> sweep.Run:
    run = sweep.Run(world, healthy, cuts)
    try:
        run.live()
    except (Dead, AgentError, OSError, AssertionError) as error:
        run.problem = "%s: %s" % (type(error).__name__, error)
    run.device.pi.let_go()
    return run


def swept(world: dict[str, Any], healthy: bool, every: int, seed: int = 0, first_only: bool = False) -> dict[str, Any]:
    """Lives with a cut at every `every`th effect, and at all of autoboot.txt; a bad release's begin elsewhere."""
    clean = live(world, healthy)
    problems: list[Any] = [[[], clean.problem]] if clean.problem else []
    trace = [name for name in clean.device.trace if not name.startswith("store.save ")]
    lives = 1
    for at in range(1, len(trace) + 1):
        name = trace[at - 1]
        if (at + seed + healthy * every // 2) % every and "autoboot.txt" not in name:
            continue
        for way, outcome in CUTS:
            if problems and first_only:
                break
            if way == medium.TORN and not name.startswith("write"):
                continue
            lives += 1
            run = live(world, healthy, {at: (way, outcome)})
            if run.problem:
                problems.append([[[at, [way, outcome]]], run.problem])
    return {"effects": len(trace), "lives": lives, "count": len(problems), "problems": problems[:5]}


def main(path: str, every: int, seed: int = 0, defect: str = "") -> None:
    """Prints one JSON object for a good release and one for a bad one; with `defect`, the first problem ends it."""
    import defects
    import pytest

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir=in_ram(), prefix="trueboot-") as folder:
        world = sweep.load_world(path)
        remembered.signatures()
        plug(patch, Path(folder))
        if defect in defects.DEFECTS:
            defects.plant(defect, patch)
        elif defect:
            sweep.plant(defect)
        for healthy in sweep.kinds(world):
            found = swept(world, healthy, every, seed, bool(defect))
            print(json.dumps(found), flush=True)
            if defect and found["count"]:
                break


def one(path: str, healthy: bool, cuts: list[Any]) -> None:
    """One life: prints each effect, then how it ended."""
    import pytest

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir=in_ram(), prefix="trueboot-") as folder:
        plug(patch, Path(folder))
        run = live(sweep.load_world(path), healthy, {at: tuple(how) for at, how in cuts})
        for number, name in enumerate(run.device.trace, 1):
            print(json.dumps([number, name]))
        print(json.dumps({"problem": run.problem, "boots": run.boots, "job": run.cloud.job["state"]}))
