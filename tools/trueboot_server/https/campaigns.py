# SPDX-License-Identifier: MIT
"""Campaigns over REST: a release for a scope of devices, phase by phase.  See `fleet.campaigns`.

Counts come from the database as counts, however many devices there are; devices are listed page by page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa
from aiohttp import web

from .. import strict_json
from ..clock import iso
from ..errors import ApiError
from ..fleet import campaigns as model
from ..fleet import choice, course, registry, scope
from ..fleet import plan as plans
from ..fleet.decision import Counts
from ..limits import Limits
from ..names import Identity
from ..store import Transaction
from ..store.schema import history, jobs, members
from . import schemas as s
from .operations import OPERATE, READ, operation
from .parts import PARTS, Parts
from .request import AUDIT_DETAIL, only, query_number, read_body, read_object, require_admin

_Act = Callable[[Transaction, Limits, Any], list[Identity]]

_LISTED, _LISTED_MAX = 20, 100
_ALL = "/api/v1/campaigns"
_ONE = _ALL + "/{id}"
_OWN = ("name", "product_key", "target", "version", "newest", "scope", "start", "timeout_s", "retry", "downgrade")
_WORST = 20  # devices that are shown with a campaign, of those that failed
_AMOUNT = [s.whole(1), s.SHARE]
_THRESHOLDS: dict[str, s.Schema] = {
    "success": s.whole(0, 100),
    "max_failures": {"anyOf": [s.whole(0), s.SHARE]},
    "soak_s": s.whole(0, plans.MAX_SECONDS),
    "phase_s": s.whole(1, plans.MAX_SECONDS),
}


def routes() -> list[web.RouteDef]:
    return [
        web.get(_ALL, list_campaigns),
        web.post(_ALL, create),
        web.get(_ONE, show),
        web.get(_ONE + "/devices", list_devices),
        *(web.post(f"{_ONE}/{verb}", _order(verb, text, act)) for verb, (text, act) in _ORDERS.items()),
    ]


@operation(READ, "List campaigns", s.obj(campaigns=s.array(s.ref("Campaign"))), query={"limit": s.whole(0)})
async def list_campaigns(request: web.Request) -> web.Response:
    """Newest first, without their history."""
    parts = require_admin(request)
    most = int(query_number(request, "limit", _LISTED, _LISTED_MAX))
    with parts.store.transaction() as t:
        mine = jobs.c.kind != plans.JOB
        rows = t.rows(sa.select(jobs).where(mine).order_by(jobs.c.id.desc()).limit(most))
        shown = [shown_campaign(t, row) for row in rows]
    return web.json_response({"campaigns": shown})


@operation(
    OPERATE,
    "Roll a release out, phase by phase",
    s.ref("Campaign"),
    status=201,
    body=s.obj(
        "scope",
        name=s.text(),
        product_key=s.KEY,
        target=s.text("a release's target path"),
        version=s.text("or a version that one release has"),
        newest={"description": "or the newest release", "anyOf": [s.text("KIND/HARDWARE"), s.FLAG]},
        scope=s.obj(
            "",
            products={"anyOf": [s.array(s.KEY), s.one_of("all")]},
            devices={"anyOf": [s.array(s.KEY), s.one_of("all")]},
            tags=s.table(s.text()),
            proven_version=s.text("a range of versions"),
            claimed_version=s.text("a range of versions"),
        ),
        dynamic=s.FLAG,
        on_request=s.FLAG,
        tries=s.whole(1, plans.MAX_TRIES),
        phases=s.array({"anyOf": [*_AMOUNT, s.obj("size", size={"anyOf": _AMOUNT}, **_THRESHOLDS)]}),
        **_THRESHOLDS,
        at_once=s.whole(1),
        timeout_s=s.whole(1, plans.MAX_SECONDS),
        start=s.text("now, later, or a time (UTC)"),
        window=s.text("22:00-04:00, UTC"),
        retry=s.FLAG,
        downgrade=s.FLAG,
    ),
    refusals=(404, 409),
)
async def create(request: web.Request) -> web.Response:
    parts = require_admin(request)
    body = await _read(request)
    only(body, *_OWN, *plans.MEMBERS)
    limits = parts.limits
    try:
        plan, wanted = plans.read(body), choice.wanted_in(body)
        whom = scope.read(body.get("scope"), limits.devices_per_job)
        start_at = _start(body.get("start", "now"))
        timeout_s = None if body.get("timeout_s") is None else plans.seconds(body["timeout_s"], "timeout_s")
        name = _name(body.get("name"))
        for flag in ("retry", "downgrade"):
            if type(body.get(flag, False)) is not bool:
                raise plans.BadPlan(f"{flag} is true or false")
    except plans.BadPlan as error:
        raise ApiError(400, "bad_campaign", str(error), "See docs/campaigns.md.") from error
    product_key = body.get("product_key", parts.credentials.product_key)
    with parts.store.transaction() as t:
        if not isinstance(product_key, str) or registry.product(t, product_key) is None:
            raise ApiError(404, "no_such_product", "there is no such product", "GET /api/v1/products lists them.")
        told = whom.get("products", "all")
        if told != "all" and any(registry.product(t, one) is None for one in told):
            raise ApiError(404, "no_such_product", "scope.products: not all exist", "GET /api/v1/products lists them.")
        orders = {flag: body.get(flag, False) for flag in ("retry", "downgrade")}
        job_id = model.create(t, limits, product_key, wanted, plan, whom, start_at, name, timeout_s, **orders)
    await asyncio.sleep(0)  # a large one took its time: others first
    with parts.store.transaction() as t:
        told = model.tick(t, limits, job_id)
        shown = shown_campaign(t, _row(t, job_id), whole=True)
    request[AUDIT_DETAIL] = {"campaign": str(job_id), "wanted": wanted}
    await parts.desk.steward.push(told)
    return web.json_response(shown, status=201)


@operation(
    READ,
    "Show a campaign, with its history",
    s.both("Campaign", failures=s.array(s.ref("Turn")), history=s.array(s.FREE)),
)
async def show(request: web.Request) -> web.Response:
    parts = require_admin(request)
    with parts.store.transaction() as t:
        return web.json_response(shown_campaign(t, _find(t, request), whole=True))


def _order(verb: str, text: str, act: _Act) -> Callable[[web.Request], Awaitable[web.Response]]:
    @operation(OPERATE, text, s.ref("Campaign"), name=f"campaigns.{verb}", body=s.obj(), refusals=(409,))
    async def order(request: web.Request) -> web.Response:
        parts = require_admin(request)
        only(await read_object(request))
        with parts.store.transaction() as t:
            row = _find(t, request)
        await carry_out(parts, row.id, verb)
        with parts.store.transaction() as t:
            return web.json_response(shown_campaign(t, _row(t, row.id), whole=True))

    return order


async def carry_out(parts: Parts, job_id: int, verb: str) -> None:
    """start, pause, resume, abort, retry.  ApiError where the campaign's state does not allow it."""
    with parts.store.transaction() as t:
        told = _ORDERS[verb][1](t, parts.limits, _row(t, job_id))
    await parts.desk.steward.push(told)


