# SPDX-License-Identifier: MIT
"""The course of a job: its devices counted by the database, `decision` asked, and its answer carried out.

Whatever changes here changes inside the caller's transaction: after a power cut the next look goes on from what was
committed.  Nobody is pushed at from here; who is to be told is queued, and the desk pushes after the commit.
"""

from __future__ import annotations

import secrets
from typing import Any

import sqlalchemy as sa

from ..names import Identity
from ..store import Transaction
from ..store.schema import attempts, devices, history, jobs, members, products
from . import plan as plans
from . import registry
from .decision import Advance, Counts, Course, End, Halt, Reach, Release, decide
from .plan import JOB, Plan

FAILURES = ("failed", "rolled_back", "refused", "timed_out")
BEGUN = ("pushed", "in_progress", "on_trial", "claimed")
_MOST_STEPS = 64  # of one look: every phase twice, and more
_TOLD_EACH = 200  # cancelled attempts: a crowd is one event
_HISTORY = 500  # entries kept of a job

# A device that proved the job's image and has fallen back from it since.
_FELL = sa.and_(
    attempts.c.state == "updated",
    devices.c.image != jobs.c.sha256,
    devices.c.fell_back["image"].as_string() == jobs.c.sha256,
)
_JOINED = (
    members.outerjoin(attempts, attempts.c.id == members.c.attempt_id)
    .join(jobs, jobs.c.id == members.c.job_id)
    .join(
        devices, sa.and_(devices.c.product_key == members.c.product_key, devices.c.device_key == members.c.device_key)
    )
    .join(products, products.c.product_key == members.c.product_key)
)
_OTHER = attempts.alias()
_STATE = sa.case(
    (attempts.c.id.is_(None), "waiting"),
    (_FELL, "fell_back"),
    (sa.and_(attempts.c.state == "claimed", attempts.c.settled.is_(False)), "unproven"),
    # A claim whose time for a proof is over (one that counts as it is has no reason), or that counts no more.
    (sa.and_(attempts.c.state == "claimed", attempts.c.reason.is_not(None)), "failed"),
    (sa.and_(attempts.c.state == "claimed", products.c.claims_count.is_(False)), "failed"),
    else_=attempts.c.state,
)
_MEMBER = members.update().where(
    members.c.job_id == sa.bindparam("job"),
    members.c.product_key == sa.bindparam("product"),
    members.c.device_key == sa.bindparam("key"),
)
_COUNTS = (
    sa.select(members.c.phase, _STATE.label("standing"), sa.func.count().label("count"))
    .select_from(_JOINED)
    .where(members.c.job_id == sa.bindparam("job_id"), members.c.dropped.is_(None))
    .group_by(members.c.phase, sa.text("standing"))
)
_COLUMN = {
    "waiting": "waiting",
    "queued": "queued",
    "unproven": "begun",
    "updated": "proven",
    "claimed": "claimed",
    "cancelled": "cancelled",
    "fell_back": "failed",
    **{state: "begun" for state in BEGUN if state != "claimed"},
    **dict.fromkeys(FAILURES, "failed"),
}


def job(t: Transaction, job_id: int) -> Any | None:
    return t.row(sa.select(jobs).where(jobs.c.id == job_id))


def plan_of(row: Any) -> Plan:
    return plans.stored(row.plan) if row.plan else plans.plain(row.max_failures)


def counts_of(t: Transaction, row: Any, phases: int) -> list[Counts]:
    found: list[dict[str, int]] = [{} for _ in range(phases)]
    for counted in t.rows(_COUNTS, job_id=row.id):
        phase, column = found[min(counted.phase, phases - 1)], _COLUMN[counted.standing]
        phase[column] = phase.get(column, 0) + counted.count
    return [Counts(devices=sum(phase.values()), **phase) for phase in found]


def look(t: Transaction, job_id: int, may_release: bool = True) -> list[Identity]:
    """Do what is due of a job; the devices that are to be told now.  Without `may_release`, for a caller that pushes to
    nobody, there are none: their turn comes with the next look."""
    for _ in range(_MOST_STEPS):
        row = job(t, job_id)
        if row is None or row.state != "running":
            return []
        plan = plan_of(row)
        if plan.tries > 1:
            _try_again(t, row, plan.tries)
        course = Course(row.phase, row.phase_at or row.created_at, row.reached_at)
        counts = counts_of(t, row, len(plan.phases))
        action = decide(row.kind, plan, course, counts, t.now)
        match action:
            case None:
                return []
            case Halt(reason, failures):
                halt(t, row, reason if row.kind != JOB else None, failures)
            case Reach():
                change(t, row, reached_at=t.now)
                if row.kind == plans.CAMPAIGN:
                    note(t, row, "reached", phase=row.phase + 1, **_outcome(counts[row.phase]))
            case Advance(phase):
                change(t, row, phase=phase, phase_at=t.now, reached_at=None)
                note(t, row, "phase", phase=phase + 1, devices=counts[phase].devices)
            case End():
                _end(t, row, counts)
            case Release(number):
                return release(t, row, number) if may_release else []
    return []


