# SPDX-License-Identifier: MIT
"""What an operator orders of one device in its update: consent at a gate, and the way back to the release before.

Consent goes to the device at once, or not at all: it is the device that keeps it, and only one that accepts such
words.  Which image it is about is read from the job, never from the operator.

The way back is a job like any other, for the newest release that the device has proven to run before the present
one and that is still published.  The device needs no download for it while its spare slot holds that image.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from aiohttp import web

from ..clock import iso
from ..decada import envelope
from ..errors import ApiError
from ..fleet import jobs as model
from ..fleet import registry
from ..names import Identity
from ..store import Transaction
from ..store.schema import attempts, releases, reports
from . import schemas as s
from .devices import find
from .jobs import chosen, shown_job
from .operations import OPERATE, operation
from .request import only, read_object, require_admin

GATES = ("download", "activate")
MAX_VALID_S = 30 * 24 * 3600  # devices take no more
_RAN = ("running", "updated")  # outcomes of reports by a confirmed image
_ONE = "/api/v1/devices/{product_key}/{device_key}"


def routes() -> list[web.RouteDef]:
    return [web.post(_ONE + "/consent", consent), web.post(_ONE + "/rollback", rollback)]


@operation(
    OPERATE,
    "Agree, or refuse, for a device that asks",
    s.obj(gate=s.text(), answer=s.text(), expires=s.TIME),
    body=s.obj(
        "job gate",
        job=s.text(),
        gate=s.one_of("download", "activate"),
        valid_s=s.whole(1, MAX_VALID_S),
        answer=s.one_of("yes", "no"),
    ),
    refusals=(409, 503, 504),
)
async def consent(request: web.Request) -> web.Response:
    parts = require_admin(request)
    body = await read_object(request)
    only(body, "job", "gate", "valid_s", "answer")
    gate, valid_s, answer = body.get("gate"), body.get("valid_s", 3600), body.get("answer", "yes")
    if gate not in GATES or answer not in ("yes", "no"):
        raise ApiError(400, "bad_parameter", 'gate must be "download" or "activate", and answer "yes" or "no"')
    if type(valid_s) is not int or not 0 < valid_s <= MAX_VALID_S:
        raise ApiError(400, "bad_parameter", f"valid_s must be a whole number from 1 to {MAX_VALID_S}")
    with parts.store.transaction() as t:
        identity, _ = find(t, request)
        attempt = _open_attempt_in(t, identity, str(body.get("job")))
        params = {"job": str(attempt.id), "sha256": model.job_of(t, attempt).sha256, "gate": gate, "answer": answer}
        params["expires"] = t.now // 1000 + valid_s
    code, data, _ = await parts.desk.commands.invoke(identity, "trueboot.consent", params, 10.0)
    if code != envelope.OK:
        reason = data.get("reason") if isinstance(data, dict) else None
        shown = reason if isinstance(reason, str) and reason.isprintable() else "it says nothing of consent"
        raise ApiError(409, "consent_declined", f"the device does not take it ({code}): {shown[:200]}")
    with parts.store.transaction() as t:
        t.event("consent.given", identity, job=str(body.get("job")), gate=gate, answer=answer, until=params["expires"])
    return web.json_response({"gate": gate, "answer": answer, "expires": iso(params["expires"] * 1000)})


@operation(OPERATE, "Take a device back to the release before", s.ref("Job"), status=201, body=s.obj(), refusals=(409,))
async def rollback(request: web.Request) -> web.Response:
    parts = require_admin(request)
    body = await read_object(request)
    only(body)
    with parts.store.transaction() as t:
        identity, device = find(t, request)
        release = _ran_before(t, identity, device.image)
        if release is None:
            raise ApiError(
                409,
                "no_earlier_release",
                "nothing else that the device has proven to run is still published",
                "GET /api/v1/releases lists what is; a job with downgrade takes the device to any of them.",
            )
        keys = chosen(t, identity.product_key, [identity.device_key], parts.limits)
        job_id = model.create(t, release, identity.product_key, keys, 0, downgrade=True)
        shown = shown_job(t, model.job(t, job_id))
    parts.desk.push_due(identity)
    return web.json_response(shown, status=201)


def _open_attempt_in(t: Transaction, identity: Identity, job: str) -> Any:
    wanted = int(job) if job.isascii() and job.isdigit() and len(job) <= 18 else -1
    row = t.row(
        sa.select(attempts).where(
            *registry.is_device(attempts, identity), attempts.c.job_id == wanted, attempts.c.settled.is_(False)
        )
    )
    if row is None:
        raise ApiError(
            404, "no_such_attempt", "the device waits for nothing in this job", "GET /api/v1/jobs lists them."
        )
    return row


def _ran_before(t: Transaction, identity: Identity, running: str | None) -> Any | None:
    """The release of the newest report by another image than the one that runs."""
    published = {row.sha256: row for row in t.rows(sa.select(releases))}
    told = t.rows(
        sa.select(reports.c.claims).where(*registry.is_device(reports, identity)).order_by(reports.c.id.desc())
    )
    for row in told:
        image = row.claims["image"]
        if image != running and row.claims["outcome"] in _RAN and image in published:
            return published[image]
    return None