@operation(
    READ,
    "A campaign's devices, in the order of their turns",
    s.obj(devices=s.array(s.ref("Turn")), next=s.null(s.whole(0))),
    query={"after": s.whole(0), "limit": s.whole(0), "phase": s.whole(1), "state": s.text()},
)
async def list_devices(request: web.Request) -> web.Response:
    """In the order of their turns: {"devices", "next"}; `after` is the `next` of the page before."""
    parts = require_admin(request)
    after = int(query_number(request, "after", 0, 2**40))
    most = max(1, int(query_number(request, "limit", 200, parts.limits.page_rows)))
    conditions = [members.c.position >= after]
    if "phase" in request.query:
        conditions.append(members.c.phase == int(query_number(request, "phase", 1, plans.MAX_PHASES)) - 1)
    if state := request.query.get("state"):
        conditions.append(course.standing() == state)
    with parts.store.transaction() as t:
        rows = course.members_of(t, _find(t, request).id, conditions, most + 1)
    shown = [_device(row) for row in rows[:most]]
    return web.json_response({"devices": shown, "next": rows[most].position if len(rows) > most else None})


_ORDERS: dict[str, tuple[str, _Act]] = {
    "start": ("Begin a campaign that was made for later", model.start),
    "pause": ("Tell nobody anything new", lambda t, _limits, row: model.pause(t, row)),
    "resume": ("Go on after a pause", lambda t, _limits, row: model.resume(t, row)),
    "abort": ("End a campaign", lambda t, _limits, row: model.abort(t, row)),
    "retry": ("Once more, for who failed or was cancelled", lambda t, _limits, row: model.retry(t, row)),
}


async def _read(request: web.Request) -> dict[str, Any]:
    body = await read_body(request, request.app[PARTS].limits.campaign_body_bytes)
    try:
        value = strict_json.loads(body)
    except ValueError as error:
        raise ApiError(400, "not_json", "the body is not JSON") from error
    if not isinstance(value, dict):
        raise ApiError(400, "not_json", "the body is not a JSON object")
    return value


