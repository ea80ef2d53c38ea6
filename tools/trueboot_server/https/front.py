# SPDX-License-Identifier: MIT
"""The HTTPS application: every road, one error format, nothing of an internal fault on the wire."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from ..enos_http import roads
from ..errors import ApiError
from ..log import tell_fault
from ..page import app as page
from ..page import live
from ..page.roads import open_sessions
from . import (
    attest,
    attributes,
    campaigns,
    certificates,
    devices,
    downloads,
    enos,
    enos_2018,
    enos_ca,
    enos_certificates,
    enos_devices,
    enos_firmwares,
    enos_jobs,
    enos_tokens,
    est,
    esthesis_commands,
    esthesis_provisioning,
    esthesis_registration,
    images,
    jobs,
    lifecycle,
    openapi,
    orders,
    packages,
    pki,
    products,
    repository,
    standing,
    status,
    tokens,
)
from .parts import PARTS, Parts
from .request import close_audit

_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


ROADS = (
    status,
    standing,
    est,
    attest,
    pki,
    certificates,
    repository,
    images,
    products,
    devices,
    attributes,
    downloads,
    lifecycle,
    jobs,
    campaigns,
    orders,
    tokens,
    openapi,
    page,
    roads,
    enos_tokens,
    enos_devices,
    enos_certificates,
    enos_firmwares,
    enos_jobs,
    enos_2018,
    enos_ca,
)


def make_app(parts: Parts) -> web.Application:
    # The limits of bodies are kept by `request.read_body`; this one is for what slips by it.
    app = web.Application(middlewares=[_count, _answer_errors], client_max_size=parts.limits.json_body_bytes)
    app[PARTS] = parts
    enos.open_access(app, parts)
    open_sessions(app, parts)
    app[live.OPEN] = set()
    for road in ROADS:
        app.add_routes(road.routes())
    for road in (esthesis_registration, esthesis_provisioning, esthesis_commands, packages):
        app.add_routes(road.routes())
    return app


@web.middleware
async def _count(request: web.Request, handler: _Next) -> web.StreamResponse:
    began, resource = time.monotonic(), request.match_info.route.resource
    response = await handler(request)
    road = resource.canonical if resource is not None else "unknown"
    request.app[PARTS].metrics.answered(request.method, road, response.status, began)
    return response


@web.middleware
async def _answer_errors(request: web.Request, handler: _Next) -> web.StreamResponse:
    try:
        response = await handler(request)
        close_audit(request)
        return response
    except ApiError as error:
        close_audit(request, error.code)
        return _error(error.status, error.code, error.message, error.hint, error.headers)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _error(error.status, error.reason.lower().replace(" ", "_"), error.reason, "", headers)
    except (ConnectionError, TimeoutError):
        raise  # the caller is gone
    except Exception as error:  # noqa: BLE001 - the outermost guard; the fault is told to the log, not to the caller
        tell_fault(request.app[PARTS].log, error)
        return _error(500, "internal", "the server failed", "Look at its log.", {})


def _error(status: int, code: str, message: str, hint: str, headers: dict[str, str]) -> web.Response:
    body = {"error": {"code": code, "message": message, "hint": hint}}
    response = web.json_response(body, status=status, headers={"Cache-Control": "no-store", **headers})
    if status in (408, 413):
        response.force_close()  # the rest of the body is not worth reading
    return response
