# SPDX-License-Identifier: MIT
"""Operators' tokens and the audit log over REST."""

from __future__ import annotations

from aiohttp import web

from .. import audit, operators
from . import schemas as s
from .operations import OPERATE, READ, operation
from .request import AUDIT_DETAIL, only, query_number, read_object, require_admin


def routes() -> list[web.RouteDef]:
    return [
        web.get("/api/v1/tokens", list_tokens),
        web.post("/api/v1/tokens", create),
        web.post("/api/v1/tokens/{name}/revoke", revoke),
        web.get("/api/v1/audit", list_audit),
    ]


@operation(READ, "List operators' tokens", s.obj(tokens=s.array(s.ref("Token"))))
async def list_tokens(request: web.Request) -> web.Response:
    """Names, scopes and what became of them; never a token.  The admin token of operator.json is not among them."""
    parts = require_admin(request)
    with parts.store.transaction() as t:
        return web.json_response({"tokens": [operators.shown(row, t.now) for row in operators.listed(t)]})


@operation(
    OPERATE,
    "Make a token",
    s.both("Token", token=s.text("told this once")),
    status=201,
    body=s.obj("name scope", name=s.TOKEN_NAME, scope=s.one_of("read", "operate"), life_s=s.whole(1)),
    refusals=(409,),
)
async def create(request: web.Request) -> web.Response:
    parts = require_admin(request)
    body = await read_object(request)
    only(body, "name", "scope", "life_s")
    with parts.store.transaction() as t:
        token, row = operators.create(t, body.get("name"), body.get("scope"), body.get("life_s"), parts.limits)
        shown = operators.shown(row, t.now)
    request[AUDIT_DETAIL] = {"name": row.name, "scope": row.scope}
    return web.json_response({**shown, "token": token}, status=201, headers={"Cache-Control": "no-store"})


@operation(OPERATE, "Revoke a token", s.ref("Token"), body=s.obj(), body_required=False, refusals=(404,))
async def revoke(request: web.Request) -> web.Response:
    """It is good for nothing from now on, and the sessions of the page that were opened with it end."""
    parts = require_admin(request)
    only(await read_object(request) if request.can_read_body else {})
    with parts.store.transaction() as t:
        return web.json_response(operators.shown(operators.revoke(t, request.match_info["name"]), t.now))


@operation(
    READ,
    "Read the audit log",
    s.obj(audit=s.array(s.ref("AuditEntry")), before=s.null(s.whole(0))),
    query={"limit": s.whole(1), "before": s.whole(0), "who": s.text(), "what": s.text("the beginning of a name")},
)
async def list_audit(request: web.Request) -> web.Response:
    """Newest first; `before` continues a list that was cut at `limit`."""
    parts = require_admin(request)
    most = max(1, int(query_number(request, "limit", 100, parts.limits.page_rows)))
    before = int(query_number(request, "before", 0, 2**53))
    with parts.store.transaction() as t:
        rows = audit.page(t, most, before, request.query.get("who", ""), request.query.get("what", ""))
    shown = [audit.shown(row) for row in rows]
    return web.json_response({"audit": shown, "before": rows[-1].id if len(rows) == most else None})
