# SPDX-License-Identifier: MIT
"""Upgrade jobs: one release, some devices, one attempt each.

Two facts about an attempt are kept apart: `claimed`, the version that the device wrote into the cloud's own
field, and `proven`, a signed boot report that `proof` accepted.  Only the second makes an attempt "updated".

    state          means                                            leaves by
    queued         not pushed yet                                   push
    pushed         handed to the device at least once               progress, claim, report
    in_progress    the device told a step of 0 to 100               claim, report, negative step, time-out
    on_trial       a report proves that the image runs on trial     claim, report, a step below 90, time-out
    claimed        the device informs of the target version         report; time-out settles it as it is
    updated        proven                                           -
    rolled_back, refused, failed                                    a report may still say which of the three it was
    timed_out, cancelled                                            a report may still prove what happened

`settled` says that the job waits no longer.  What is proven is never changed again; what is only told yields
to what is proven.  What the outcome of its attempts means for a job is `course`'s; a job of more than one phase is a campaign.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ..limits import Limits
from ..names import Identity
from ..store import Transaction
from ..store.kept import Question
from ..store.schema import attempts, jobs, members
from . import choice, course, registry
from .course import FAILURES, job
from .plan import AUTO, JOB, automatic, plain

TRIAL_STEP = 90  # of the device's progress
STEPS = {  # what a negative step says by itself (enos-decada, 4.4)
    -1: "the upgrade failed",
    -2: "the download failed",
    -3: "the verification failed",
    -4: "writing failed",
    -5: "the device refused the upgrade",
}
_REFUSED_STEP = -5  # of the SDKs; EnOS's documents leave it to the device
WITHDRAWN = "the release was withdrawn"
BEGUN = ("pushed", "in_progress", "on_trial")
WAITING = "waiting for "  # how a device begins to say that it may go on only later: that is not late


def create(
    t: Transaction,
    release: Any,
    product_key: str,
    device_keys: list[str],
    max_failures: int,
    retry: bool = False,
    downgrade: bool = False,
) -> int:
    values = {
        "product_key": product_key,
        "target": release.target,
        "version": release.version,
        "sha256": release.sha256,
        "length": release.length,
        "max_failures": max_failures,
        "retry": retry,
        "downgrade": downgrade,
        "state": "running",
        "created_at": t.now,
        "kind": JOB,
        "plan": plain(max_failures).to_json(),
        "wanted": {"target": release.target},
        "scope": {"devices": len(device_keys)},
        "started_at": t.now,
        "phase": 0,
        "phase_at": t.now,
    }
    job_id = _new_id(t.execute(jobs.insert().values(**values)))
    whose = [Identity(product_key, key) for key in device_keys]
    course.enlist(t, job_id, [(identity, 0) for identity in whose])
    course.attempt_each(t, job_id, whose)
    told = {"target": release.target, "version": release.version, "devices": len(device_keys)}
    course.note(t, job(t, job_id), "created", **told)
    return job_id


def job_of(t: Transaction, row: Any) -> Any:
    return t.execute(sa.select(jobs).where(jobs.c.id == row.job_id)).one()


def attempts_of(t: Transaction, job_id: int) -> list[Any]:
    return t.rows(sa.select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.id))


_OPEN = Question(
    sa.select(attempts).where(
        attempts.c.product_key == sa.bindparam("product_key"),
        attempts.c.device_key == sa.bindparam("device_key"),
        attempts.c.settled.is_(False),
    )
)


def open_attempt(t: Transaction, identity: Identity) -> Any | None:
    """The one attempt of a device that is not settled (the database allows no second)."""
    found = t.kept(_OPEN, product_key=identity.product_key, device_key=identity.device_key)
    return found[0] if found else None


def attempt(t: Transaction, identity: Identity, text_id: str) -> Any | None:
    """An attempt of this device; another device's id is as unknown as none."""
    if not (text_id.isascii() and text_id.isdigit() and len(text_id) <= 18):
        return None
    return t.row(sa.select(attempts).where(*registry.is_device(attempts, identity), attempts.c.id == int(text_id)))


def take_for_push(
    t: Transaction, identity: Identity, states: tuple[str, ...], limits: Limits
) -> tuple[Any, Any] | None:
    """(attempt, job) to push now, written down as pushed before it is; None when there is nothing to push."""
    row = open_attempt(t, identity)
    if row is None or row.state not in states:
        return None
    its_job = job_of(t, row)
    if not may_push(its_job, t.now):
        return None
    if row.pushes >= limits.pushes_per_attempt:
        settle(t, row, "failed", reason="pushed too often without an answer")
        return None
    state = "pushed" if row.state == "queued" else row.state
    _update(t, row, state=state, pushes=row.pushes + 1)
    _tell(t, row, "pushed", pushes=row.pushes + 1)
    return row, its_job


