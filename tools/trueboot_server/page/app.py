# SPDX-License-Identifier: MIT
"""The page's roads, for `https.front`."""

from __future__ import annotations

from aiohttp import web

from ..errors import ApiError
from ..https.operations import operation
from . import actions, live, trust, views
from .roads import HEADERS, leave
from .words import FILES

_KINDS = {"css": "text/css", "js": "text/javascript", "txt": "text/plain", "svg": "image/svg+xml"}
_ONE = "/ui/devices/{product_key}/{device_key}"


def routes() -> list[web.RouteDef]:
    return [
        web.get("/", home),
        web.get("/ui", home),
        web.get("/ui/", views.overview_page),
        web.get("/ui/login", actions.login_page),
        web.post("/ui/login", actions.log_in),
        web.post("/ui/logout", actions.log_out),
        web.get("/ui/live", live.live, allow_head=False),
        web.get("/ui/devices", views.devices_page),
        web.get(_ONE, views.device_page),
        web.post(_ONE + "/revoke", actions.revoke_device),
        web.post(_ONE + "/renew", actions.renew_device),
        web.get("/ui/jobs", views.jobs_page),
        web.get("/ui/jobs/{id}", views.job_page),
        web.post("/ui/jobs/{id}/cancel", actions.cancel_job),
        *(web.post(f"/ui/jobs/{{id}}/{verb}", actions.ordering(verb)) for verb in views.VERBS),
        web.get("/ui/releases", trust.releases_page),
        web.post("/ui/releases", trust.upload_release),
        web.post("/ui/releases/drop", trust.drop_image),
        web.get("/ui/certificates", trust.certificates_page),
        web.post("/ui/certificates/{serial}/revoke", trust.revoke_certificate),
        web.get("/ui/audit", views.audit_page),
        web.get("/ui/static/{name:.+}", static),
    ]


@operation(None, "To the page", None, name="page.home")
async def home(request: web.Request) -> web.Response:
    return leave(request, "/ui/")


@operation(None, "A file of the page's own", None, name="page.static")
async def static(request: web.Request) -> web.Response:
    """From memory, by its name among those that were there at the start: no path is made of what was asked."""
    found = FILES.get(request.match_info["name"])
    if found is None:
        raise ApiError(404, "not_found", "Not Found")
    kept = "public, max-age=31536000, immutable" if request.query.get("v") == found[0] else "no-cache"
    kind = _KINDS.get(request.match_info["name"].rpartition(".")[2], "application/octet-stream")
    return web.Response(body=found[1], content_type=kind, charset="utf-8", headers={**HEADERS, "Cache-Control": kept})