def standing() -> Any:
    """Of a member, in SQL: waiting, or its attempt's state; a proof that was taken back is fell_back, a claim that still
    waits for one unproven."""
    return _STATE


def members_of(t: Transaction, job_id: int, conditions: list[Any], most: int) -> list[Any]:
    columns = (attempts.c.step, attempts.c.desc, attempts.c.reason, attempts.c.updated_at)
    chosen = sa.select(members, _STATE.label("standing"), *columns).select_from(_JOINED)
    return t.rows(chosen.where(members.c.job_id == job_id, *conditions).order_by(members.c.position).limit(most))


def lost_members(t: Transaction, job_id: int) -> list[Identity]:
    """Those whose last attempt failed, was cancelled, or was taken back, and that are free for another."""
    busy = sa.exists().where(
        _OTHER.c.product_key == members.c.product_key,
        _OTHER.c.device_key == members.c.device_key,
        _OTHER.c.settled.is_(False),
    )
    ended = attempts.c.settled.is_(True)
    lost = _STATE.in_(("failed", "fell_back", "cancelled", *FAILURES))
    mine = (members.c.job_id == job_id, members.c.dropped.is_(None), ended, ~busy, lost)
    return _identities(t, sa.select(members.c.product_key, members.c.device_key).select_from(_JOINED).where(*mine))


def forget_attempts(t: Transaction, job_id: int, whose: list[Identity]) -> None:
    """They wait for a turn again, with all their tries."""
    t.many(_MEMBER.values(attempt_id=None, tries=0), [_named(job_id, identity) for identity in whose])


def drop_revoked(t: Transaction, row: Any) -> None:
    """Devices that were revoked meanwhile are waited for no longer, and count no more; what is settled stays."""
    open_ones = sa.exists().where(attempts.c.id == members.c.attempt_id, attempts.c.settled.is_(False))
    gone = sa.exists().where(
        devices.c.product_key == members.c.product_key,
        devices.c.device_key == members.c.device_key,
        devices.c.state == "revoked",
    )
    mine = (members.c.job_id == row.id, members.c.dropped.is_(None), gone)
    waited = sa.or_(members.c.attempt_id.is_(None), open_ones)
    lost = _identities(t, sa.select(members.c.product_key, members.c.device_key).where(*mine, waited))
    t.many(_MEMBER.values(dropped="revoked"), [_named(row.id, identity) for identity in lost])
    for identity in lost:
        settled = {"state": "cancelled", "settled": True, "reason": "the device was revoked", "updated_at": t.now}
        theirs = (*registry.is_device(attempts, identity), attempts.c.job_id == row.id, attempts.c.settled.is_(False))
        t.execute(attempts.update().where(*theirs).values(**settled))


def _try_again(t: Transaction, row: Any, tries: int) -> None:
    """Who failed, or was out of time, and has a try left waits for another.  A refusal or a rollback is an answer."""
    failed = sa.exists().where(
        attempts.c.id == members.c.attempt_id,
        attempts.c.settled.is_(True),
        attempts.c.state.in_(("failed", "timed_out")),
    )
    left = (members.c.job_id == row.id, members.c.tries < tries, members.c.dropped.is_(None), failed)
    t.execute(members.update().where(*left).values(attempt_id=None))


def release(t: Transaction, row: Any, number: int) -> list[Identity]:
    """An attempt each for the next devices of the phases that have begun, as far as they are free for one."""
    busy = sa.exists().where(
        attempts.c.product_key == members.c.product_key,
        attempts.c.device_key == members.c.device_key,
        attempts.c.settled.is_(False),
    )
    mine = (members.c.job_id == row.id, members.c.attempt_id.is_(None), members.c.dropped.is_(None))
    order = (members.c.phase, members.c.position)
    chosen = sa.select(members.c.product_key, members.c.device_key).where(*mine, members.c.phase <= row.phase, ~busy)
    told = _identities(t, chosen.order_by(*order).limit(number))
    attempt_each(t, row.id, told)
    return told