def ask(t: Transaction, identity: Identity, running_version: str, wanted: str = "latest") -> tuple[Any, Any] | None:
    """(attempt, job) for a device that asks what there is for it.

    What is ordered comes first.  Where the product has auto_update "latest", a device with nothing open is given an
    attempt for the newest release that it may take (`choice`), or for the one version that it wants.
    """
    row = open_attempt(t, identity)
    if row is not None:
        its_job = job_of(t, row)
        return (row, its_job) if may_hand(its_job, t.now) and row.state != "claimed" else None
    product = registry.product(t, identity.product_key)
    if product is None or product.auto_update != "latest":
        return None
    release = choice.for_device(t, identity, running_version, wanted)
    its_job = _auto_job(t, identity.product_key, release) if release is not None else None
    if its_job is None:
        return None
    known = (members.c.job_id == its_job.id, *registry.is_device(members, identity))
    if t.row(sa.select(members.c.job_id).where(*known)) is None:
        course.enlist(t, its_job.id, [(identity, 0)])
    course.attempt_each(t, its_job.id, [identity])
    made = open_attempt(t, identity)
    return None if made is None else (made, its_job)


def _auto_job(t: Transaction, product_key: str, release: Any) -> Any | None:
    """The one job of devices that ask, for this release; None when it was halted.  A newer one ends those before it."""
    mine = (jobs.c.product_key == product_key, jobs.c.kind == AUTO)
    known = t.row(
        sa.select(jobs).where(*mine, jobs.c.sha256 == release.sha256, jobs.c.target == release.target).limit(1)
    )
    if known is not None and known.state == "done":  # ended by a newer one, and this device wants it by name
        course.change(t, known, state="running", ended_at=None)
        return job(t, known.id)
    if known is not None:
        return known if known.state == "running" else None
    line = jobs.c.target.startswith(release.target.rsplit("/", 2)[0] + "/", autoescape=True)
    for older in t.rows(sa.select(jobs).where(*mine, jobs.c.state == "running", line)):
        course.finish(t, older, "done", newer=release.version)
        course.cancel_attempts(t, older.id, ("queued",), "a newer release is offered")
    values = {name: getattr(release, name) for name in ("target", "version", "sha256", "length")}
    values |= {"product_key": product_key, "max_failures": 0, "retry": False, "downgrade": False, "state": "running"}
    values |= {"kind": AUTO, "plan": automatic().to_json(), "wanted": {"newest": True}, "scope": {"devices": "asking"}}
    values |= {"created_at": t.now, "started_at": t.now, "phase": 0, "phase_at": t.now}
    its_job = job(t, _new_id(t.execute(jobs.insert().values(**values))))
    course.note(t, its_job, "created", target=release.target, version=release.version)
    return its_job


def may_push(its_job: Any, now: int) -> bool:
    if its_job.state != "running":
        return False
    plan = course.plan_of(its_job)
    return plan.in_window(now) and not plan.on_request


def may_hand(its_job: Any, now: int) -> bool:
    """Whether a device that asks may have the offer."""
    return bool(its_job.state == "running" and course.plan_of(its_job).in_window(now))


def handed(t: Transaction, row: Any) -> None:
    """The device asked, and gets the offer as an answer: it may begin, as after a push."""
    if row.state == "queued":
        _update(t, row, state="pushed")
        _tell(t, row, "pushed", pushes=row.pushes)


def progress(t: Transaction, row: Any, step: int, desc: str) -> None:
    """A step that the device tells: 0 to 100, or a negative one, which fails the attempt."""
    if row.settled:
        return
    if step < 0:
        state = "refused" if step == _REFUSED_STEP else "failed"
        settle(t, row, state, reason=desc or STEPS.get(step, f"step {step}"), step=step, desc=desc)
        return
    back = row.state == "on_trial" and step < TRIAL_STEP  # the image is activated once more
    state = "in_progress" if back or row.state in ("queued", "pushed") else row.state
    started_at = None if desc.startswith(WAITING) else row.started_at or t.now
    # A sign of life: pushes are counted from the last one.
    _update(t, row, state=state, step=step, desc=desc, started_at=started_at, pushes=0)
    _tell(t, row, "progress", step=step, desc=desc)


def claim(t: Transaction, identity: Identity, version: str, claims_count: bool) -> None:
    """The device informs of a version.  If it is the target's, the attempt is claimed, and no more than that."""
    row = open_attempt(t, identity)
    if row is None or row.state not in BEGUN or version != job_of(t, row).version:
        return
    _update(t, row, state="claimed", claimed_version=version, claimed_at=t.now, started_at=row.started_at or t.now)
    _tell(t, row, "claimed", version=version)
    if claims_count:
        _update(t, row, settled=True)
        _review(t, row)


