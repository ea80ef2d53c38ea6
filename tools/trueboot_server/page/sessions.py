# SPDX-License-Identifier: MIT
"""Who is logged in at the page.

A token is pasted once and never kept: the browser holds a random cookie, the server its SHA-256, the token's name and
scope, and a second random value that every change has to carry (CSRF).  Sessions live in memory: a restart ends them.
The oldest goes when there are too many.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from ..operators import Operator

COOKIE = "__Host-trueboot"  # the prefix makes browsers insist on Secure, Path=/ and no Domain


@dataclass
class Session:
    operator: Operator
    ends: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    notice: tuple[str, str] | None = None  # ("good" or "bad", text): shown once

    def is_own(self, csrf: str) -> bool:
        return hmac.compare_digest(self.csrf.encode(), csrf.encode("utf-8", "surrogateescape"))

    def take_notice(self) -> tuple[str, str] | None:
        told, self.notice = self.notice, None
        return told


class PageSessions:
    def __init__(self, most: int, life_s: float, clock: Callable[[], float] = time.monotonic):
        self.life_s = life_s
        self._most = most
        self._clock = clock
        self._held: OrderedDict[bytes, Session] = OrderedDict()

    def open(self, operator: Operator) -> tuple[str, Session]:
        """(the cookie's value, the session)."""
        value = secrets.token_urlsafe(32)
        session = Session(operator, self._clock() + self.life_s)
        self._held[_hash(value)] = session
        while len(self._held) > self._most:
            self._held.popitem(last=False)
        return value, session

    def find(self, value: str) -> Session | None:
        session = self._held.get(_hash(value))
        if session is not None and session.ends <= self._clock():
            del self._held[_hash(value)]
            return None
        return session

    def close(self, value: str) -> None:
        self._held.pop(_hash(value), None)


def _hash(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest()
