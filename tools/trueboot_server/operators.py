# SPDX-License-Identifier: MIT
"""Operators' tokens: a name, a scope, and the SHA-256 of what is shown once.

- `read` looks; `operate` changes as well, tokens included.  There are no users: who holds a token is its name.
- A name is used once.  The audit log speaks of names, and a second holder of one would make it ambiguous.
- The admin token of operator.json is an `operate` token called "admin" that is always there (see `credentials`).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Any, NamedTuple

import sqlalchemy as sa

from .clock import iso
from .errors import ApiError
from .https.operations import OPERATE, SCOPES
from .limits import Limits
from .store import Transaction
from .store.schema import operator_tokens as table

ADMIN = "admin"
_PREFIX = "trueboot_"  # so that scanners of repositories and logs know one when they see one
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_USE_NOTED_EVERY_MS = 60_000
_BY_HASH = sa.select(table).where(table.c.sha256 == sa.bindparam("sha256"))


class Operator(NamedTuple):
    name: str
    scope: str

    def may(self, scope: str) -> bool:
        return scope == self.scope or self.scope == OPERATE


def holder(t: Transaction, token: str) -> Operator | None:
    """Whose token this is, if it is one that may be used.  Found by its hash: nothing is told by the time it takes."""
    row = t.row(_BY_HASH, sha256=_hash(token))
    if row is None or not _is_live(row, t.now):
        return None
    if t.now - (row.used_at or 0) > _USE_NOTED_EVERY_MS:
        t.execute(table.update().where(table.c.name == row.name).values(used_at=t.now))
    return Operator(row.name, row.scope)


def still(t: Transaction, operator: Operator) -> bool:
    """Whether a token that was good is good still."""
    if operator.name == ADMIN:
        return True
    row = t.row(sa.select(table).where(table.c.name == operator.name))
    return row is not None and _is_live(row, t.now)


def create(t: Transaction, name: Any, scope: Any, life_s: Any, limits: Limits) -> tuple[str, Any]:
    """(the token, which is told this once, its row)."""
    if not isinstance(name, str) or not _NAME.match(name):
        raise ApiError(400, "bad_token_name", "the token's name is not usable", "1 to 64 of A-Z a-z 0-9 . _ -")
    if scope not in SCOPES:
        raise ApiError(400, "bad_scope", "there is no such scope", f"One of {', '.join(SCOPES)}.")
    if life_s is not None and (type(life_s) is not int or not 0 < life_s <= limits.token_life_max_s):
        raise ApiError(400, "bad_parameter", f"life_s must be a whole number from 1 to {limits.token_life_max_s}")
    if name == ADMIN or t.row(sa.select(table.c.name).where(table.c.name == name)) is not None:
        raise ApiError(409, "token_exists", "there is, or was, a token of this name", "A name is used once.")
    if t.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() >= limits.operator_tokens:
        raise ApiError(409, "too_many_tokens", f"there may be {limits.operator_tokens} tokens, revoked ones included")
    token = _PREFIX + secrets.token_urlsafe(32)
    expires = t.now + life_s * 1000 if life_s is not None else None
    values = {"name": name, "sha256": _hash(token), "scope": scope, "created_at": t.now, "expires_at": expires}
    t.execute(table.insert().values(**values))
    t.event("token.created", token=name, scope=scope)
    return token, t.row(sa.select(table).where(table.c.name == name))


def listed(t: Transaction) -> list[Any]:
    return t.rows(sa.select(table).order_by(table.c.created_at, table.c.name))


def revoke(t: Transaction, name: str) -> Any:
    """The row.  What was revoked before stays as it is."""
    row = t.row(sa.select(table).where(table.c.name == name))
    if row is None:
        raise ApiError(404, "no_such_token", "there is no such token", "GET /api/v1/tokens lists them.")
    if row.revoked_at is None:
        t.execute(table.update().where(table.c.name == name).values(revoked_at=t.now))
        t.event("token.revoked", token=name)
    return t.row(sa.select(table).where(table.c.name == name))


def shown(row: Any, now: int) -> dict[str, Any]:
    over = row.expires_at is not None and row.expires_at <= now
    return {
        "name": row.name,
        "scope": row.scope,
        "state": "revoked" if row.revoked_at is not None else "expired" if over else "good",
        "created_at": iso(row.created_at),
        "expires_at": iso(row.expires_at),
        "used_at": iso(row.used_at),
        "revoked_at": iso(row.revoked_at),
    }


def _is_live(row: Any, now: int) -> bool:
    return row.revoked_at is None and (row.expires_at is None or row.expires_at > now)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
