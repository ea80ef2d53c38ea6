# SPDX-License-Identifier: MIT
"""/api/v1/faults, for the operator: GET lists, POST adds, DELETE clears all of them or one."""

from __future__ import annotations

from aiohttp import web

from ..https import schemas as s
from ..https.operations import OPERATE, READ, operation
from ..https.request import read_object, require_admin
from .book import Faults


def routes(faults: Faults) -> list[web.RouteDef]:
    @operation(READ, "List faults", s.obj(faults=s.array(s.FREE)), name="faults.show")
    async def show(request: web.Request) -> web.Response:
        require_admin(request)
        return web.json_response({"faults": [fault.shown() for fault in faults.all()]})

    @operation(OPERATE, "Misbehave", s.FREE, name="faults.add", status=201, body=s.FREE)
    async def add(request: web.Request) -> web.Response:
        require_admin(request)
        return web.json_response(faults.add(await read_object(request)).shown(), status=201)

    @operation(OPERATE, "Behave again", s.obj(cleared=s.array(s.FREE)), name="faults.clear")
    async def clear(request: web.Request) -> web.Response:
        require_admin(request)
        ended = faults.clear(request.match_info.get("id", ""))
        return web.json_response({"cleared": [fault.shown() for fault in ended]})

    @operation(OPERATE, "End one fault", s.obj(cleared=s.array(s.FREE)), name="faults.clear_one")
    async def clear_one(request: web.Request) -> web.Response:
        return await clear(request)

    road = "/api/v1/faults"
    return [web.get(road, show), web.post(road, add), web.delete(road, clear), web.delete(road + "/{id}", clear_one)]
