# SPDX-License-Identifier: MIT
"""Keeps campaigns going: looks at each when it may have something to do, and has the desk push what came of it.

A campaign is looked at soon after a step of one of its devices was committed (many steps, one look), and else every
few seconds for what time brings.  One transaction a campaign, and other work gets its turn between two pushes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..limits import Limits
from ..names import Identity
from ..store import Store
from . import campaigns, course

if TYPE_CHECKING:
    from .desk import FleetDesk

_GATHER_S = 0.2  # steps that come close together are one look


class Steward:
    def __init__(self, store: Store, limits: Limits, desk: FleetDesk):
        self._store = store
        self._limits = limits
        self._desk = desk
        self._changed: set[int] = set()
        self._woken = asyncio.Event()
        self._shut: set[int] = set()  # jobs outside of their window
        store.watchers.append(self._saw)

    async def turn(self) -> None:
        """Look at the campaigns that changed; at all that are due when none did."""
        changed, self._changed = self._changed, set()
        self._woken.clear()
        with self._store.transaction() as t:
            due = campaigns.due(t)
        self._shut &= set(due)
        for job_id in [one for one in due if one in changed] or due:
            await self.push(self._tick(job_id))

    async def rest(self, at_most_s: float) -> None:
        try:
            async with asyncio.timeout(at_most_s):
                await self._woken.wait()
                await asyncio.sleep(_GATHER_S)
        except TimeoutError:
            pass

    async def push(self, identities: Iterable[Identity]) -> None:
        for identity in identities:
            if self._desk.online(identity):
                self._desk.push_due(identity)
                await asyncio.sleep(0)

    def _tick(self, job_id: int) -> list[Identity]:
        with self._store.transaction() as t:
            told = campaigns.tick(t, self._limits, job_id)
            row = course.job(t, job_id)
            if row is None or row.state != "running":
                self._shut.discard(job_id)
                return told
            if not course.plan_of(row).in_window(t.now):
                self._shut.add(job_id)
            elif job_id in self._shut:  # the window opens
                self._shut.discard(job_id)
                told = campaigns.queued(t, job_id)
        return told

    def _saw(self, told: list[dict[str, Any]]) -> None:
        for event in told:
            if event["event"].startswith("attempt.") and event["event"] != "attempt.progress":
                self._changed.add(int(event["fields"]["job"]))
                self._woken.set()
