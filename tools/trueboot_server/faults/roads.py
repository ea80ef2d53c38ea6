# SPDX-License-Identifier: MIT
"""/api/v1/faults, for the operator: GET lists, POST adds, DELETE clears all of them or one."""

from __future__ import annotations

from aiohttp import web

from ..https import schemas as s
from ..https.operations import OPERATE, READ, operation
from ..https.request import read_object, require_admin
from .book import Faults
from .kinds import KINDS

_FAULT = s.obj(
    id=s.text(),
    kind=s.one_of(*KINDS),
    arguments=s.FREE,
    applied=s.whole(0),
    state=s.one_of("in_force", "used_up", "time_over", "cleared", "replaced"),
    left_s=s.NUMBER,
)
_WANTED = {
    "type": "object",
    "required": ["kind"],
    "properties": {"kind": s.one_of(*KINDS)},
}  # the rest is the kind's own
_ENDED = s.obj(cleared=s.array(_FAULT))


def routes(faults: Faults) -> list[web.RouteDef]:
    @operation(READ, "List faults", s.obj(faults=s.array(_FAULT)), name="faults.list")
    async def show(request: web.Request) -> web.Response:
        require_admin(request)
        return web.json_response({"faults": [fault.shown() for fault in faults.all()]})

    @operation(OPERATE, "Misbehave", _FAULT, name="faults.add", status=201, body=_WANTED, refusals=(409,))
    async def add(request: web.Request) -> web.Response:
        require_admin(request)
        return web.json_response(faults.add(await read_object(request)).shown(), status=201)

    @operation(OPERATE, "End all faults", _ENDED, name="faults.clear")
    async def clear(request: web.Request) -> web.Response:
        require_admin(request)
        return web.json_response({"cleared": [fault.shown() for fault in faults.clear()]})

    @operation(OPERATE, "End a fault", _ENDED, name="faults.end")
    async def end(request: web.Request) -> web.Response:
        require_admin(request)
        return web.json_response({"cleared": [fault.shown() for fault in faults.clear(request.match_info["id"])]})

    road = "/api/v1/faults"
    return [web.get(road, show), web.post(road, add), web.delete(road, clear), web.delete(road + "/{id}", end)]
