# SPDX-License-Identifier: MIT
"""Images for devices without a certificate: GET /download/<ticket>/<name>; see `tickets`."""

from __future__ import annotations

from aiohttp import web

from ..errors import ApiError
from .parts import PARTS
from .repository import send


def routes() -> list[web.RouteDef]:
    return [web.get("/download/{ticket}/{name}", download)]


async def download(request: web.Request) -> web.StreamResponse:
    parts = request.app[PARTS]
    tickets = parts.desk.tickets
    with parts.store.transaction() as t:
        ticket = tickets.find(t, request.match_info["ticket"])
    path = parts.repository.image_file(ticket.sha256) if ticket else None
    if ticket is None or path is None:
        raise ApiError(404, "no_such_download", "there is no such download, or it is over")

    def last() -> bool:
        with parts.store.transaction() as t:
            return tickets.use_up(t, ticket)

    return await send(request, path, f'"{ticket.sha256}"', last)
