# SPDX-License-Identifier: MIT
"""OTA jobs over EnOS's REST: create, start, stop, cancel, retry, delete, get, search (enos-decada, 8.6).

A job here is a campaign of one phase.  EnOS halts nothing by itself, so no number of failures does here either, unless
the body says `max_failures` and `phases`, our own words.  The inner members of upgradeScope, retryPolicy and
schedulePolicy are not known for sure: they are read by what they can only mean, and unknown ones are ignored.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from aiohttp import web

from ..clock import iso
from ..enos import answers
from ..enos.answers import EnosError
from ..errors import ApiError
from ..fleet import campaigns, course, scope
from ..fleet import plan as plans
from ..names import Identity
from ..store import Transaction
from ..store.schema import devices, jobs, releases
from .enos import answered, read_object, signed_call
from .enos_firmwares import find as find_firmware
from .enos_firmwares import is_verified
from .parts import PARTS

_PATH = "/connect-service/v2.1/ota-jobs"
_AT_ONCE = 300  # EnOS's maximumConcurrency where none is told
_TIMEOUT_S = range(300, 172_801)
_TIMEOUT_DEFAULT_S = 7200


def routes() -> list[web.RouteDef]:
    return [web.get(_PATH, answered(read, answers.of_services)), web.post(_PATH, answered(change, answers.of_services))]


async def read(request: web.Request) -> Any:
    await signed_call(request)
    action = request.query.get("action")
    if action not in ("get", "list", "search"):
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: action is get, list or search")
    with request.app[PARTS].store.transaction() as t:
        return _shown(t, request, _find(t, request)) if action == "get" else _listed(t, request)


async def change(request: web.Request) -> Any:
    raw = await signed_call(request)
    body = read_object(raw) if raw.strip() else {}
    parts, action = request.app[PARTS], request.query.get("action", "")
    told: list[Identity] = []
    with parts.store.transaction() as t:
        if action == "create":
            return {"jobId": str(_create(t, request, body))}
        if action in ("list", "search"):
            return _listed(t, request)
        act = _ACTIONS.get(action)
        if act is None:
            known = ", ".join(("create", *_ACTIONS, "list"))
            raise EnosError(answers.BAD_ARGUMENT, f"invalid argument: action is one of {known}")
        told = act(t, request, _find(t, request)) or []
    await parts.desk.steward.push(told)
    return None


def _start(t: Transaction, request: web.Request, row: Any) -> list[Identity]:
    """At once, or when its schedule says."""
    if row.state == "paused":
        return campaigns.resume(t, row)
    if row.state != "created":
        raise EnosError(answers.STARTED, "Job has started")
    begins = (row.enos or {}).get("start_at")
    if begins is not None and begins > t.now:
        course.change(t, row, state="scheduled", start_at=begins)
        course.note(t, row, "scheduled", at=iso(begins))
        return []
    return campaigns.start(t, request.app[PARTS].limits, row)


def _delete(t: Transaction, _request: web.Request, row: Any) -> None:
    """Its attempts stay, for the devices' sake; it is listed no more here."""
    if row.state in campaigns.OPEN:
        raise EnosError(answers.BAD_ARGUMENT, "the job has not ended: cancel it first")
    course.change(t, row, firmware_id=None)
    course.note(t, row, "deleted")


_ACTIONS: dict[str, Any] = {
    "start": _start,
    "stop": lambda t, _request, row: campaigns.pause(t, row),
    "cancel": lambda t, _request, row: campaigns.abort(t, row),
    "retry": lambda t, _request, row: campaigns.retry(t, row),
    "delete": _delete,
}


