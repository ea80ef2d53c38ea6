# SPDX-License-Identifier: MIT
"""The audit log: who, what, on what, with which result, when.

- A row is written before the act and completed after it.  What a fault or a cut leaves says "begun": its outcome is
  not known, and that is what it says.
- Names, paths and codes only.  Bodies, answers and headers never come here, so that no secret can.
- Refusals of a scope are rows too, but may fill a tenth of the log at most: they cannot push out what was done.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from .clock import iso
from .store import Transaction
from .store.schema import audit

BEGUN, DONE, REFUSED, NOT_PERMITTED = "begun", "done", "refused", "not_permitted"
_TRIM_EVERY = 64
_SUBJECT_CHARS = 256
_DETAIL_CHARS = 512


def begin(t: Transaction, who: str, what: str, subject: str, keep: int, via: str = "api") -> int:
    number = _insert(t, who, what, subject, via, BEGUN)
    if number % _TRIM_EVERY == 0:
        t.execute(audit.delete().where(audit.c.id <= number - keep))
    return number


def deny(t: Transaction, who: str, what: str, subject: str, keep: int, via: str = "api") -> None:
    number = _insert(t, who, what, subject, via, NOT_PERMITTED)
    newest = (
        sa.select(audit.c.id)
        .where(audit.c.result == NOT_PERMITTED)
        .order_by(audit.c.id.desc())
        .offset(max(1, keep // 10))
        .limit(1)
    )
    last = t.execute(newest).scalar()
    if last is not None and number:
        t.execute(audit.delete().where(audit.c.result == NOT_PERMITTED, audit.c.id <= last))


def end(t: Transaction, number: int, result: str, code: str = "", detail: dict[str, Any] | None = None) -> None:
    text = json.dumps(detail, separators=(",", ":"))[:_DETAIL_CHARS] if detail else None
    t.execute(audit.update().where(audit.c.id == number).values(result=result, code=code or None, detail=text))


def page(t: Transaction, most: int, before: int = 0, who: str = "", what: str = "") -> list[Any]:
    """Newest first."""
    statement = sa.select(audit).order_by(audit.c.id.desc()).limit(most)
    if before:
        statement = statement.where(audit.c.id < before)
    if who:
        statement = statement.where(audit.c.who == who)
    if what:
        statement = statement.where(audit.c.what.startswith(what, autoescape=True))
    return t.rows(statement)


def shown(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "time": iso(row.time),
        "who": row.who,
        "via": row.via,
        "what": row.what,
        "on": row.subject,
        "result": row.result,
        "code": row.code,
        "detail": row.detail,
    }


def _insert(t: Transaction, who: str, what: str, subject: str, via: str, result: str) -> int:
    values = {"time": t.now, "who": who, "via": via, "what": what, "result": result}
    done = t.execute(audit.insert().values(subject=subject[:_SUBJECT_CHARS], **values))
    return int(done.inserted_primary_key[0])  # type: ignore[index]
