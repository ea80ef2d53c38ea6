# SPDX-License-Identifier: MIT
"""Upgrade jobs over REST."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from aiohttp import web

from ..clock import iso
from ..errors import ApiError
from ..fleet import campaigns, running
from ..fleet import jobs as model
from ..fleet.plan import JOB
from ..limits import Limits
from ..names import Identity
from ..store import Transaction
from ..store.schema import attempts, devices, jobs, releases
from . import schemas as s
from .operations import OPERATE, READ, operation
from .request import AUDIT_DETAIL, only, query_number, read_object, require_admin

_LISTED, _LISTED_MAX = 20, 100


def routes() -> list[web.RouteDef]:
    return [
        web.get("/api/v1/jobs", list_jobs),
        web.post("/api/v1/jobs", create),
        web.get("/api/v1/jobs/{id}", show),
        web.post("/api/v1/jobs/{id}/cancel", cancel),
    ]


@operation(READ, "List jobs", s.obj(jobs=s.array(s.ref("Job"))), query={"limit": s.whole(0)})
async def list_jobs(request: web.Request) -> web.Response:
    """Newest first.  Campaigns are listed on their own road."""
    parts = require_admin(request)
    most = int(query_number(request, "limit", _LISTED, _LISTED_MAX))
    with parts.store.transaction() as t:
        rows = t.rows(sa.select(jobs).where(jobs.c.kind == JOB).order_by(jobs.c.id.desc()).limit(most))
        shown = [shown_job(t, row) for row in rows]
    return web.json_response({"jobs": shown})


@operation(
    OPERATE,
    "Update devices to a release",
    s.ref("Job"),
    status=201,
    body=s.obj(
        "target devices",
        target=s.text("a release's target path"),
        devices={"anyOf": [s.array(s.KEY), s.one_of("all")]},
        product_key=s.KEY,
        max_failures=s.whole(0),
        retry=s.FLAG,
        downgrade=s.FLAG,
    ),
    refusals=(404, 409),
)
async def create(request: web.Request) -> web.Response:
    parts = require_admin(request)
    body = await read_object(request)
    only(body, "target", "devices", "product_key", "max_failures", "retry", "downgrade")
    product_key = body.get("product_key", parts.credentials.product_key)
    max_failures = body.get("max_failures", 0)
    if type(max_failures) is not int or not 0 <= max_failures <= parts.limits.devices_per_job:
        raise ApiError(400, "bad_max_failures", "max_failures must be a whole number from 0")
    retry, downgrade = body.get("retry", False), body.get("downgrade", False)
    if type(retry) is not bool or type(downgrade) is not bool:
        raise ApiError(400, "bad_parameter", "retry and downgrade are true or false")
    with parts.store.transaction() as t:
        release = t.row(sa.select(releases).where(releases.c.target == str(body.get("target"))))
        if release is None:
            raise ApiError(
                404, "no_such_release", "no published release has this target path", "GET /api/v1/releases lists them."
            )
        keys = chosen(t, product_key, body.get("devices"), parts.limits)
        job_id = model.create(t, release, product_key, keys, max_failures, retry, downgrade)
        shown = shown_job(t, model.job(t, job_id))
    request[AUDIT_DETAIL] = {"job": str(job_id), "target": release.target, "devices": len(keys)}
    for key in keys:
        parts.desk.push_due(Identity(product_key, key))
    return web.json_response(shown, status=201)


@operation(READ, "Show a job and its attempts", s.ref("Job"))
async def show(request: web.Request) -> web.Response:
    parts = require_admin(request)
    with parts.store.transaction() as t:
        return web.json_response(shown_job(t, _find(t, request)))


@operation(OPERATE, "End a job by hand", s.ref("Job"))
async def cancel(request: web.Request) -> web.Response:
    parts = require_admin(request)
    with parts.store.transaction() as t:
        row = _find(t, request)
        if row.state not in ("done", "cancelled"):
            campaigns.abort(t, row)
        return web.json_response(shown_job(t, _find(t, request)))


def chosen(t: Transaction, product_key: Any, wanted: Any, limits: Limits) -> list[str]:
    """The device keys of a new job: known, not revoked, not busy with another."""
    usable = devices.c.state != "revoked"
    known = t.rows(
        sa.select(devices.c.device_key)
        .where(devices.c.product_key == str(product_key), usable)
        .order_by(devices.c.device_key)
    )
    keys = [row.device_key for row in known]
    if wanted != "all":
        if not isinstance(wanted, list) or not all(isinstance(key, str) for key in wanted):
            raise ApiError(400, "bad_devices", 'devices must be a list of device keys, or "all"')
        if unknown := sorted(set(wanted) - set(keys)):
            raise ApiError(
                404,
                "no_such_device",
                f"unknown or revoked: {', '.join(unknown)[:200]}",
                "GET /api/v1/devices lists them.",
            )
        keys = sorted(set(wanted))
    if not keys:
        raise ApiError(400, "no_devices", "the job would have no device")
    if len(keys) > limits.devices_per_job:
        raise ApiError(400, "too_many_devices", f"a job may have {limits.devices_per_job} devices")
    open_ones = (attempts.c.product_key == str(product_key), attempts.c.settled.is_(False))
    wanted_keys = set(keys)
    for busy in t.rows(sa.select(attempts.c.device_key, attempts.c.job_id).where(*open_ones)):
        if busy.device_key in wanted_keys:
            raise ApiError(
                409,
                "device_busy",
                f"{busy.device_key} is in job {busy.job_id}",
                f"Wait for that job, or cancel it: POST /api/v1/jobs/{busy.job_id}/cancel.",
            )
    return keys


def _find(t: Transaction, request: web.Request) -> Any:
    text = request.match_info["id"]
    row = model.job(t, int(text)) if text.isascii() and text.isdigit() and len(text) <= 18 else None
    if row is None:
        raise ApiError(404, "no_such_job", "there is no such job", "GET /api/v1/jobs lists them.")
    return row


def shown_job(t: Transaction, row: Any) -> dict[str, Any]:
    """What was sent, what was proven of it, and what its devices run now."""
    found, now = model.attempts_of(t, row.id), running.of_attempts(t, row.id)
    attempts = [_attempt(attempt, row, now.get(attempt.device_key)) for attempt in found]
    return {
        "id": str(row.id),
        "product_key": row.product_key,
        "target": row.target,
        "version": row.version,
        "state": row.state,
        "reason": row.reason,
        "max_failures": row.max_failures,
        "retry": row.retry,
        "downgrade": row.downgrade,
        "created_at": iso(row.created_at),
        "ended_at": iso(row.ended_at),
        "counts": model.counts(found, sum(attempt["runs_it"] for attempt in attempts)),
        "attempts": attempts,
    }


def _attempt(row: Any, job: Any, now: dict[str, Any] | None) -> dict[str, Any]:
    runs_it = now is not None and now["image"] == job.sha256 and not now["on_trial"]
    was = None
    if row.state == "updated" and now is not None and now["image"] != job.sha256:
        why = (now["fell_back"] or {}).get("reason") or now["reason"]
        was = f"was updated, now runs {now['version']}" + (
            " on trial" if now["on_trial"] else f": {why}" if why else ""
        )
    return {
        "id": str(row.id),
        "product_key": row.product_key,
        "device_key": row.device_key,
        "state": row.state,
        "claimed_version": row.claimed_version,
        "proven": row.proven_at is not None,
        "step": row.step,
        "desc": row.desc,
        "reason": row.reason,
        "settled": bool(row.settled),
        "running": now,
        "runs_it": runs_it,
        "fell_back": was is not None and bool(now and now["fell_back"]),
        "now": was,
        "pushes": row.pushes,
        "updated_at": iso(row.updated_at),
    }