def _create(t: Transaction, request: web.Request, body: dict[str, Any]) -> int:
    firmware = find_firmware(t, request)
    kind = body.get("type")
    if kind not in ("upgrade", "verify"):
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: type is upgrade or verify")
    if kind == "upgrade" and not is_verified(t, firmware):
        raise EnosError(
            answers.BAD_ARGUMENT,
            "the firmware was made with enableVerification, and no job of the type verify has succeeded yet",
        )
    published = (releases.c.target == firmware.target, releases.c.sha256 == firmware.sha256)
    if t.row(sa.select(releases.c.target).where(*published)) is None:
        raise EnosError(answers.BAD_ARGUMENT, "the firmware's release is published no more")
    policy = body.get("upgradePolicy", "snapshot")
    if policy not in ("snapshot", "incremental"):
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: upgradePolicy is snapshot or incremental")
    limits = request.app[PARTS].limits
    try:
        whom = scope.read(_scope(t, firmware.product_key, body.get("upgradeScope"), kind), limits.devices_per_job)
        start_at, window = _schedule(body.get("schedulePolicy"))
        told = {"success": 0, "max_failures": "100%", "at_once": _AT_ONCE, "window": window, "tries": _tries(body)}
        told |= {
            name: body[name] for name in ("phases", "success", "max_failures", "soak_s", "phase_s") if name in body
        }
        told |= {"at_once": body["maximumConcurrency"]} if body.get("maximumConcurrency") is not None else {}
        told |= {"dynamic": policy == "incremental", "on_request": body.get("enableUpgradeRequest", False)}
        plan = plans.read(told)
    except plans.BadPlan as error:
        raise EnosError(answers.BAD_ARGUMENT, f"invalid argument: {error}") from error
    most = firmware.told.get("maxAllowedForVerification")
    if kind == "verify" and most and len(whom["devices"]) > most:
        raise EnosError(answers.BAD_ARGUMENT, f"invalid argument: {most} devices may verify this firmware")
    kept = {"type": kind, "start_at": start_at, "name": _name(body.get("name"), limits.enos_document_bytes)}
    if len(json.dumps(body)) <= limits.enos_document_bytes:
        kept |= {name: body[name] for name in ("upgradeScope", "retryPolicy", "schedulePolicy") if name in body}
    name = kept["name"]["defaultValue"][:100] if kept["name"] else None
    timeout = body.get("upgradeTimeout", _TIMEOUT_DEFAULT_S)
    if type(timeout) is not int or timeout not in _TIMEOUT_S:
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: upgradeTimeout is 300 to 172800 seconds")
    wanted = {"target": firmware.target}
    try:
        return campaigns.create(
            t,
            limits,
            firmware.product_key,
            wanted,
            plan,
            whom,
            None,
            name,
            timeout,
            firmware_id=firmware.id,
            enos=kept,
        )
    except ApiError as error:
        raise EnosError(answers.BAD_ARGUMENT, f"{error.message} ({error.code})") from error


def _scope(t: Transaction, product_key: str, told: Any, kind: str) -> dict[str, Any]:
    """Lists of devices, of asset ids and of versions, and tags, under whatever name they come."""
    if not isinstance(told, dict):
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: upgradeScope is missing")
    whole = told.get("type", "partial") == "all"
    if whole and kind == "verify":
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: upgradeScope.type is partial for type verify")
    found: dict[str, Any] = {"devices": "all"}
    named: list[str] = []
    for name, value in told.items():
        word = name.lower()
        if "version" in word and isinstance(value, list) and value:
            found["claimed_version"] = value
        elif "tag" in word and isinstance(value, dict) and value:
            found["tags"] = value
        elif ("device" in word or "asset" in word) and isinstance(value, list):
            named += _keys(t, product_key, value)
    if named:
        found["devices"] = named
    if isinstance(versions := found.get("claimed_version"), list):
        if not all(scope.parsed(str(one)) for one in versions):
            raise EnosError(answers.BAD_ARGUMENT, "invalid argument: upgradeScope: versions are like 1.2.3")
        found["claimed_version"] = " | ".join(map(str, versions))
    if not whole and found == {"devices": "all"}:
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: upgradeScope says type partial and nobody")
    return found


def _keys(t: Transaction, product_key: str, values: list[Any]) -> list[str]:
    """Device keys, asset ids, or objects that hold one."""
    found = []
    for value in values:
        if isinstance(value, dict):
            value = value.get("deviceKey") or value.get("assetId")
        mine = (
            devices.c.product_key == product_key,
            sa.or_(devices.c.device_key == value, devices.c.asset_id == value),
        )
        row = (
            t.execute(sa.select(devices.c.device_key).where(*mine).limit(1)).first() if isinstance(value, str) else None
        )
        if row is None:
            raise EnosError(answers.NO_DEVICE, f"device not found: {str(value)[:64]}")
        found.append(row.device_key)
    return found


