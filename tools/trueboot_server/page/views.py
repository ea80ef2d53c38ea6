# SPDX-License-Identifier: MIT
"""The pages.  Each is one read of the database and one template; parts that may become stale are asked for as the whole."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from aiohttp import web

from .. import audit
from ..clock import iso
from ..errors import ApiError
from ..fleet import jobs as model
from ..fleet import overview, registry, running, samples
from ..fleet.plan import JOB
from ..https.campaigns import shown_campaign
from ..https.operations import READ
from ..names import Identity, is_identity
from ..store import Transaction
from ..store.schema import attempts, events, jobs, reports
from . import drawing
from .roads import Visit, page, road
from .words import said

ROWS = 50
REASONS = ("unspecified", "keyCompromise", "cessationOfOperation", "superseded")
VERBS = {  # what may be ordered of a campaign, by its state
    "start": ("created", "scheduled"),
    "pause": ("running",),
    "resume": ("paused",),
    "retry": ("halted", "done"),
    "abort": ("created", "scheduled", "running", "paused", "halted"),
}
_MOST_VERSIONS = 5
# (state of an attempt, tone of its part of the bar), in the order of the bar
_BAR = (
    ("updated", "good"), ("claimed", "warn"), ("on_trial", "busy"), ("in_progress", "busy"), ("pushed", "busy"),
    ("queued", "dim"), ("waiting", "dim"), ("cancelled", "off"), ("unproven", "bad"), ("failed", "bad"), ("rolled_back", "bad"),
    ("refused", "bad"), ("timed_out", "bad"),
)  # fmt: skip


@road(READ, "The fleet at a glance", "page.overview")
async def overview_page(visit: Visit) -> web.Response:
    parts = visit.parts
    with parts.store.transaction() as t:
        counts = overview.counts(t, parts.desk.online, parts.limits)
        now = overview.versions(t, _MOST_VERSIONS)
        past = samples.read(t)
        latest = _jobs(
            t, sa.select(jobs).order_by(sa.case((jobs.c.state == "running", 0), else_=1), jobs.c.id.desc()), 5
        )
        told = t.rows(_TOLD.limit(12))
        time = t.now
    names = [*[name for name in now if name != "other"], *_earlier(past, now)][:_MOST_VERSIONS]
    curve = [*past, (time, now)]
    return page(
        visit.request,
        "overview.html",
        visit.session,
        counts=counts,
        states=overview.STATES,
        versions=[(name, now.get(name, 0)) for name in names],
        curve=drawing.shares(curve, [*names, "other"], "devices by version, over time"),
        begins=curve[0][0],
        jobs=latest,
        told=[_event(row) for row in told],
    )


@road(READ, "Devices, filtered and a page at a time", "page.devices")
async def devices_page(visit: Visit) -> web.Response:
    parts, query = visit.parts, visit.request.query
    state = query.get("state", "")
    wanted = overview.Wanted(
        state if state in overview.STATES else "",
        query.get("product", "")[:64],
        query.get("version", "")[:64],
        query.get("text", "")[:64],
    )
    offset = visit.number("offset", 10_000_000) // ROWS * ROWS
    with parts.store.transaction() as t:
        found = overview.page(t, wanted, parts.desk.online, parts.limits, offset, ROWS)
        certificates = overview.newest_certificates(t, found.rows)
        begun = overview.open_attempts(t, found.rows)
        signed = running.Signed(t)
        versions = list(overview.versions(t, 50))
        now = t.now
    rows = [_device(visit, row, certificates, begun, signed, now) for row in found.rows]
    return page(
        visit.request,
        "devices.html",
        visit.session,
        devices=rows,
        total=found.total,
        wanted=wanted,
        states=overview.STATES,
        versions=[name for name in versions if name != "other"],
        offset=offset,
        rows=ROWS,
    )


@road(READ, "One device, and what it has lived through", "page.device")
async def device_page(visit: Visit) -> web.Response:
    parts = visit.parts
    identity = Identity(visit.request.match_info["product_key"], visit.request.match_info["device_key"])
    with parts.store.transaction() as t:
        row = registry.device(t, identity) if is_identity(identity) else None
        if row is None:
            raise ApiError(404, "no_such_device", "there is no such device")
        certificates = overview.newest_certificates(t, [row])
        begun = overview.open_attempts(t, [row])
        signed = running.Signed(t)
        shown = _device(visit, row, certificates, begun, signed, t.now)
        told = t.rows(_TOLD.where(*registry.is_device(events, identity), events.c.event != "telemetry").limit(60))
        signed_reports = t.rows(
            sa.select(reports).where(*registry.is_device(reports, identity)).order_by(reports.c.id.desc()).limit(10)
        )
        tried = t.rows(
            sa.select(attempts, jobs.c.version)
            .join(jobs, jobs.c.id == attempts.c.job_id)
            .where(*registry.is_device(attempts, identity))
            .order_by(attempts.c.id.desc())
            .limit(10)
        )
    return page(
        visit.request,
        "device.html",
        visit.session,
        device=shown,
        row=row,
        reasons=REASONS,
        told=[_event(one) for one in told],
        reports=signed_reports,
        attempts=tried,
    )


@road(READ, "Jobs, the newest first", "page.jobs")
async def jobs_page(visit: Visit) -> web.Response:
    before = visit.number("before", 2**31)
    statement = sa.select(jobs).order_by(jobs.c.id.desc())
    if before:
        statement = statement.where(jobs.c.id < before)
    with visit.parts.store.transaction() as t:
        found = _jobs(t, statement, ROWS)
    more = found[-1]["row"].id if len(found) == ROWS else 0
    return page(visit.request, "jobs.html", visit.session, jobs=found, before=before, more=more)


@road(READ, "One job and its attempts", "page.job")
async def job_page(visit: Visit) -> web.Response:
    text = visit.request.match_info["id"]
    state = visit.request.query.get("state", "")
    offset = visit.number("offset", 10_000_000) // ROWS * ROWS
    with visit.parts.store.transaction() as t:
        row = model.job(t, int(text)) if text.isascii() and text.isdigit() and len(text) < 18 else None
        if row is None:
            raise ApiError(404, "no_such_job", "there is no such job")
        shown = _jobs(t, sa.select(jobs).where(jobs.c.id == row.id), 1)[0]
        of_job = sa.select(attempts).where(attempts.c.job_id == row.id)
        if state in dict(_BAR):
            of_job = of_job.where(attempts.c.state == state)
        # What is under way first, then what went wrong.
        plan = shown_campaign(t, row, whole=True) if row.kind != JOB else None
        rank = sa.case((attempts.c.settled.is_(False), 0), (attempts.c.state == "updated", 2), else_=1)
        found = t.rows(of_job.order_by(rank, attempts.c.updated_at.desc(), attempts.c.id).limit(ROWS).offset(offset))
    return page(
        visit.request,
        "job.html",
        visit.session,
        job=shown,
        plan=plan,
        verbs=[verb for verb, states in VERBS.items() if row.state in states],
        attempts=found,
        state=state,
        offset=offset,
        rows=ROWS,
        total=shown["counts"].get(state, 0) if state else shown["counts"]["devices"],
    )


@road(READ, "The audit log", "page.audit")
async def audit_page(visit: Visit) -> web.Response:
    before = visit.number("before", 2**53)
    who = visit.request.query.get("who", "")[:64]
    with visit.parts.store.transaction() as t:
        found = audit.page(t, ROWS, before, who)
    more = found[-1].id if len(found) == ROWS else 0
    return page(visit.request, "audit.html", visit.session, audit=found, before=before, more=more, who=who)


_TOLD = sa.select(events).order_by(events.c.seq.desc())


def _event(row: Any) -> dict[str, Any]:
    """`fields` as short words; a long one is cut, since a page is no place for it."""
    fields = [(name, said(value)) for name, value in row.fields.items() if value not in (None, "")]
    device = f"{row.product_key}/{row.device_key}" if row.device_key else ""
    return {"seq": row.seq, "time": row.time, "event": row.event, "device": device, "fields": fields}


def _earlier(past: list[tuple[int, dict[str, int]]], now: dict[str, int]) -> list[str]:
    """Versions that ran and run no more, the commonest first."""
    totals: dict[str, int] = {}
    for _, counts in past:
        for name, number in counts.items():
            if name != "other" and name not in now:
                totals[name] = totals.get(name, 0) + number
    return sorted(totals, key=lambda name: -totals[name])


def _jobs(t: Transaction, statement: sa.Select[Any], most: int) -> list[dict[str, Any]]:
    rows = t.rows(statement.limit(most))
    counted = overview.job_counts(t, [row.id for row in rows])
    return [_job(row, counted[row.id]) for row in rows]


def _job(row: Any, counts: dict[str, int]) -> dict[str, Any]:
    parts = [(state, tone, counts.get(state, 0)) for state, tone in _BAR]
    label = ", ".join(f"{number} {state.replace('_', ' ')}" for state, _, number in parts if number)
    failures = sum(counts.get(state, 0) for state in (*model.FAILURES, "unproven"))
    return {
        "row": row,
        "counts": counts,
        "failures": failures,
        "proven": counts.get("updated", 0),
        "states": [(state, number) for state, _, number in parts if number],
        "bar": drawing.bar([(tone, number) for _, tone, number in parts], label or "no device"),
        "is_campaign": row.kind != JOB,
        "open": row.state not in ("done", "cancelled"),
    }


def _device(
    visit: Visit,
    row: Any,
    certificates: dict[tuple[str, str], Any],
    begun: dict[tuple[str, str], Any],
    signed: running.Signed,
    now: int,
) -> dict[str, Any]:
    key = (row.product_key, row.device_key)
    runs, attempt, certificate = running.shown(row, signed), begun.get(key), certificates.get(key)
    return {
        "product_key": row.product_key,
        "device_key": row.device_key,
        "state": row.state,
        "online": visit.parts.desk.online(Identity(*key)),
        "standing": overview.standing(row),
        "attempt": attempt,
        "version": runs["version"] if runs else row.claimed_version,
        "proven": row.proven_version,
        "claimed": row.claimed_version,
        "slot": row.slot,
        "image": runs["image"] if runs else "",
        "measured": runs["measured"] if runs else "",
        "boot": runs["boot"] if runs else None,
        "floor": runs["floor"] if runs else None,
        "outcome": runs["outcome"] if runs else "",
        "reported_at": row.reported_at,
        "last_seen": row.last_seen,
        "why": _why(runs, attempt, row),
        "certificate": certificate,
        "expired": certificate is not None and certificate.not_after <= now,
        "ends_soon": certificate is not None and certificate.not_after <= now + 30 * 86_400_000,
        "in_tpm": bool(certificate is not None and certificate.attested),
        "tpm": row.tpm,
        "attested_at": iso(row.attested_at),
    }


def _why(runs: dict[str, Any] | None, attempt: Any | None, row: Any) -> str:
    """What an operator would ask next about it."""
    said = []
    if attempt is not None:
        said.append(attempt.desc or f"job {attempt.job_id}: {attempt.state.replace('_', ' ')}")
    if runs is not None:
        said += [runs["reason"] or "", *[remark for remark in runs["remarks"] if remark != "on trial"]]
        if runs["fell_back"] and runs["fell_back"].get("reason"):
            said.append(runs["fell_back"]["reason"])
    if row.reflashed_at is not None:
        said.append("asked again for a secret that was used: reflashed?")
    return "; ".join(dict.fromkeys(part for part in said if part))[:300]
