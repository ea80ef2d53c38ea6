# SPDX-License-Identifier: MIT
"""Tickets for downloads by devices that hold no certificate: one device, one image, one download.

- Random (256 bits), found by its hash; it is part of the address that the device is told, and nowhere else.
- A download may break off and go on for as long as the ticket lives; once the last byte has been sent, it is used up.
- A device that is told of the same image again while its ticket lives is given the same one, so that it can go on.
- In memory only: after a restart a device is told a fresh address at its next connect.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from .limits import Limits
from .names import Identity


@dataclass(frozen=True, slots=True)
class Ticket:
    text: str
    identity: Identity
    sha256: str
    until: float


class Tickets:
    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self._limits = limits
        self._clock = clock
        self._tickets: OrderedDict[str, Ticket] = OrderedDict()  # by hash of the text, oldest first
        self._of: dict[tuple[Identity, str], str] = {}

    def give(self, identity: Identity, sha256: str) -> str:
        key = self._of.get((identity, sha256))
        if key is not None and self._tickets[key].until > self._clock():
            return self._tickets[key].text
        if key is not None:
            self._drop(key)
        while len(self._tickets) >= self._limits.tickets:
            self._drop(next(iter(self._tickets)))
        ticket = Ticket(secrets.token_urlsafe(32), identity, sha256, self._clock() + self._limits.ticket_life_s)
        key = _key(ticket.text)
        self._tickets[key] = ticket
        self._of[identity, sha256] = key
        return ticket.text

    def find(self, text: str) -> Ticket | None:
        ticket = self._tickets.get(_key(text))
        return ticket if ticket is not None and ticket.until > self._clock() else None

    def use_up(self, ticket: Ticket) -> None:
        if _key(ticket.text) in self._tickets:
            self._drop(_key(ticket.text))

    def forget(self, identity: Identity) -> None:
        for key in [key for key, ticket in self._tickets.items() if ticket.identity == identity]:
            self._drop(key)

    def _drop(self, key: str) -> None:
        ticket = self._tickets.pop(key)
        del self._of[ticket.identity, ticket.sha256]


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
