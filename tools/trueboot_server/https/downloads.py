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
    ticket = tickets.find(request.match_info["ticket"])
    path = parts.repository.image_file(ticket.sha256) if ticket else None
    if ticket is None or path is None:
        raise ApiError(404, "no_such_download", "there is no such download, or it is over")
    return await send(request, path, f'"{ticket.sha256}"', whole=lambda: tickets.use_up(ticket))
