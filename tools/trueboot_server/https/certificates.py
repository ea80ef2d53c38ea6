# SPDX-License-Identifier: MIT
"""Certificates over REST: list them, and revoke one by its serial number or handle, with a reason."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from aiohttp import web

from ..ca import book, lists
from ..clock import iso
from ..errors import ApiError
from ..fleet import registry
from ..store import Transaction
from ..store.schema import certificates, own_certificates
from . import schemas as s
from .operations import OPERATE, READ, operation
from .parts import Parts
from .request import only, query_number, read_object, require_admin

_HEX = re.compile(r"(0x)?[0-9a-f]{1,40}\Z")
_HANDLE = re.compile(r"[0-9]{1,10}\Z")


def routes() -> list[web.RouteDef]:
    return [
        web.get("/api/v1/certificates", list_certificates),
        web.get("/api/v1/certificates/{serial}", show),
        web.post("/api/v1/certificates/{serial}/revoke", revoke),
    ]


@operation(
    READ,
    "List certificates",
    s.obj(
        certificates=s.array(s.ref("Certificate")),
        server=s.array(s.ref("ServerCertificate")),
        before=s.null(s.whole(0)),
    ),
    query={"limit": s.whole(0), "before": s.whole(0), "product_key": s.text(), "device_key": s.text()},
)
async def list_certificates(request: web.Request) -> web.Response:
    """The newest first; `before` continues a list that was cut at `limit`, with the handle that came last."""
    parts = require_admin(request)
    most = max(1, int(query_number(request, "limit", parts.limits.page_rows, parts.limits.page_rows)))
    statement = sa.select(certificates).order_by(certificates.c.handle.desc()).limit(most)
    if before := int(query_number(request, "before", 0, 2**31)):
        statement = statement.where(certificates.c.handle < before)
    for name in ("product_key", "device_key"):
        if value := request.query.get(name):
            statement = statement.where(certificates.c[name] == value)
    with parts.store.transaction() as t:
        rows = t.rows(statement)
        filtered = before or request.query.get("device_key") or request.query.get("product_key")
        own = [] if filtered else t.rows(sa.select(own_certificates).order_by(own_certificates.c.issued_at.desc()))
        now = t.now
    return web.json_response(
        {
            "certificates": [_shown(parts, row, now) for row in rows],
            "server": [_shown_own(row, now) for row in own],
            "before": rows[-1].handle if len(rows) == most else None,
        }
    )


@operation(READ, "Show a certificate", {"anyOf": [s.ref("Certificate"), s.ref("ServerCertificate")]})
async def show(request: web.Request) -> web.Response:
    parts = require_admin(request)
    with parts.store.transaction() as t:
        return web.json_response(_found(t, parts, request))


@operation(
    OPERATE,
    "Revoke a certificate",
    {"anyOf": [s.ref("Certificate"), s.ref("ServerCertificate")]},
    body=s.obj("", reason=s.REASON),
)
async def revoke(request: web.Request) -> web.Response:
    """What was revoked before stays as it is; the answer says since when, and why."""
    parts = require_admin(request)
    reason = reason_of(await read_object(request))
    with parts.store.transaction() as t:
        serial = _found(t, parts, request)["serial"]
    parts.desk.revoke_serial(serial, reason)
    parts.certify_server()  # it may have been its own
    with parts.store.transaction() as t:
        return web.json_response(_found(t, parts, request))


def reason_of(body: dict[str, Any]) -> int:
    """By name, or by CRLReason's number; unspecified when nothing is said."""
    only(body, "reason")
    reason = body.get("reason", "unspecified")
    if isinstance(reason, str) and reason in lists.REASONS:
        return lists.REASONS[reason]
    if isinstance(reason, int) and not isinstance(reason, bool) and reason in lists.REASON_NAMES:
        return reason
    raise ApiError(400, "bad_reason", "there is no such reason of a revocation", f"One of {', '.join(lists.REASONS)}.")


def _found(t: Transaction, parts: Parts, request: web.Request) -> dict[str, Any]:
    """By serial number in hex (with or without 0x and colons), else by handle in decimal."""
    text = request.match_info["serial"].lower().replace(":", "")
    if _HEX.match(text):
        serial = text.removeprefix("0x").lstrip("0")
        if (row := registry.certificate(t, serial)) is not None:
            return _shown(parts, row, t.now)
        if (row := book.own(t, serial)) is not None:
            return _shown_own(row, t.now)
    if _HANDLE.match(text):
        row = t.row(sa.select(certificates).where(certificates.c.handle == int(text)))
        if row is not None:
            return _shown(parts, row, t.now)
    raise ApiError(
        404, "no_such_certificate", "no certificate has this serial number or handle", "GET /api/v1/certificates lists."
    )


def _shown(parts: Parts, row: Any, now: int) -> dict[str, Any]:
    status = _status(row, now)
    if status == "good" and not registry.is_live(row, now, parts.limits):
        status = "superseded"
    return {
        "product_key": row.product_key,
        "device_key": row.device_key,
        "handle": row.handle,
        "first_used_at": iso(row.first_used_at),
        "superseded_at": iso(row.superseded_at),
        "key": row.thumbprint,
        **_common(row, status),
    }


def _shown_own(row: Any, now: int) -> dict[str, Any]:
    return {"kind": row.kind, **_common(row, _status(row, now))}


def _common(row: Any, status: str) -> dict[str, Any]:
    return {
        "serial": row.serial,
        "status": status,
        "issuer": row.issuer,
        "issued_at": iso(row.issued_at),
        "not_after": iso(row.not_after),
        "revoked_at": iso(row.revoked_at),
        "reason": None if row.revoked_at is None else lists.REASON_NAMES.get(row.reason or 0, "unspecified"),
    }


def _status(row: Any, now: int) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "good" if row.not_after > now else "expired"
