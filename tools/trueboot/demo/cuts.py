# SPDX-License-Identifier: MIT
"""When the power of the demo's devices goes: `--cut-power N`.

N cuts (SIGKILL) are dealt out over devices, releases and the moments of their lives, in an order and after delays that the
seed chooses.  A cut is due some while after its device came to that moment, or booted in it.

Rules kept: no more cuts on one trial than a good release survives for certain (a trial has three boots); cuts whose moment
never came are made at rest, so that it is N in the end.
"""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from .supervisor import Device, Event

MAX_CUTS = 100
TRIAL_CUTS = 2  # for one release on one device, "confirm" included
ENROLMENT, DOWNLOAD, ACTIVATION = "enrolment", "download", "activation"
TRIAL, CONFIRM, REPORT, REST = "trial", "confirm", "report", "rest"
MOMENTS = (ENROLMENT, DOWNLOAD, ACTIVATION, TRIAL, CONFIRM, REPORT, REST)
SPAN_S = {ENROLMENT: 0.9, DOWNLOAD: 0.3, ACTIVATION: 0.3, TRIAL: 0.5, CONFIRM: 0.05, REPORT: 0.2, REST: 0.3}
SLOW = {"cpython": 1.0, "micropython": 2.0}
Place = tuple[str, str, str]  # device, release, moment


class Cuts:
    def __init__(self, count: int, seed: int, releases: tuple[str, ...]):
        self.count, self.seed = count, seed
        self._chance = random.Random(seed)
        self._releases = releases
        self._waiting: Counter[Place] = Counter()
        self._now: dict[str, tuple[str, str]] = {}  # device -> release, moment
        self._due: dict[str, float] = {}
        self._doing: dict[str, str] = {}  # device -> the moment in which its power was pulled
        self.done: list[tuple[str, str]] = []  # (device, moment)

    def deal(self, names: list[str]) -> None:
        places = [(name, "", ENROLMENT) for name in names]
        for release in self._releases:
            places += [(name, release, moment) for moment in MOMENTS[1:6] for name in names]
        while places and self._waiting.total() < self.count:
            self._chance.shuffle(places)
            for place in places[: self.count - self._waiting.total()]:
                name, release, moment = place
                tried = self._waiting[name, release, TRIAL] + self._waiting[name, release, CONFIRM]
                if moment not in (TRIAL, CONFIRM) or tried < TRIAL_CUTS:
                    self._waiting[place] += 1

    def hear(self, event: Event) -> None:
        """Told of everything that happens; knows from it in which moment each device is."""
        name, said = event["device"], event["event"]
        if name is None or event["source"] == "server":
            return
        if said == "power.cut":
            self.done.append((name, self._doing.pop(name, REST)))
        release, moment = self._now.get(name, ("", ENROLMENT))
        entered = self._entered(event, release, moment)
        if entered:
            self._now[name] = entered
        if entered or said in ("power.on", "power.cut", "power.reset"):
            self._arm(name, event["runtime"])

    def _entered(self, event: Event, release: str, moment: str) -> tuple[str, str] | None:
        said, version = event["event"], event.get("version")
        if said == "update.offered":
            return str(version), DOWNLOAD
        follows = {"update.staged": ACTIVATION, "update.trial": TRIAL, "update.confirmed": REPORT}
        follows |= {"update.rolled_back": REPORT, "version.reported": REST, "update.failed": REST}
        if said in follows:
            return release, follows[said]
        return (release, CONFIRM) if said == "session.online" and moment == TRIAL else None

    def _arm(self, name: str, runtime: str) -> None:
        place = (name, *self._now.get(name, ("", ENROLMENT)))
        if self._waiting[place] and name not in self._due:
            self._waiting[place] -= 1
            self._due[name] = time.monotonic() + self._chance.uniform(0, SPAN_S[place[2]] * SLOW.get(runtime, 1.0))

    def pull(self, devices: list[Device]) -> None:
        """The cuts that are due."""
        for device in devices:
            if device.name in self._due and self._due[device.name] <= time.monotonic() and device.running:
                del self._due[device.name]
                self._doing[device.name] = self._now.get(device.name, ("", ENROLMENT))[1]
                device.pull_power()

    def rest(self, here: Any, online: Callable[[str, int], bool], timeout_s: float) -> bool:
        """What is left is cut now, a device after the other; each must come back."""
        devices = deque(here.devices)
        self._waiting.clear()
        here.until(lambda: not self._due and not self._doing, timeout_s)
        while len(self.done) < self.count and devices:
            device, since = devices[0], len(here.events)
            devices.rotate()
            self._doing[device.name] = REST
            device.pull_power()
            if not here.until(lambda device=device, since=since: online(device.name, since), timeout_s):
                return False
        return True

    def told(self) -> str:
        counts = Counter(moment for _, moment in self.done)
        moments = ", ".join(f"{counts[moment]} in {moment}" for moment in MOMENTS if counts[moment])
        return f"Power cut {len(self.done)} times ({moments}), seed {self.seed}, and nobody lied."
