# SPDX-License-Identifier: MIT
"""What the page's buttons do: log in and out, and the changes that an operator asks for by hand.

Each change is what the road of the REST interface does, with its checks; the audit log says "page" instead of "api".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from .. import audit
from ..ca import lists
from ..errors import ApiError
from ..fleet import campaigns, registry
from ..fleet import jobs as model
from ..https.campaigns import carry_out
from ..https.lifecycle import ask_to_renew
from ..https.operations import OPERATE, READ, operation
from ..https.parts import PARTS
from ..https.request import address, known_operator, refuse_guessing
from ..names import Identity, is_identity
from .roads import SESSIONS, Visit, back, check_origin, leave, page, read_form, road
from .sessions import COOKIE


@operation(None, "The log-in page", None, name="page.login")
async def login_page(request: web.Request) -> web.Response:
    return page(request, "login.html", wrong="")


@operation(None, "Log in", None, name="page.log_in")
async def log_in(request: web.Request) -> web.Response:
    parts = request.app[PARTS]
    try:
        check_origin(request)
        refuse_guessing(request, parts)
        token = (await read_form(request, parts)).get("token", "").strip()
    except ApiError as error:
        return page(request, "login.html", status=error.status, wrong=f"{error.message}. {error.hint}")
    operator = known_operator(parts, token) if token else None
    if operator is None:
        parts.proofs.failed(address(request))
        parts.log("page.login_failed", address=address(request))
        return page(request, "login.html", status=401, wrong="This token is not known, or is good no longer.")
    value, session = request.app[SESSIONS].open(operator)
    with parts.store.transaction() as t:
        number = audit.begin(t, operator.name, "page.log_in", "", parts.limits.audit_rows, "page")
        audit.end(t, number, audit.DONE)
    answer = leave(request, "/ui/")
    life = int(request.app[SESSIONS].life_s)
    answer.set_cookie(COOKIE, value, max_age=life, path="/", secure=True, httponly=True, samesite="Strict")
    return answer


@road(READ, "Log out", "page.log_out")
async def log_out(visit: Visit) -> web.Response:
    visit.request.app[SESSIONS].close(visit.request.cookies.get(COOKIE, ""))
    answer = leave(visit.request, "/ui/login")
    answer.headers["Clear-Site-Data"] = '"cookies", "storage"'
    answer.del_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="Strict")
    return answer


@road(OPERATE, "End a job by hand", "page.cancel_job")
async def cancel_job(visit: Visit) -> web.Response:
    row = _job(visit)
    with visit.parts.store.transaction() as t:
        if row.state not in ("done", "cancelled"):
            campaigns.abort(t, row)
    visit.session.notice = ("good", f"Job {row.id} is ended: nothing more is sent. What has begun may still report.")
    return back(visit.request, f"/ui/jobs/{row.id}")


def ordering(verb: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    @road(OPERATE, f"{verb.capitalize()} a campaign", f"page.{verb}_campaign")
    async def order(visit: Visit) -> web.Response:
        row = _job(visit)
        await carry_out(visit.parts, row.id, verb)
        visit.session.notice = ("good", f"Campaign {row.id}: {_SAID[verb]}.")
        return back(visit.request, f"/ui/jobs/{row.id}")

    return order


_SAID = {
    "start": "started",
    "pause": "paused; nobody is told anything new, who has begun goes on",
    "resume": "goes on",
    "retry": "once more, for the devices that failed",
    "abort": "aborted; what has begun may still report",
}


def _job(visit: Visit) -> Any:
    text = visit.request.match_info["id"]
    with visit.parts.store.transaction() as t:
        row = model.job(t, int(text)) if text.isascii() and text.isdigit() and len(text) < 18 else None
    if row is None:
        raise ApiError(404, "no_such_job", "there is no such job")
    return row


@road(OPERATE, "Revoke a device", "page.revoke_device")
async def revoke_device(visit: Visit) -> web.Response:
    identity = _device(visit)
    visit.parts.desk.revoke(identity, reason_in(visit))
    visit.session.notice = ("good", f"{identity.device_key} is revoked: its secret, certificates and sessions ended.")
    return back(visit.request, f"/ui/devices/{identity.common_name}")


@road(OPERATE, "Ask a device to renew its certificate", "page.renew_device")
async def renew_device(visit: Visit) -> web.Response:
    identity = _device(visit)
    await ask_to_renew(visit.parts, identity)
    visit.session.notice = (
        "good",
        f"{identity.device_key} will renew its certificate as soon as no update is under way.",
    )
    return back(visit.request, f"/ui/devices/{identity.common_name}")


def _device(visit: Visit) -> Identity:
    identity = Identity(visit.request.match_info["product_key"], visit.request.match_info["device_key"])
    with visit.parts.store.transaction() as t:
        if not is_identity(identity) or registry.device(t, identity) is None:
            raise ApiError(404, "no_such_device", "there is no such device")
    return identity


def reason_in(visit: Visit) -> int:
    reason = visit.form.get("reason", "unspecified")
    if reason not in lists.REASONS:
        raise ApiError(400, "bad_reason", "there is no such reason of a revocation")
    return lists.REASONS[reason]
