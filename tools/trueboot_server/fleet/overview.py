# SPDX-License-Identifier: MIT
"""The fleet seen from above: how many devices are how, which of them, a page at a time.

What is counted is what is filtered by: both are the one table of conditions below.  Counting is one pass over the
devices; who is online is known in memory only, so that a list by it takes the keys and leaves the rows.

    online       connected now
    updating     an attempt of a job has begun and is not settled
    below_floor  the last report says that the running image is below the device's floor
    trial        ... that it is on trial
    rolled_back  ... that a trial failed; or the device fell back and has not been updated since
    confirmed    ... that it is confirmed, and none of the above
    silent       neither connected nor heard for as long as `Limits.silent_after_s` says
    revoked      counted under no other heading

The four of the last report exclude each other, and `standing` says the same of one row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..limits import Limits
from ..names import Identity
from ..store import Transaction
from ..store.schema import attempts, certificates, devices, members
from . import jobs

STATES = ("online", "updating", "trial", "confirmed", "rolled_back", "silent", "below_floor", "revoked")
Online = Callable[[Identity], bool]

_OUTCOME = devices.c.last_report["outcome"].as_string()
_FELL_BACK = devices.c.fell_back["at"].as_integer().is_not(None)
_KEYS = (devices.c.product_key, devices.c.device_key)
_UPDATING = sa.exists(
    sa.select(attempts.c.id).where(
        attempts.c.product_key == devices.c.product_key,
        attempts.c.device_key == devices.c.device_key,
        attempts.c.settled.is_(False),
        attempts.c.state.in_((*jobs.BEGUN, "claimed")),
    )
)
_LIVES = devices.c.state != "revoked"
_CONDITIONS: dict[str, Any] = {
    "updating": sa.and_(_LIVES, _UPDATING),
    "trial": sa.and_(_LIVES, _OUTCOME == "trial"),
    "confirmed": sa.and_(_LIVES, _OUTCOME.not_in(("trial", "below_floor", "rolled_back")), sa.not_(_FELL_BACK)),
    "rolled_back": sa.and_(
        _LIVES, sa.or_(_OUTCOME == "rolled_back", sa.and_(_FELL_BACK, _OUTCOME.not_in(("trial", "below_floor"))))
    ),
    "below_floor": sa.and_(_LIVES, _OUTCOME == "below_floor"),
    "revoked": devices.c.state == "revoked",
}


class Wanted(NamedTuple):
    state: str = ""  # of STATES; "": all
    product_key: str = ""
    version: str = ""
    text: str = ""  # part of a device key


class Found(NamedTuple):
    rows: list[Any]
    total: int


def counts(t: Transaction, online: Online, limits: Limits) -> dict[str, int]:
    """{"devices": ..., and one number for each of STATES}."""
    totals = [sa.func.sum(sa.case((condition, 1), else_=0)).label(name) for name, condition in _CONDITIONS.items()]
    row = t.execute(sa.select(sa.func.count().label("devices"), *totals).select_from(devices)).one()
    connected = [key for key in t.rows(sa.select(*_KEYS).where(_LIVES)) if online(Identity(*key))]
    silent = [key for key in t.rows(sa.select(*_KEYS).where(_quiet(t, limits))) if not online(Identity(*key))]
    found = {name: int(getattr(row, name) or 0) for name in ("devices", *_CONDITIONS)}
    return found | {"online": len(connected), "silent": len(silent)}


def standing(row: Any) -> str:
    """How a device stands, in one word; before its first report: the state of its registration."""
    outcome = (row.last_report or {}).get("outcome")
    if row.state == "revoked" or outcome is None:
        return str(row.state)
    if outcome in ("below_floor", "trial", "rolled_back"):
        return str(outcome)
    return "rolled_back" if row.fell_back else "confirmed"


def versions(t: Transaction, most: int) -> dict[str, int]:
    """Devices by the version that they have proven to run, the commonest first; the rest together as "other"."""
    number = sa.func.count().label("number")
    rows = t.rows(
        sa.select(devices.c.proven_version, number)
        .where(devices.c.proven_version.is_not(None), _LIVES)
        .group_by(devices.c.proven_version)
        .order_by(number.desc(), devices.c.proven_version)
    )
    found = {row.proven_version: row.number for row in rows[:most]}
    if rest := sum(row.number for row in rows[most:]):
        found["other"] = found.get("other", 0) + rest
    return found


def page(t: Transaction, wanted: Wanted, online: Online, limits: Limits, offset: int, most: int) -> Found:
    """Devices in the order of their names."""
    where = _where(t, wanted, limits)
    if wanted.state in ("online", "silent"):
        here = wanted.state == "online"
        keys = t.rows(sa.select(*_KEYS).where(*where).order_by(*_KEYS))
        chosen = [tuple(key) for key in keys if online(Identity(*key)) is here]
        rows = t.rows(sa.select(devices).where(sa.tuple_(*_KEYS).in_(chosen[offset : offset + most])).order_by(*_KEYS))
        return Found(rows, len(chosen))
    total = int(t.execute(sa.select(sa.func.count()).select_from(devices).where(*where)).scalar_one())
    statement = sa.select(devices).where(*where).order_by(*_KEYS).limit(most).offset(offset)
    return Found(t.rows(statement), total)


def newest_certificates(t: Transaction, rows: list[Any]) -> dict[tuple[str, str], Any]:
    """Of these devices, those that have one that is not revoked."""
    keys = [(row.product_key, row.device_key) for row in rows]
    found = t.rows(
        sa.select(certificates)
        .where(
            sa.tuple_(certificates.c.product_key, certificates.c.device_key).in_(keys),
            certificates.c.revoked_at.is_(None),
        )
        .order_by(certificates.c.issued_at)
    )
    return {(row.product_key, row.device_key): row for row in found}


def open_attempts(t: Transaction, rows: list[Any]) -> dict[tuple[str, str], Any]:
    keys = [(row.product_key, row.device_key) for row in rows]
    found = t.rows(
        sa.select(attempts).where(
            sa.tuple_(attempts.c.product_key, attempts.c.device_key).in_(keys), attempts.c.settled.is_(False)
        )
    )
    return {(row.product_key, row.device_key): row for row in found}


def job_counts(t: Transaction, job_ids: list[int]) -> dict[int, dict[str, int]]:
    """{job: {"devices", "waiting" (for their phase), "queued", "pushed", "on_trial", "claimed", "updated", "failed", ...}}.

    As `jobs.counts` counts, and by state; never a row an attempt.
    """
    unproven = sa.and_(attempts.c.state == "claimed", attempts.c.settled, attempts.c.reason.is_not(None))
    state = sa.case((unproven, "unproven"), else_=attempts.c.state).label("state")
    number = sa.func.count().label("number")
    rows = t.rows(
        sa.select(attempts.c.job_id, state, number)
        .where(attempts.c.job_id.in_(job_ids))
        .group_by(attempts.c.job_id, state)
    )
    not_yet = t.rows(
        sa.select(members.c.job_id, sa.func.count().label("number"))
        .where(members.c.job_id.in_(job_ids), members.c.attempt_id.is_(None), members.c.dropped.is_(None))
        .group_by(members.c.job_id)
    )
    found: dict[int, dict[str, int]] = {job_id: {"devices": 0} for job_id in job_ids}
    for row in not_yet:
        found[row.job_id] |= {"waiting": row.number, "devices": row.number}
    for row in rows:
        found[row.job_id][row.state] = row.number
        found[row.job_id]["devices"] += row.number
    return found


def _where(t: Transaction, wanted: Wanted, limits: Limits) -> list[Any]:
    where: list[Any] = []
    if wanted.state == "online":
        where.append(_LIVES)
    elif wanted.state == "silent":
        where.append(_quiet(t, limits))
    elif wanted.state:
        where.append(_CONDITIONS[wanted.state])
    if wanted.product_key:
        where.append(devices.c.product_key == wanted.product_key)
    if wanted.version:
        where.append(devices.c.proven_version == wanted.version)
    if wanted.text:
        where.append(devices.c.device_key.contains(wanted.text, autoescape=True))
    return where


def _quiet(t: Transaction, limits: Limits) -> Any:
    """Not heard for long, as far as the database knows."""
    heard = sa.func.coalesce(devices.c.last_seen, devices.c.created_at)
    return sa.and_(_LIVES, heard <= t.now - limits.silent_after_s * 1000)
