# SPDX-License-Identifier: MIT
"""Campaigns: jobs that go through a scope of devices in phases.  See `plan`, `scope`, `decision`, `course`.

    state       means                                               leaves by
    created     to be started by hand                               start, abort
    scheduled   begins at `start_at`                                its time, start, abort
    running     in one of its phases                                the last phase's end, pause, abort, a halt
    paused      nobody is told anything new; who has begun goes on  resume, abort
    halted      too many failures, or out of time                   retry, abort
    done        the last phase has ended                            retry
    cancelled   aborted                                             -

Release and devices are settled on when it begins, not when it is made: "the newest" is that day's.  A pause does not
count as time of a phase.  A retry is for the devices that failed or were cancelled; they are told to try an image
again that they have refused.  Every function runs inside the caller's transaction and gives whom to push at after it.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ..errors import ApiError
from ..limits import Limits
from ..names import Identity
from ..store import Transaction
from ..store.schema import attempts, jobs, members, releases
from . import choice, course, scope
from .plan import AUTO, CAMPAIGN, Plan

DUE = ("running", "scheduled")
OPEN = ("created", "scheduled", "running", "paused")


def create(
    t: Transaction,
    limits: Limits,
    product_key: str,
    wanted: dict[str, Any],
    plan: Plan,
    whom: dict[str, Any],
    start_at: int | None = 0,
    name: str | None = None,
    timeout_s: int | None = None,
    retry: bool = False,
    downgrade: bool = False,
    **enos: Any,
) -> int:
    """`start_at`: milliseconds since 1970; 0: now; None: when it is started by hand.  ApiError.

    `enos`: the columns of a job that is made over EnOS's REST.
    """
    open_ones = sa.select(sa.func.count()).where(jobs.c.kind == CAMPAIGN, jobs.c.state.in_(OPEN))
    if t.execute(open_ones).scalar_one() >= limits.campaigns_open:
        raise ApiError(409, "too_many_campaigns", f"{limits.campaigns_open} campaigns are open", "End some of them.")
    known = choice.resolve(t, wanted) if "newest" not in wanted or start_at == 0 else None
    if lost := scope.unknown(t, product_key, whom):
        text = f"unknown or revoked: {', '.join(lost)[:200]}"
        raise ApiError(404, "no_such_device", text, "GET /api/v1/devices lists them.")
    values = {
        "product_key": product_key,
        "target": known.target if known else "",
        "version": known.version if known else "",
        "sha256": known.sha256 if known else "",
        "length": known.length if known else 0,
        "max_failures": 0,
        "retry": retry,
        "downgrade": downgrade,
        "state": "created" if start_at is None else "scheduled",
        "created_at": t.now,
        "kind": CAMPAIGN,
        "name": name,
        "plan": plan.to_json(),
        "wanted": wanted,
        "scope": whom,
        "timeout_s": timeout_s or limits.attempt_timeout_s,
        "start_at": start_at or (t.now if start_at == 0 else None),
        "phase": 0,
        **enos,
    }
    job_id = int(t.execute(jobs.insert().values(**values)).inserted_primary_key[0])  # type: ignore[index]
    told = {"target": known.target, "version": known.version} if known else {}
    course.note(t, _row(t, job_id), "created", **told, **({"name": name} if name else {}))
    if start_at == 0:
        begin(t, limits, _row(t, job_id))
    return job_id


def begin(t: Transaction, limits: Limits, row: Any) -> None:
    """Settle on the release and, in the order of their turns, on the devices.  ApiError when there are none."""
    release = choice.resolve(t, row.wanted)
    if row.sha256 and row.sha256 != release.sha256:
        raise ApiError(409, "release_changed", "another image was published under this name since")
    plan = course.plan_of(row)
    keys = scope.matching(t, row, row.scope)
    if not keys and not plan.dynamic:
        raise ApiError(400, "no_devices", "no device matches", "GET /api/v1/devices shows what they have.")
    if len(keys) > limits.devices_per_job:
        raise ApiError(400, "too_many_devices", f"a campaign may have {limits.devices_per_job} devices")
    bounds, phase, phased = plan.bounds(len(keys)), 0, []
    for place, key in enumerate(keys):
        while place >= bounds[phase]:
            phase += 1
        phased.append((key, phase))
    course.enlist(t, row.id, phased)
    settled = {name: getattr(release, name) for name in ("target", "version", "sha256", "length")}
    course.change(t, row, **settled, state="running", started_at=t.now, phase=0, phase_at=t.now)
    sizes = [after - before for before, after in zip([0, *bounds], bounds, strict=False)]
    told = {"target": release.target, "version": release.version}
    course.note(t, row, "started", **told, devices=len(keys), phases=sizes)


def start(t: Transaction, limits: Limits, row: Any) -> list[Identity]:
    _expect(row, "started", "created", "scheduled")
    begin(t, limits, row)
    return course.look(t, row.id)


def pause(t: Transaction, row: Any) -> list[Identity]:
    _expect(row, "paused", "running")
    course.change(t, row, state="paused", paused_at=t.now)
    course.note(t, row, "paused")
    return []


def resume(t: Transaction, row: Any) -> list[Identity]:
    _expect(row, "resumed", "paused")
    lost = max(0, t.now - row.paused_at)
    moved = {name: getattr(row, name) + lost for name in ("phase_at", "reached_at") if getattr(row, name) is not None}
    course.change(t, row, state="running", paused_at=None, **moved)
    course.note(t, row, "resumed")
    return course.look(t, row.id) + queued(t, row.id)


def abort(t: Transaction, row: Any) -> list[Identity]:
    """What a device has begun it may still finish, and then prove."""
    _expect(row, "aborted", "created", "scheduled", "running", "paused", "halted")
    course.finish(t, row, "cancelled")
    course.cancel_attempts(t, row.id, ("queued", *course.BEGUN), "the job was cancelled")
    return []


def retry(t: Transaction, row: Any) -> list[Identity]:
    """Once more, for who failed, fell back or was cancelled."""
    _expect(row, "retried", "running", "paused", "halted", "done")
    if row.kind == AUTO:
        raise ApiError(409, "devices_ask", "its devices ask by themselves", "Make a campaign for the release.")
    same = (releases.c.target == row.target, releases.c.sha256 == row.sha256)
    if t.row(sa.select(releases.c.target).where(*same)) is None:
        raise ApiError(409, "release_withdrawn", "its release is published no more", "Make a campaign for another one.")
    again = course.lost_members(t, row.id)
    if not again:
        raise ApiError(409, "nothing_to_retry", "no device of it failed or was cancelled")
    course.forget_attempts(t, row.id, again)
    state = "paused" if row.state == "paused" else "running"
    course.change(t, row, state=state, retry=True, ended_at=None, reason=None, reached_at=None, phase_at=t.now)
    course.note(t, row, "retried", devices=len(again))
    return course.look(t, row.id)


def due(t: Transaction) -> list[int]:
    """The jobs that may have something to do by themselves."""
    mine = (jobs.c.state.in_(DUE), jobs.c.kind.in_((CAMPAIGN, AUTO)))
    return [row.id for row in t.rows(sa.select(jobs.c.id).where(*mine).order_by(jobs.c.id))]


def tick(t: Transaction, limits: Limits, job_id: int) -> list[Identity]:
    """Whatever is due of one job now."""
    row = course.job(t, job_id)
    if row is None or row.state not in DUE:
        return []
    if row.state == "scheduled":
        if row.start_at > t.now:
            return []
        try:
            begin(t, limits, row)
        except ApiError as error:
            course.halt(t, row, error.message)
            return []
    else:
        course.drop_revoked(t, row)
        if row.kind == CAMPAIGN and course.plan_of(row).dynamic:
            _join(t, limits, row)
    return course.look(t, job_id)


def queued(t: Transaction, job_id: int) -> list[Identity]:
    """Who is to be told, and was not there yet."""
    mine = (attempts.c.job_id == job_id, attempts.c.state == "queued", attempts.c.settled.is_(False))
    rows = t.rows(sa.select(attempts.c.product_key, attempts.c.device_key).where(*mine))
    return [Identity(row.product_key, row.device_key) for row in rows]


def _join(t: Transaction, limits: Limits, row: Any) -> None:
    """Devices that begin to match join the last phase."""
    keys = scope.matching(t, row, row.scope, joining=True)
    if not keys:
        return
    there = t.execute(sa.select(sa.func.count()).select_from(members).where(members.c.job_id == row.id)).scalar_one()
    last = len(course.plan_of(row).phases) - 1
    keys = keys[: max(0, limits.devices_per_job - there)]
    course.enlist(t, row.id, [(key, last) for key in keys], there)
    t.event("job.joined", job=str(row.id), devices=len(keys))


def _expect(row: Any, verb: str, *states: str) -> None:
    if row.state not in states:
        raise ApiError(
            409,
            "wrong_state",
            f"a campaign that is {row.state} cannot be {verb}",
            f"It can be when it is {' or '.join(states)}.",
        )


def _row(t: Transaction, job_id: int) -> Any:
    return t.execute(sa.select(jobs).where(jobs.c.id == job_id)).one()
