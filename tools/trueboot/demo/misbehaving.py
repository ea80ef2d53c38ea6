# SPDX-License-Identifier: MIT
"""The demo under faults: `--fault KIND[:NAME=VALUE,...]`, for the good release.

What devices get over by themselves is begun when the release is deployed, and the same story has to be told.  What they have
to refuse comes before, one fault after the other: each device says no and why, and the same release runs once it is over.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from trueboot_server.faults.kinds import KINDS, parse

from .. import faults
from ..problem import Problem
from .expect import Step
from .world import World

if TYPE_CHECKING:
    from .story import Story

# A part is asked for only after a download that broke off, and on the plain road.
_COMPANIONS = {"wrong-range": ("expired-token:path=/images/*,times=0", "truncate:path=/repo/targets/*,at=90")}


class Misbehaving:
    def __init__(self, specs: tuple[str, ...]):
        wanted = [_read(more) for spec in specs for more in (*_COMPANIONS.get(spec.partition(":")[0], ()), spec)]
        refused = [one for one in wanted if KINDS[one["kind"]].refuses]
        # Who is to know nothing of the release has to be kept from it before it is published.
        self.refused = sorted(refused, key=lambda one: not _is_freeze(one))
        self.got_over = [one for one in wanted if one not in refused]
        self._begun: dict[str, str] = {}  # id -> kind
        self.struck: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self.refused or self.got_over)

    def begin(self, here: World, one: dict[str, str]) -> None:
        fault = faults.begin(here.api, one)
        self._begun[fault["id"]] = fault["kind"]

    def end(self, here: World) -> None:
        faults.end(here.api)
        for fault in faults.listed(here.api):
            self.struck[fault["id"]] = fault["applied"]

    def refusals(self, story: Story, version: str) -> bool:
        """A chapter of the demo: under each of these faults every device has to say no to a release that is good."""
        here = story.here
        if _is_freeze(self.refused[0]):
            self.begin(here, self.refused[0])
        here.publish(here.make_release(version))
        for number, one in enumerate(self.refused):
            if number or not _is_freeze(one):
                self.begin(here, one)
            since = len(here.events)
            story.deploy(version, len(here.devices))
            what = f"the refusal of every device under {one['kind']}"
            if not story.wait(what, partial(_has_failed, here, since)):
                return False
            self.end(here)
        return True

    def steps(self, version: str) -> tuple[list[Step], list[Step]]:
        """What each device, and what the server says of it, before the release is installed after all."""
        on_device, at_server = [], []
        for one in self.refused:
            words = f"{version} refused under {one['kind']}"
            on_device.append(Step(words, "device", "update.failed", {"version": version}, ("reason",)))
            at_server.append(Step("server: " + words, "server", "attempt.failed", {}, ("reason",)))
        return on_device, at_server

    def findings(self) -> list[str]:
        return [f"fault {kind} never struck" for number, kind in self._begun.items() if not self.struck.get(number)]

    def told(self) -> str:
        often = ", ".join(f"{kind} {self.struck.get(number, 0)}" for number, kind in self._begun.items())
        return f"The server misbehaved on command ({often}), and every device ended right."


def _read(spec: str) -> dict[str, str]:
    try:
        wanted = parse(spec)
    except ValueError as error:
        raise Problem("usage", f"--fault {error}.") from None
    if wanted["kind"] not in KINDS:
        raise Problem("usage", f"--fault {wanted['kind']}: there is no such kind.", todo="See: trueboot fault kinds")
    return wanted


def _has_failed(here: World, since: int, name: str) -> bool:
    return here.seen(name, "server", "attempt.failed", since)


def _is_freeze(one: dict[str, Any]) -> bool:
    return one["kind"] == "stale-metadata" and one.get("as", "freeze") == "freeze"