def count_claims(t: Transaction, product_key: str) -> None:
    """From now on a claim counts: those that wait for a proof wait no longer."""
    waiting = (attempts.c.state == "claimed", attempts.c.settled.is_(False), attempts.c.product_key == product_key)
    for row in t.rows(sa.select(attempts).where(*waiting)):
        _update(t, row, settled=True)
        _review(t, row)


def on_trial(t: Transaction, row: Any, version: str, slot: str) -> None:
    """A report proves that the device runs the release on trial.  That settles nothing."""
    if row.settled or row.state not in ("queued", *BEGUN):
        return
    _update(t, row, state="on_trial", started_at=row.started_at or t.now)
    _tell(t, row, "on_trial", version=version, slot=slot)


def counts(rows: list[Any], now_running: int) -> dict[str, int]:
    """Each attempt once, and how many devices run the release by their own proof."""
    unproven = sum(_is_unproven(row) for row in rows)
    found = {
        "proven": sum(row.state == "updated" for row in rows),
        "claimed": sum(row.state == "claimed" for row in rows) - unproven,
        "failed": sum(row.state in FAILURES for row in rows) + unproven,
        "cancelled": sum(row.state == "cancelled" for row in rows),
    }
    waiting = len(rows) - sum(found.values())
    return {"devices": len(rows), **found, "waiting": waiting, "running": now_running}


def proven(t: Transaction, row: Any, outcome: str, report_id: int, reason: str) -> None:
    """A report was accepted for this attempt."""
    settle(t, row, outcome, reason=reason or None, report_id=report_id, proven_at=t.now)


def settle(t: Transaction, row: Any, state: str, **values: Any) -> None:
    _update(t, row, state=state, settled=True, **values)
    shown = {name: values[name] for name in ("reason", "step") if values.get(name) is not None}
    _tell(t, row, state, proven=values.get("proven_at") is not None, **shown)
    _review(t, row, state in FAILURES)


def _review(t: Transaction, row: Any, failed: bool = False) -> None:
    """What came of it for its job: a plain job at once.  A crowd's successes are counted together, at the next look."""
    its_job = job(t, row.job_id)
    if failed or (its_job is not None and its_job.kind == JOB):
        course.look(t, row.job_id, may_release=False)


def withdraw(t: Transaction, target: str, sha256: str) -> None:
    """A release is published no more: its jobs push to nobody else.  A device that has begun ends by its own word."""
    same = (jobs.c.target == target, jobs.c.sha256 == sha256, jobs.c.state.in_(("running", "paused")))
    for row in t.rows(sa.select(jobs).where(*same)):
        course.halt(t, row, WITHDRAWN)


def expire(t: Transaction, limits: Limits) -> None:
    """Settle what has waited too long: since its first step, or, in a job that pushes no more, since its last change.

    A campaign does not wait either for who was told and says nothing.
    """
    default = t.now - limits.attempt_timeout_s * 1000
    limit = sa.case((jobs.c.timeout_s.is_not(None), t.now - jobs.c.timeout_s * 1000), else_=default)
    late = sa.or_(
        attempts.c.started_at <= limit,
        sa.and_(jobs.c.state.not_in(("running", "paused")), attempts.c.updated_at <= limit),
        sa.and_(jobs.c.timeout_s.is_not(None), attempts.c.state == "pushed", attempts.c.updated_at <= limit),
    )
    joined = attempts.join(jobs, jobs.c.id == attempts.c.job_id)
    for row in t.rows(sa.select(attempts).select_from(joined).where(attempts.c.settled.is_(False), late)):
        if row.state == "claimed":  # a claim without proof stays what it is
            _update(t, row, settled=True, reason="no proof came")
            _review(t, row, failed=True)
        else:
            settle(t, row, "timed_out", reason="no outcome in time")


def _is_unproven(row: Any) -> bool:
    """A claim whose time for a proof is over (one that counts as it is has no reason)."""
    return row.state == "claimed" and bool(row.settled) and row.reason is not None


def _update(t: Transaction, row: Any, **values: Any) -> None:
    t.execute(attempts.update().where(attempts.c.id == row.id).values(updated_at=t.now, **values))


def _tell(t: Transaction, row: Any, what: str, **fields: Any) -> None:
    identity = Identity(row.product_key, row.device_key)
    t.event(f"attempt.{what}", identity, job=str(row.job_id), attempt=str(row.id), **fields)


def _new_id(result: Any) -> int:
    return int(result.inserted_primary_key[0])
