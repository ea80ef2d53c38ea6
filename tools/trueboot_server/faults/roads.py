# SPDX-License-Identifier: MIT
"""/api/v1/faults, for the operator: GET lists, POST adds, DELETE clears all of them or one."""

from __future__ import annotations

from aiohttp import web

from ..https.request import read_object, require_admin
from .book import Faults


def routes(faults: Faults) -> list[web.RouteDef]:
    async def show(request: web.Request) -> web.Response:
        require_admin(request)
        return web.json_response({"faults": [fault.shown() for fault in faults.all()]})

    async def add(request: web.Request) -> web.Response:
        require_admin(request)
        return web.json_response(faults.add(await read_object(request)).shown(), status=201)

    async def clear(request: web.Request) -> web.Response:
        require_admin(request)
        ended = faults.clear(request.match_info.get("id", ""))
        return web.json_response({"cleared": [fault.shown() for fault in ended]})

    road = "/api/v1/faults"
    return [web.get(road, show), web.post(road, add), web.delete(road, clear), web.delete(road + "/{id}", clear)]
