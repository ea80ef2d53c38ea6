# SPDX-License-Identifier: MIT
"""What is noted about a device, over REST: attributes and tags, shown and changed by the operator."""

from __future__ import annotations

from aiohttp import web

from ..errors import ApiError
from ..fleet import shadow
from . import schemas as s
from .devices import find
from .operations import OPERATE, READ, operation
from .request import only, read_object, require_admin

_ROAD = "/api/v1/devices/{product_key}/{device_key}/attributes"


def routes() -> list[web.RouteDef]:
    return [web.get(_ROAD, show), web.post(_ROAD, change)]


@operation(READ, "Show a device's attributes and tags", s.ref("Notes"))
async def show(request: web.Request) -> web.Response:
    parts = require_admin(request)
    with parts.store.transaction() as t:
        identity, _ = find(t, request)
        return web.json_response(shadow.shown(t, identity))


@operation(
    OPERATE,
    "Change a device's attributes and tags",
    s.ref("Notes"),
    body=s.obj("", attributes=s.FREE, tags=s.table(s.null(s.ANY))),
)
async def change(request: web.Request) -> web.Response:
    """{"attributes": {name: value}, "tags": {key: text}}: what is named changes, null deletes, the rest stays."""
    parts = require_admin(request)
    body = await read_object(request)
    only(body, "attributes", "tags")
    with parts.store.transaction() as t:
        identity, _ = find(t, request)
        try:
            if "attributes" in body:
                shadow.set_attributes(t, identity, body["attributes"], parts.limits)
            if "tags" in body:
                shadow.set_tags(t, identity, body["tags"], parts.limits)
        except shadow.BadShadow as error:
            raise ApiError(400, "bad_attributes", str(error)) from error
        return web.json_response(shadow.shown(t, identity))
