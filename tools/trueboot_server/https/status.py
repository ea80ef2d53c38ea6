# SPDX-License-Identifier: MIT
"""What happens (events, as a long poll), and whether the server is well."""

from __future__ import annotations

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from . import schemas as s
from .operations import READ, operation
from .parts import PARTS
from .request import query_number, require_admin


def routes() -> list[web.RouteDef]:
    return [
        web.get("/healthz", healthz),
        web.get("/metrics", metrics),
        web.get("/api/v1/events", events),
    ]


async def healthz(request: web.Request) -> web.Response:
    parts = request.app[PARTS]
    with parts.store.transaction():
        pass  # the database lets us begin and commit
    expiring = sorted(parts.repository.expiring()) + parts.authority.ending()
    return web.json_response({"status": "ok"} | ({"expiring": expiring} if expiring else {}))


@operation(
    READ,
    "What happened, as a long poll",
    s.obj(events=s.array(s.ref("Event")), last=s.whole(0)),
    query={"after": s.NUMBER, "wait": s.NUMBER, "limit": s.NUMBER},
)
async def events(request: web.Request) -> web.Response:
    parts = require_admin(request)
    after = int(query_number(request, "after", 0, 2**53))
    wait_s = query_number(request, "wait", 0, parts.limits.long_poll_s)
    most = max(1, int(query_number(request, "limit", parts.limits.page_rows, parts.limits.page_rows)))
    found, last = await parts.store.events_after(after, wait_s, most)
    return web.json_response({"events": found, "last": last})


@operation(READ, "Numbers for Prometheus", None, answer_type="text/plain")
async def metrics(request: web.Request) -> web.Response:
    """A token of scope read as a bearer, unless the server was started with --metrics-open."""
    parts = request.app[PARTS]
    if not parts.metrics_open:
        require_admin(request)
    encode, kind = choose_encoder(request.headers.get("Accept", ""))
    return web.Response(
        body=encode(parts.metrics.registry), headers={"Content-Type": kind, "Cache-Control": "no-store"}
    )
