# SPDX-License-Identifier: MIT
"""Devices over REST: list, register, look at, revoke, command."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from aiohttp import web

from ..clock import iso
from ..decada.commands import is_service
from ..errors import ApiError
from ..fleet import registry, running, shadow, telemetry, tpms
from ..names import Identity, is_identity
from ..store import Transaction
from ..store.schema import certificates, devices
from . import schemas as s
from .certificates import reason_of
from .operations import OPERATE, READ, operation
from .parts import Parts
from .request import AUDIT_DETAIL, only, read_object, require_admin

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_ONE = "/api/v1/devices/{product_key}/{device_key}"


def routes() -> list[web.RouteDef]:
    return [
        web.get("/api/v1/devices", list_devices),
        web.post("/api/v1/devices", register),
        web.get(_ONE, show),
        web.post(_ONE + "/revoke", revoke),
        web.post(_ONE + "/commands", command),
    ]


@operation(READ, "List devices", s.obj(devices=s.array(s.ref("Device"))))
async def list_devices(request: web.Request) -> web.Response:
    parts = require_admin(request)
    with parts.store.transaction() as t:
        rows = t.rows(sa.select(devices).order_by(devices.c.product_key, devices.c.device_key))
        live = t.rows(
            sa.select(certificates).where(certificates.c.revoked_at.is_(None)).order_by(certificates.c.issued_at)
        )
        signed = running.Signed(t)
    newest = {(row.product_key, row.device_key): row for row in live}
    return web.json_response(
        {"devices": [_shown(parts, row, newest.get((row.product_key, row.device_key)), signed) for row in rows]}
    )


@operation(
    OPERATE,
    "Register a device",
    s.both("Device", device_secret=s.text("told this once")),
    status=201,
    body=s.obj("device_key", device_key=s.KEY, product_key=s.KEY, ek=s.null(s.SHA256)),
    refusals=(404, 409),
)
async def register(request: web.Request) -> web.Response:
    """The answer holds the device's secret, this once: a bench puts it on the board, with no product secret."""
    parts = require_admin(request)
    body = await read_object(request)
    only(body, "device_key", "product_key", "ek")
    ek = body.get("ek")
    if ek is not None and not (isinstance(ek, str) and _SHA256.match(ek)):
        raise ApiError(400, "bad_ek", "ek must be the SHA-256 of the endorsement key (SubjectPublicKeyInfo), in hex")
    identity = Identity(body.get("product_key", parts.credentials.product_key), body.get("device_key", ""))
    if not is_identity(identity):
        raise ApiError(
            400,
            "bad_key",
            "the device key is not usable",
            "1 to 64 of A-Z a-z 0-9 . _ -, and at most 64 with the product key and a slash.",
        )
    with parts.store.transaction() as t:
        if registry.product(t, identity.product_key) is None:
            raise ApiError(404, "no_such_product", "there is no such product")
        if registry.device(t, identity) is not None:
            raise ApiError(409, "device_exists", "the device is registered already")
        if not registry.room_for_another(t, identity.product_key, parts.limits):
            raise ApiError(409, "product_full", f"a product may have {parts.limits.devices_per_product} devices")
        if ek is not None and tpms.device_of(t, ek) is not None:
            raise ApiError(409, "foreign_ek", "this TPM is another device's", "One TPM is one device.")
        row = registry.register(t, identity, ek)
        request[AUDIT_DETAIL] = {"device": identity.common_name}
        signed = running.Signed(t)
    return web.json_response({**_shown(parts, row, None, signed), "device_secret": row.device_secret}, status=201)


@operation(READ, "Show a device", s.both("Device", telemetry=s.FREE, attributes=s.FREE, tags=s.FREE))
async def show(request: web.Request) -> web.Response:
    parts = require_admin(request)
    with parts.store.transaction() as t:
        identity, row = find(t, request)
        live = registry.live_certificates(t, identity, parts.limits)
        more = {"telemetry": telemetry.latest(t, identity), **shadow.shown(t, identity)}
        signed = running.Signed(t)
    return web.json_response({**_shown(parts, row, live[0] if live else None, signed), **more})


