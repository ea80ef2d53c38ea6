# SPDX-License-Identifier: MIT
"""Reading a request: who asks, and a body within its limit."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from .. import audit, operators, strict_json
from ..errors import ApiError
from ..fleet import registry
from ..names import Identity
from ..tls import proven_certificate
from . import operations
from .parts import PARTS, Parts

AUDITED = web.RequestKey("audited", int)  # in a request: the number of its row in the audit log
AUDIT_DETAIL: web.RequestKey[dict[str, Any]] = web.RequestKey(
    "audit_detail", dict
)  # in a request: what a road adds to that row; no secrets


def require_admin(request: web.Request) -> Parts:
    """The parts, for the bearer of an operator's token whose scope is enough for this road (`operations`).

    From here on a change is in the audit log.
    """
    parts = request.app[PARTS]
    admit(request, parts, _bearer(request, parts))
    return parts


def admit(request: web.Request, parts: Parts, operator: operators.Operator, via: str = "api") -> None:
    """ApiError when the operator's scope is not enough for the road of this request."""
    declared = operations.of(request.match_info.handler)
    scope = declared.scope if declared is not None and declared.scope else operations.OPERATE
    what = declared.name if declared is not None else str(request.match_info.handler.__name__)
    subject = "/".join(request.match_info.values())
    if not operator.may(scope):
        with parts.store.transaction() as t:
            audit.deny(t, operator.name, what, subject, parts.limits.audit_rows, via)
        raise ApiError(
            403,
            "scope_missing",
            f"the token {operator.name} may only read",
            "Use one of scope operate: trueboot token create NAME --scope operate.",
        )
    if scope != operations.READ and AUDITED not in request:
        with parts.store.transaction() as t:
            request[AUDITED] = audit.begin(t, operator.name, what, subject, parts.limits.audit_rows, via)


def close_audit(request: web.Request, code: str = "") -> None:
    """The outcome of what `admit` wrote down; `code`: of a refusal."""
    number = request.get(AUDITED)
    if number is not None:
        del request[AUDITED]
        with request.app[PARTS].store.transaction() as t:
            audit.end(t, number, audit.REFUSED if code else audit.DONE, code, request.get(AUDIT_DETAIL))


def _bearer(request: web.Request, parts: Parts) -> operators.Operator:
    refuse_guessing(request, parts)
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise ApiError(
            401,
            "token_required",
            "the operator's token is missing",
            "Send it as Authorization: Bearer <token>.",
            {"WWW-Authenticate": "Bearer"},
        )
    operator = known_operator(parts, token.strip())
    if operator is None:
        parts.proofs.failed(address(request))
        raise ApiError(
            401,
            "token_wrong",
            "the operator's token is wrong",
            "It is in operator.json in the server's state folder; a revoked or expired one is never good again.",
            {"WWW-Authenticate": "Bearer"},
        )
    return operator


def known_operator(parts: Parts, token: str) -> operators.Operator | None:
    if parts.credentials.is_admin(token):
        return operators.Operator(operators.ADMIN, operations.OPERATE)
    with parts.store.transaction() as t:
        return operators.holder(t, token)


def device_of(request: web.Request) -> Identity | None:
    """The device whose live certificate this connection proved.  Asked at every request: it may be revoked meanwhile."""
    serial, der = proven_certificate(request.transport)
    if serial is None:
        return None
    parts = request.app[PARTS]
    with parts.store.transaction() as t:
        return registry.live_device_with(t, serial, der, parts.limits)


def refuse_guessing(request: web.Request, parts: Parts) -> None:
    if wait := parts.proofs.wait_s(address(request)):
        seconds = str(int(wait) + 1)
        raise ApiError(
            429,
            "too_many_failures",
            "too many failed proofs from this address",
            f"Wait {seconds} s.",
            {"Retry-After": seconds},
        )


def address(request: web.Request) -> str:
    # Of the connection itself: a header that says otherwise could be anybody's.
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return str(peer[0]) if peer else "?"


async def read_body(request: web.Request, max_bytes: int) -> bytes:
    limit = ApiError(413, "body_too_long", f"the body is longer than {max_bytes} bytes")
    if (request.content_length or 0) > max_bytes:
        raise limit
    body = bytearray()
    try:
        async with asyncio.timeout(request.app[PARTS].limits.body_timeout_s):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > max_bytes:
                    raise limit
    except TimeoutError as error:
        raise ApiError(408, "body_too_slow", "the body did not arrive in time") from error
    return bytes(body)


async def read_object(request: web.Request) -> dict[str, Any]:
    body = await read_body(request, request.app[PARTS].limits.json_body_bytes)
    try:
        value = strict_json.loads(body)
    except ValueError as error:
        raise ApiError(400, "not_json", "the body is not JSON") from error
    if not isinstance(value, dict):
        raise ApiError(400, "not_json", "the body is not a JSON object")
    return value


def only(body: dict[str, Any], *names: str) -> None:
    """Unknown members are refused by name: a misspelt option must not be dropped."""
    if unknown := sorted(set(body) - set(names)):
        raise ApiError(400, "unknown_member", f"unknown: {', '.join(unknown)[:200]}", f"Known: {', '.join(names)}.")


def query_number(request: web.Request, name: str, default: float, most: float) -> float:
    text = request.query.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < 2**53:  # excludes what is not a number
        raise ApiError(400, "bad_parameter", f"{name} must be a number from 0")
    return min(value, most)