def attempt_each(t: Transaction, job_id: int, whose: list[Identity]) -> None:
    """Members of a job get an attempt each, queued."""
    values = {"job_id": job_id, "state": "queued", "settled": False, "pushes": 0, "updated_at": t.now}
    rows = [values | identity._asdict() | {"nonce": secrets.token_urlsafe(16)} for identity in whose]
    t.many(attempts.insert(), rows)
    newest = sa.select(sa.func.max(attempts.c.id)).where(
        attempts.c.product_key == sa.bindparam("product"),
        attempts.c.device_key == sa.bindparam("key"),
        attempts.c.settled.is_(False),
    )
    put = _MEMBER.values(attempt_id=newest.scalar_subquery(), tries=members.c.tries + 1)
    t.many(put, [_named(job_id, identity) for identity in whose])


def enlist(t: Transaction, job_id: int, phased: list[tuple[Identity, int]], first: int = 0) -> None:
    """(device, phase) of new members, in the order of their turns; `first` is the place of the first."""
    rows = [
        {"job_id": job_id, "tries": 0, **identity._asdict(), "phase": phase, "position": place}
        for place, (identity, phase) in enumerate(phased, first)
    ]
    t.many(members.insert(), rows)


def _named(job_id: int, identity: Identity) -> dict[str, Any]:
    return {"job": job_id, "product": identity.product_key, "key": identity.device_key}


def _identities(t: Transaction, chosen: sa.Select[Any]) -> list[Identity]:
    return [Identity(row.product_key, row.device_key) for row in t.rows(chosen)]


def halt(t: Transaction, row: Any, reason: str | None, failures: int | None = None) -> None:
    """Nothing more is pushed.  A device that has begun ends by its own word."""
    told = {"reason": reason} if reason else {}
    finish(t, row, "halted", **told, **({} if failures is None else {"failures": failures}))
    cancel_attempts(t, row.id, ("queued",), reason or "the job was halted")


def _end(t: Transaction, row: Any, counts: list[Counts]) -> None:
    total = {name: sum(getattr(one, name) for one in counts) for name in ("proven", "claimed", "failed")}
    finish(t, row, "done", updated=total["proven"], claimed=total["claimed"], failures=total["failed"])
    cancel_attempts(t, row.id, ("queued",), "the job has ended")


def finish(t: Transaction, row: Any, state: str, **fields: Any) -> None:
    change(t, row, state=state, ended_at=t.now, reason=fields.get("reason"), paused_at=None)
    note(t, row, state, **fields)


def cancel_attempts(t: Transaction, job_id: int, states: tuple[str, ...], reason: str) -> None:
    """Those of the job that are not settled, and in one of `states`."""
    mine = (attempts.c.job_id == job_id, attempts.c.settled.is_(False), attempts.c.state.in_(states))
    rows = t.rows(sa.select(attempts.c.id, attempts.c.product_key, attempts.c.device_key).where(*mine))
    t.execute(attempts.update().where(*mine).values(state="cancelled", settled=True, reason=reason, updated_at=t.now))
    if len(rows) > _TOLD_EACH:
        t.event("attempts.cancelled", job=str(job_id), devices=len(rows), reason=reason)
        return
    for one in rows:
        identity = Identity(one.product_key, one.device_key)
        t.event("attempt.cancelled", identity, job=str(job_id), attempt=str(one.id), reason=reason)


def note(t: Transaction, row: Any, what: str, **fields: Any) -> None:
    """An event, and an entry in the job's own history."""
    t.event(f"job.{what}", job=str(row.id), **fields)
    t.execute(history.insert().values(job_id=row.id, time=t.now, event=what, fields=fields))
    newest = (
        sa.select(history.c.id)
        .where(history.c.job_id == row.id)
        .order_by(history.c.id.desc())
        .offset(_HISTORY)
        .limit(1)
    )
    t.execute(history.delete().where(history.c.job_id == row.id, history.c.id <= newest.scalar_subquery()))


def change(t: Transaction, row: Any, **values: Any) -> None:
    t.execute(jobs.update().where(jobs.c.id == row.id).values(**values))


def _outcome(count: Counts) -> dict[str, int]:
    return {name: getattr(count, name) for name in ("devices", "proven", "claimed", "failed") if getattr(count, name)}