@operation(OPERATE, "Revoke a device", s.ref("Device"), body=s.obj("", reason=s.REASON), body_required=False)
async def revoke(request: web.Request) -> web.Response:
    """An empty body will do: {"reason": ...} says why."""
    parts = require_admin(request)
    reason = reason_of(await read_object(request) if request.can_read_body else {})
    with parts.store.transaction() as t:
        identity, _ = find(t, request)
    parts.desk.revoke(identity, reason)
    with parts.store.transaction() as t:
        _, row = find(t, request)
        signed = running.Signed(t)
    return web.json_response(_shown(parts, row, None, signed))


@operation(
    OPERATE,
    "Send a command to a device and wait for its answer",
    s.obj(code={"type": "integer"}, data=s.ANY, message=s.text()),
    body=s.obj("service", service=s.text(), params=s.ANY, timeout_s=s.NUMBER),
    refusals=(409, 503, 504),
)
async def command(request: web.Request) -> web.Response:
    parts = require_admin(request)
    body = await read_object(request)
    only(body, "service", "params", "timeout_s")
    service, timeout_s = body.get("service"), body.get("timeout_s", 10)
    if not is_service(service):
        raise ApiError(
            400,
            "bad_service",
            "the name of the service is not usable",
            'Letters, digits, ".", "_", "-"; not ending in "_reply".',
        )
    if (
        isinstance(timeout_s, bool)
        or not isinstance(timeout_s, int | float)
        or not 0 < timeout_s <= parts.limits.command_timeout_s
    ):
        raise ApiError(400, "bad_timeout", f"timeout_s must be above 0 and at most {parts.limits.command_timeout_s:g}")
    with parts.store.transaction() as t:
        identity, _ = find(t, request)
    code, data, message = await parts.desk.commands.invoke(
        identity, str(service), body.get("params", {}), float(timeout_s)
    )
    return web.json_response({"code": code, "data": data, "message": message})


def find(t: Transaction, request: web.Request) -> tuple[Identity, Any]:
    identity = Identity(request.match_info["product_key"], request.match_info["device_key"])
    row = registry.device(t, identity) if is_identity(identity) else None
    if row is None:
        raise ApiError(404, "no_such_device", "there is no such device", "GET /api/v1/devices lists them.")
    return identity, row


def shown_device(t: Transaction, parts: Parts, identity: Identity) -> dict[str, Any]:
    live = registry.live_certificates(t, identity, parts.limits)
    return _shown(parts, registry.known_device(t, identity), live[0] if live else None, running.Signed(t))


def _key(row: Any, certificate: Any | None) -> dict[str, Any]:
    """Where the key in use is, as far as it was proven; `ek`: the TPM that the device is bound to."""
    attested = bool(certificate is not None and certificate.attested)
    return {
        "storage": "tpm" if attested else "unknown",
        "attested": attested,
        "attested_at": iso(row.attested_at) if attested else None,
        "tpm": row.tpm if attested else None,
        "ek": row.ek,
    }


def _shown(parts: Parts, row: Any, certificate: Any | None, signed: running.Signed) -> dict[str, Any]:
    """Claimed, proven (the last version that ran confirmed), and what runs by the last report, a trial's too."""
    identity = Identity(row.product_key, row.device_key)
    return {
        "product_key": row.product_key,
        "device_key": row.device_key,
        "state": row.state,
        "online": parts.desk.online(identity),
        "slot": row.slot,
        "claimed_version": row.claimed_version,
        "proven_version": row.proven_version,
        "image": row.image,
        "running": running.shown(row, signed),
        "certificate": {"serial": certificate.serial, "not_after": iso(certificate.not_after)} if certificate else None,
        "key": _key(row, certificate),
        "reflashed_at": iso(row.reflashed_at),
        "last_seen": iso(row.last_seen),
        "last_report": row.last_report,
        "created_at": iso(row.created_at),
    }
