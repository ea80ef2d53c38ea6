# SPDX-License-Identifier: MIT
"""What a repository needs while the server runs: fresh signatures, tidying, and a word before something expires.

`turn` is called every few seconds and knows by the clock what is due; the first one, at the start, does all of it,
so that a server that was down for long signs again before anybody can ask.
"""

from __future__ import annotations

from typing import Any

from ..clock import Clock, now_ms
from .repository import Repository

COLLECT_EVERY_MS = 3600 * 1000
WARN_EVERY_MS = 24 * 3600 * 1000


class Care:
    def __init__(self, repository: Repository, clock: Clock = now_ms):
        self._repository = repository
        self._clock = clock
        self._collected_at = self._warned_at = -WARN_EVERY_MS
        self._warned: set[str] = set()

    def turn(self) -> list[tuple[str, dict[str, Any]]]:
        """Do what is due; what the log should tell of it.  Writes files: run it in a thread."""
        told: list[tuple[str, dict[str, Any]]] = []
        now = self._clock()
        if self._repository.keep_fresh():
            published = self._repository.published
            numbers = {role: published.version(role) for role in ("timestamp", "snapshot")}
            told.append(("repository.refreshed", numbers))
        if now - self._collected_at >= COLLECT_EVERY_MS:
            self._collected_at = now
            if collected := self._repository.collect():
                told.append(("repository.collected", {"files": collected}))
        return told + self._warnings(now)

    def _warnings(self, now: int) -> list[tuple[str, dict[str, Any]]]:
        expiring = self._repository.expiring()
        again = now - self._warned_at >= WARN_EVERY_MS
        due = [role for role in sorted(expiring) if again or role not in self._warned]
        if due:
            self._warned_at = now if again else self._warned_at
        self._warned = set(expiring)
        return [("repository.expiring", {"role": role, "expires": expiring[role].isoformat()}) for role in due]
