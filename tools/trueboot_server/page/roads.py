# SPDX-License-Identifier: MIT
"""What every road of the page does first.

- No session: the log-in page.  A session ends with its life, and with the token that opened it.
- A change needs this page's origin (RFC 6454; browsers send it with every POST) and the session's CSRF token, and is
  in the audit log like one over REST; its scope is asked for by the same function.
- No inline script or style, nothing from elsewhere, no framing: the policy below, on every answer.  Templates escape
  everything; nothing is marked as safe but SVG that `drawing` makes.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import sqlalchemy as sa
from aiohttp import web

from .. import operators
from ..errors import ApiError
from ..https.operations import operation
from ..https.parts import PARTS, Parts
from ..https.request import admit, close_audit, read_body
from ..store.schema import events
from . import words
from .sessions import COOKIE, PageSessions, Session

POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers send no origin with forms
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
SINCE = web.RequestKey("since", int)  # the last event before the page was read: `live` tells of those after it
_NEWEST = sa.select(sa.func.max(events.c.seq))
SESSIONS: web.AppKey[PageSessions] = web.AppKey("sessions", PageSessions)
_TEMPLATES = Path(__file__).with_name("templates")


@dataclass
class Visit:
    """One request by somebody who is logged in."""

    request: web.Request
    parts: Parts
    session: Session
    form: dict[str, str]

    def number(self, name: str, most: int) -> int:
        """A whole number of the query, within bounds; what is not one is 0."""
        text = self.request.query.get(name, "")
        return min(int(text), most) if text.isascii() and text.isdigit() and len(text) < 12 else 0


_Do = Callable[[Visit], Awaitable[web.StreamResponse]]
_Road = Callable[[web.Request], Awaitable[web.StreamResponse]]


def open_sessions(app: web.Application, parts: Parts) -> None:
    app[SESSIONS] = PageSessions(parts.limits.page_sessions, parts.limits.page_session_s)


def road(scope: str, summary: str, name: str) -> Callable[[_Do], _Road]:
    """The handler of a road of the page."""

    def declare(do: _Do) -> _Road:
        @operation(scope, summary, None, name=name)
        async def run(request: web.Request) -> web.StreamResponse:
            parts = request.app[PARTS]
            try:
                session = find_session(request, parts)
            except ApiError:
                return leave(request, "/ui/login")
            try:
                form = await _form(request, parts, session) if request.method == "POST" else {}
                admit(request, parts, session.operator, "page")
                return await do(Visit(request, parts, session, form))
            except ApiError as error:
                close_audit(request, error.code)
                return _refused(request, session, error)

        return run

    return declare


def find_session(request: web.Request, parts: Parts) -> Session:
    value = request.cookies.get(COOKIE, "")
    session = request.app[SESSIONS].find(value) if value else None
    if session is None:
        raise ApiError(401, "session_over", "nobody is logged in")
    with parts.store.transaction() as t:
        good = operators.still(t, session.operator)
        request[SINCE] = t.execute(_NEWEST).scalar() or 0
    if not good:
        request.app[SESSIONS].close(value)
        raise ApiError(401, "session_over", "the token was revoked, or has expired")
    return session


def check_origin(request: web.Request) -> None:
    if request.headers.get("Origin") != f"https://{request.host}":
        raise ApiError(403, "foreign_origin", "the request does not come from this page", "Open the page anew.")


async def _form(request: web.Request, parts: Parts, session: Session) -> dict[str, str]:
    check_origin(request)
    form: dict[str, str] = {}
    if request.content_type == "application/x-www-form-urlencoded":
        form = await read_form(request, parts)
    # A form with files is read piece by piece, after this: it names the token in its address.
    given = form.pop("csrf", "") or (
        request.query.get("csrf", "") if request.content_type.startswith("multipart/") else ""
    )
    if not session.is_own(given):
        raise ApiError(403, "csrf_missing", "the request does not carry this session's token", "Load the page anew.")
    return form


async def read_form(request: web.Request, parts: Parts) -> dict[str, str]:
    body = await read_body(request, parts.limits.json_body_bytes)
    try:
        pairs = urllib.parse.parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=64)
    except ValueError as error:
        raise ApiError(400, "bad_parameter", "the form cannot be read") from error
    return dict(pairs)


def _refused(request: web.Request, session: Session, error: ApiError) -> web.StreamResponse:
    if request.method == "POST" and error.code not in ("foreign_origin", "csrf_missing"):
        session.notice = ("bad", f"{error.message}. {error.hint} ({error.code})".replace("..", "."))
        return back(request)
    return page(request, "refused.html", session, status=error.status, error=error)


def leave(request: web.Request, where: str) -> web.Response:
    """To another page; htmx is told so, since it would follow a redirect by itself and put the page into a part."""
    if request.headers.get("HX-Request") == "true":
        return web.Response(status=204, headers={**HEADERS, "HX-Redirect": where})
    return web.Response(status=303, headers={**HEADERS, "Location": where})


def back(request: web.Request, where: str = "") -> web.Response:
    """After a change: the page that it was asked for on, which the form names; never another site."""
    wanted = where or request.query.get("back", "/ui/")
    return leave(request, wanted if wanted.startswith("/ui/") and "//" not in wanted and "\\" not in wanted else "/ui/")


def page(
    request: web.Request, template: str, session: Session | None = None, status: int = 200, **values: Any
) -> web.Response:
    whole = "" if request.headers.get("HX-Request") == "true" else "whole"
    text = _environment.get_template(template).render(
        session=session,
        path=request.path_qs,
        since=request.get(SINCE, 0),
        road=request.path,
        may_operate=session is not None and session.operator.may("operate"),
        notice=session.take_notice() if session is not None and whole else None,
        **values,
    )
    return web.Response(text=text, content_type="text/html", status=status, headers=HEADERS)


def render(template: str, **values: Any) -> str:
    return _environment.get_template(template).render(**values)


def _make_environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(words.FILTERS)
    made.globals.update(words.GLOBALS)
    return made


_environment = _make_environment()