def _start(value: Any) -> int | None:
    if value == "now":
        return 0
    return None if value == "later" else plans.moment(value, 'start ("now", "later")')


def _name(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= 100 or not value.isprintable():
        raise plans.BadPlan("name is a text of up to 100 characters")
    return value


def _find(t: Transaction, request: web.Request) -> Any:
    text = request.match_info["id"]
    row = course.job(t, int(text)) if text.isascii() and text.isdigit() and len(text) <= 18 else None
    if row is None:
        raise ApiError(404, "no_such_campaign", "there is no such campaign", "GET /api/v1/campaigns lists them.")
    return row


def _row(t: Transaction, job_id: int) -> Any:
    return t.execute(sa.select(jobs).where(jobs.c.id == job_id)).one()


def shown_campaign(t: Transaction, row: Any, whole: bool = False) -> dict[str, Any]:
    plan = course.plan_of(row)
    counts = course.counts_of(t, row, len(plan.phases))
    shown = {
        "id": str(row.id),
        "kind": row.kind,
        "name": row.name,
        "product_key": row.product_key,
        "target": row.target or None,
        "version": row.version or None,
        "wanted": row.wanted or {"target": row.target},
        "state": row.state,
        "reason": row.reason,
        "scope": _short(row.scope or {}),
        "dynamic": plan.dynamic,
        "on_request": plan.on_request,
        "tries": plan.tries,
        "at_once": plan.at_once,
        "window": plans.window_text(plan.window),
        "in_window": plan.in_window(t.now),
        "timeout_s": row.timeout_s,
        "retry": row.retry,
        "downgrade": row.downgrade,
        "phase": row.phase + 1,
        "phases": [_phase(row, plan, counts[number], number) for number in range(len(plan.phases))],
        "counts": _counts(counts),
        "start_at": iso(row.start_at),
        "started_at": iso(row.started_at),
        "created_at": iso(row.created_at),
        "ended_at": iso(row.ended_at),
    }
    if whole:
        failed = course.standing().in_(("failed", "fell_back", *course.FAILURES))
        shown["failures"] = [_device(one) for one in course.members_of(t, row.id, [failed], _WORST)]
        entries = t.rows(sa.select(history).where(history.c.job_id == row.id).order_by(history.c.id))
        shown["history"] = [{"time": iso(entry.time), "event": entry.event, **entry.fields} for entry in entries]
    return shown


def _short(whom: dict[str, Any]) -> dict[str, Any]:
    """A long list of devices is shown as its length."""
    keys = whom.get("devices")
    return (
        whom | {"devices": len(keys)} if isinstance(keys, list) and len(keys) > _WORST else whom or {"devices": "all"}
    )


def _counts(counts: list[Counts]) -> dict[str, int]:
    names = ("devices", "waiting", "queued", "begun", "proven", "claimed", "failed", "cancelled")
    return {name: sum(getattr(one, name) for one in counts) for name in names}


def _phase(row: Any, plan: plans.Plan, count: Counts, number: int) -> dict[str, Any]:
    phase, here = plan.phases[number], row.phase == number and row.started_at is not None
    state = "passed" if number < row.phase or row.state == "done" else "waiting"
    if here and row.state != "done":
        state = "soaking" if row.reached_at is not None and phase.soak_s else "running"
        state = state if row.state in ("running", "paused") else row.state
    ends = None if phase.phase_s is None or not here else row.phase_at + phase.phase_s * 1000
    return {
        "phase": number + 1,
        "size": phase.size.text,
        "state": state,
        **_counts([count]),
        "success": phase.success,
        "needed": phase.needed(count.devices),
        "max_failures": phase.max_failures.text,
        "allowed": phase.max_failures.within(count.devices),
        "soak_s": phase.soak_s,
        "phase_s": phase.phase_s,
        "begun_at": iso(row.phase_at) if here else None,
        "reached_at": iso(row.reached_at) if here else None,
        "ends_at": iso(ends),
    }


def _device(row: Any) -> dict[str, Any]:
    return {
        "product_key": row.product_key,
        "device_key": row.device_key,
        "phase": row.phase + 1,
        "state": row.standing,
        "step": row.step,
        "desc": row.desc,
        "reason": row.dropped or row.reason,
        "attempt": str(row.attempt_id) if row.attempt_id is not None else None,
        "updated_at": iso(row.updated_at),
    }
