# SPDX-License-Identifier: MIT
"""Tokens for downloads: one device, one image, one download.

- Random (128 bits), kept as a hash; it is part of the address that the device is told, and nowhere else.
- A download may break off and go on for as long as the token lives.  It is used up before the last bytes are sent, in
  one statement, so that of many downloads with one token exactly one comes to its end.
- A device may be told of the same image again: it gets another token, the newest few are good, and with the first
  whole download all of them are over.
- In the database: a restart of the server ends no download.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from .limits import Limits
from .names import Identity
from .store import Transaction
from .store.schema import download_tokens as table

_KEPT = 3  # of one device and image: the link breaks, it is told anew, and still follows the address before

_FIND = sa.select(table).where(table.c.hash == sa.bindparam("hash"), table.c.used_at.is_(None))


@dataclass(frozen=True, slots=True)
class Ticket:
    identity: Identity
    sha256: str
    hash: str


class Tickets:
    def __init__(self, limits: Limits):
        self._limits = limits

    def give(self, t: Transaction, identity: Identity, sha256: str) -> str:
        """32 lower-case hex digits."""
        text = secrets.token_hex(16)
        until = t.now + int(self._limits.ticket_life_s * 1000)
        t.execute(table.insert().values(hash=_key(text), sha256=sha256, expires_at=until, **identity._asdict()))
        same = (*_of(identity), table.c.sha256 == sha256)
        older = sa.select(table.c.id).where(*same).order_by(table.c.id.desc()).offset(_KEPT)
        t.execute(table.delete().where(table.c.id.in_(older)))
        newest: Any = sa.select(sa.func.max(table.c.id)).scalar_subquery()
        t.execute(table.delete().where(table.c.id <= newest - self._limits.tickets))
        return text

    def find(self, t: Transaction, text: str) -> Ticket | None:
        """None for one that was never given, is over, or has been used."""
        row = t.row(_FIND, hash=_key(text))
        if row is None or row.expires_at <= t.now:
            return None
        return Ticket(Identity(row.product_key, row.device_key), row.sha256, row.hash)

    def use_up(self, t: Transaction, ticket: Ticket) -> bool:
        """Whether this download is the one."""
        won = t.execute(
            table.update()
            .where(table.c.hash == ticket.hash, table.c.used_at.is_(None), table.c.expires_at > t.now)
            .values(used_at=t.now)
            .returning(table.c.id)
        ).first()
        if won is not None:
            same = (*_of(ticket.identity), table.c.sha256 == ticket.sha256, table.c.used_at.is_(None))
            t.execute(table.update().where(*same).values(used_at=t.now))
        return won is not None

    def forget(self, t: Transaction, identity: Identity) -> None:
        t.execute(table.delete().where(*_of(identity)))

    def collect(self, t: Transaction) -> None:
        """Housekeeping: what is over is kept no longer."""
        t.execute(table.delete().where(table.c.expires_at <= t.now))


def _of(identity: Identity) -> tuple[Any, Any]:
    return table.c.product_key == identity.product_key, table.c.device_key == identity.device_key


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