def _tries(body: dict[str, Any]) -> int:
    """retryPolicy: the one number in it that counts tries."""
    told = body.get("retryPolicy")
    if not isinstance(told, dict):
        return 1
    counts = [value for name, value in told.items() if "time" in name.lower() or "count" in name.lower()]
    most = max([value for value in counts if type(value) is int and value >= 0], default=0)
    return min(1 + most, plans.MAX_TRIES)


def _schedule(told: Any) -> tuple[int | None, str | None]:
    """(when it begins, the daily window): days and milliseconds say the first, times of day the second."""
    if not isinstance(told, dict):
        return None, None
    start_at, hours = None, {}
    for name, value in sorted(told.items()):
        side = "start" if "start" in name.lower() or "begin" in name.lower() else "end" if "end" in name.lower() else ""
        if not side or value in (None, ""):
            continue
        if isinstance(value, str) and value.count(":") in (1, 2) and len(value) <= 8:
            hours[side] = value[:5].rjust(5, "0")
        elif side == "start":
            start_at = _moment(value)
    if set(hours) != {"start", "end"} or (hours["start"] == "00:00" and hours["end"] >= "23:59"):
        return start_at, None
    return start_at, f"{hours['start']}-{hours['end']}"


def _moment(value: Any) -> int:
    if type(value) is int and 0 < value < 2**45:
        return value
    try:
        when = datetime.fromisoformat(value)
        return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: schedulePolicy: a time is not understood") from None


def _name(value: Any, most: int) -> dict[str, Any] | None:
    if value is None:
        return None
    text = value.get("defaultValue") if isinstance(value, dict) else None
    if not isinstance(text, str) or not text or not text.isprintable() or len(json.dumps(value)) > most:
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: name.defaultValue is missing")
    return dict(value)


def _find(t: Transaction, request: web.Request) -> Any:
    text = request.query.get("jobId", "")
    known = text.isascii() and text.isdigit() and len(text) <= 18
    row = course.job(t, int(text)) if known else None
    if row is None or row.firmware_id is None:
        raise EnosError(answers.NO_JOB, "Job not found")
    return row


def _listed(t: Transaction, request: web.Request) -> list[dict[str, Any]]:
    """Newest first."""
    mine = jobs.c.firmware_id.is_not(None)
    chosen = sa.select(jobs).where(mine).order_by(jobs.c.id.desc()).limit(100)
    if request.query.get("firmwareId"):
        chosen = chosen.where(jobs.c.firmware_id == find_firmware(t, request).id)
    return [_shown(t, request, row) for row in t.rows(chosen)]


def _shown(t: Transaction, request: web.Request, row: Any) -> dict[str, Any]:
    plan, told = course.plan_of(row), row.enos or {}
    counts = course.counts_of(t, row, len(plan.phases))
    total = {name: sum(getattr(one, name) for one in counts) for name in _COUNTED}
    return {
        "orgId": request.app[PARTS].credentials.org_id,
        "productKey": row.product_key,
        "jobId": str(row.id),
        "name": told.get("name"),
        "type": told.get("type"),
        "firmwareId": str(row.firmware_id),
        "firmwareVersion": row.version,
        "upgradeScope": told.get("upgradeScope"),
        "upgradePolicy": "incremental" if plan.dynamic else "snapshot",
        "enableUpgradeRequest": plan.on_request,
        "upgradeTimeout": row.timeout_s,
        "retryPolicy": told.get("retryPolicy"),
        "schedulePolicy": told.get("schedulePolicy"),
        "maximumConcurrency": plan.at_once,
        "status": row.state,  # our words: EnOS's are not documented
        "reason": row.reason,
        "statistics": total,
        "createTime": row.created_at,
        "startTime": row.started_at,
        "endTime": row.ended_at,
    }


_COUNTED = ("devices", "waiting", "queued", "begun", "proven", "claimed", "failed", "cancelled")
