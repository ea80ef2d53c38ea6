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
to what is proven.  More failures than `max_failures` halt the job: nothing more is pushed.
"""

from __future__ import annotations

import secrets
from typing import Any

import sqlalchemy as sa

from ..limits import Limits
from ..names import Identity
from ..store import Transaction
from ..store.schema import attempts, jobs
from . import registry

FAILURES = ("failed", "rolled_back", "refused", "timed_out")
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
    job_id = _new_id(
        t.execute(
            jobs.insert().values(
                product_key=product_key,
                target=release.target,
                version=release.version,
                sha256=release.sha256,
                length=release.length,
                max_failures=max_failures,
                retry=retry,
                downgrade=downgrade,
                state="running",
                created_at=t.now,
            )
        )
    )
    rows = [
        {
            "job_id": job_id,
            "product_key": product_key,
            "device_key": device_key,
            "nonce": secrets.token_urlsafe(16),
            "state": "queued",
            "settled": False,
            "pushes": 0,
            "updated_at": t.now,
        }
        for device_key in device_keys
    ]
    for row in rows:
        t.execute(attempts.insert().values(**row))
    t.event("job.created", job=str(job_id), target=release.target, version=release.version, devices=len(rows))
    return job_id


def job(t: Transaction, job_id: int) -> Any | None:
    return t.row(sa.select(jobs).where(jobs.c.id == job_id))


def job_of(t: Transaction, row: Any) -> Any:
    return t.execute(sa.select(jobs).where(jobs.c.id == row.job_id)).one()


def attempts_of(t: Transaction, job_id: int) -> list[Any]:
    return t.rows(sa.select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.id))


def open_attempt(t: Transaction, identity: Identity) -> Any | None:
    """The one attempt of a device that is not settled (the database allows no second)."""
    return t.row(sa.select(attempts).where(*registry.is_device(attempts, identity), attempts.c.settled.is_(False)))


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
    if its_job.state != "running":
        return None
    if row.pushes >= limits.pushes_per_attempt:
        settle(t, row, "failed", reason="pushed too often without an answer")
        return None
    state = "pushed" if row.state == "queued" else row.state
    _update(t, row, state=state, pushes=row.pushes + 1)
    _tell(t, row, "pushed", pushes=row.pushes + 1)
    return row, its_job


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
        review(t, row.job_id)


def count_claims(t: Transaction, product_key: str) -> None:
    """From now on a claim counts: those that wait for a proof wait no longer."""
    waiting = (attempts.c.state == "claimed", attempts.c.settled.is_(False), attempts.c.product_key == product_key)
    for row in t.rows(sa.select(attempts).where(*waiting)):
        _update(t, row, settled=True)
        review(t, row.job_id)


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
    review(t, row.job_id)


def review(t: Transaction, job_id: int) -> None:
    """Halt a running job that failed too often; end one that waits for nobody."""
    its_job = job(t, job_id)
    if its_job is None or its_job.state != "running":
        return
    rows = attempts_of(t, job_id)
    failures = sum(row.state in FAILURES or _is_unproven(row) for row in rows)
    if failures > its_job.max_failures:
        _end(t, job_id, "halted", failures=failures)
        _cancel(t, [row for row in rows if row.state == "queued"], "the job was halted")
    elif all(row.settled for row in rows):
        updated, claimed = (sum(row.state == state for row in rows) for state in ("updated", "claimed"))
        _end(t, job_id, "done", updated=updated, claimed=claimed, failures=failures)


def cancel(t: Transaction, job_id: int) -> None:
    """End a job by hand.  What a device has begun it may still finish, and then prove."""
    its_job = job(t, job_id)
    if its_job is None or its_job.state not in ("running", "halted"):
        return
    _end(t, job_id, "cancelled")
    _cancel(t, [row for row in attempts_of(t, job_id) if not row.settled], "the job was cancelled")


def withdraw(t: Transaction, target: str, sha256: str) -> None:
    """A release is published no more: its jobs push to nobody else.  A device that has begun ends by its own word."""
    same = (jobs.c.target == target, jobs.c.sha256 == sha256, jobs.c.state == "running")
    for row in t.rows(sa.select(jobs).where(*same)):
        _end(t, row.id, "halted", reason=WITHDRAWN)
        _cancel(t, [attempt for attempt in attempts_of(t, row.id) if attempt.state == "queued"], WITHDRAWN)


def expire(t: Transaction, limits: Limits) -> None:
    """Settle what has waited too long: since its first step, or, in a job that pushes no more, since its last change."""
    limit = t.now - limits.attempt_timeout_s * 1000
    late = sa.or_(
        attempts.c.started_at <= limit,
        sa.and_(jobs.c.state != "running", attempts.c.updated_at <= limit),
    )
    joined = attempts.join(jobs, jobs.c.id == attempts.c.job_id)
    for row in t.rows(sa.select(attempts).select_from(joined).where(attempts.c.settled.is_(False), late)):
        if row.state == "claimed":  # a claim without proof stays what it is
            _update(t, row, settled=True, reason="no proof came")
            review(t, row.job_id)
        else:
            settle(t, row, "timed_out", reason="no outcome in time")


def _is_unproven(row: Any) -> bool:
    """A claim whose time for a proof is over (one that counts as it is has no reason)."""
    return row.state == "claimed" and bool(row.settled) and row.reason is not None


def _end(t: Transaction, job_id: int, state: str, **fields: Any) -> None:
    values = {"state": state, "ended_at": t.now, "reason": fields.get("reason")}
    t.execute(jobs.update().where(jobs.c.id == job_id).values(**values))
    t.event(f"job.{state}", job=str(job_id), **fields)


def _cancel(t: Transaction, rows: list[Any], reason: str) -> None:
    for row in rows:
        _update(t, row, state="cancelled", settled=True, reason=reason)
        _tell(t, row, "cancelled", reason=reason)


def _update(t: Transaction, row: Any, **values: Any) -> None:
    t.execute(attempts.update().where(attempts.c.id == row.id).values(updated_at=t.now, **values))


def _tell(t: Transaction, row: Any, what: str, **fields: Any) -> None:
    identity = Identity(row.product_key, row.device_key)
    t.event(f"attempt.{what}", identity, job=str(row.job_id), attempt=str(row.id), **fields)


def _new_id(result: Any) -> int:
    return int(result.inserted_primary_key[0])
