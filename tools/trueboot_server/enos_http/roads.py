# SPDX-License-Identifier: MIT
"""The roads of the HTTP device protocol: /auth, /topic and the download under /multipart.

A message is the same as over MQTT, and its reply is the response's body; a command that waits rides on the headers of
any answer to a device.  Files that devices send are not kept here.  One error format: {"code", "message", "data"}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from ..decada import envelope
from ..errors import ApiError
from ..fleet import jobs
from ..https.parts import PARTS, Parts
from ..https.repository import send
from ..https.request import address, device_of, read_body, read_object, refuse_guessing
from ..mqtt import topics
from ..names import Identity
from . import login
from .sessions import HttpSession

UNAUTHORISED, TOO_MANY, TOO_LARGE = 401, 429, 1008  # EnOS's codes
_OURS = "enos-connect://"  # begins the address of a file that is fetched from here

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class NoSession(Exception):
    """There is none with that id, or not any more."""


def routes() -> list[web.RouteDef]:
    return [
        web.post("/auth/{product_key}/{device_key}", _in_dialect(log_in)),
        web.post("/topic/{topic:.+}", _in_dialect(publish)),
        web.get("/multipart/{topic:.+}", _in_dialect(download), allow_head=False),
    ]


async def log_in(request: web.Request) -> web.Response:
    parts = request.app[PARTS]
    refuse_guessing(request, parts)
    identity = Identity(request.match_info["product_key"], request.match_info["device_key"])
    try:
        wanted = login.parse(identity, await read_object(request))
    except login.BadLogin as error:
        return _answer(400, envelope.BAD_PARAMETER, str(error))
    certified = device_of(request)
    with parts.store.transaction() as t:
        session = login.admit(t, wanted, certified, parts.limits)
    if session is None:
        if certified is None:
            parts.proofs.failed(address(request))
        return _answer(401, UNAUTHORISED, "not let in")
    session_id = parts.desk.http.open(session)
    if session_id is None:
        return _answer(503, TOO_MANY, "no room for another session", headers={"Retry-After": "60"})
    for message in parts.desk.connected(session.admitted):
        parts.desk.http.push(identity, message.topic, message.payload)
    return _answer(200, envelope.OK, "", {"sessionId": session_id}, _command(session))


async def publish(request: web.Request) -> web.Response:
    parts = request.app[PARTS]
    session = _session(request, parts)
    topic = "/" + request.match_info["topic"]
    if not topics.is_own(session.identity, topic):
        return _answer(403, envelope.NO_SUCH_TOPIC, "not a topic of this device")
    if not parts.desk.http.heard(session):
        return _answer(429, TOO_MANY, "too many messages", headers={"Retry-After": "1"})
    payload = await read_body(request, parts.limits.packet_bytes)
    body = b""
    for message in parts.desk.arrived(session.admitted, topic, payload):
        if message.topic == topic + "_reply":
            body = message.payload
        else:
            parts.desk.http.push(session.identity, message.topic, message.payload)
    raw = topic.endswith("/up_raw")
    return web.Response(
        body=body if body or raw else envelope.reply(""),
        content_type="application/octet-stream" if raw else "application/json",
        headers={"Cache-Control": "no-store", **_command(session)},
    )


async def download(request: web.Request) -> web.StreamResponse:
    """The image of the device's open job, by its address or its hash; nothing else is to be had."""
    parts = request.app[PARTS]
    session = _session(request, parts)
    if not parts.desk.http.heard(session):
        return _answer(429, TOO_MANY, "too many messages", headers={"Retry-After": "1"})
    sys_tree = topics.trees(session.identity)[0]
    path = "/" + request.match_info["topic"]
    if path not in (sys_tree + "file/download", sys_tree + "file/download/url"):
        return _answer(403, envelope.NO_SUCH_TOPIC, "not a topic of this device")
    wanted = request.query.get("fileUri", request.query.get("fileUrl", ""))
    with parts.store.transaction() as t:
        attempt = jobs.open_attempt(t, session.identity)
        job = jobs.job_of(t, attempt) if attempt else None
        told = bool(job) and parts.desk.is_file_url(t, attempt, job, wanted)
        url = wanted if told else parts.desk.file_url(t, attempt, job) if job else ""
    if job is None or not (told or wanted in (f"{_OURS}{job.sha256}", job.sha256)):
        return _answer(404, envelope.BAD_PARAMETER, "no such file for this device")
    if path.endswith("/url"):
        return _answer(200, envelope.OK, "", url)
    file = parts.repository.image_file(job.sha256)
    if file is None:
        return _answer(404, envelope.BAD_PARAMETER, "no such file for this device")
    return await send(request, file, f'"{job.sha256}"')


def _session(request: web.Request, parts: Parts) -> HttpSession:
    session = parts.desk.http.find(request.query.get("sessionId", ""))
    if session is None:
        raise NoSession
    certified = device_of(request)
    with parts.store.transaction() as t:
        stands = login.still_stands(t, session, certified)
    if not stands:
        parts.desk.end_http(session.identity, "not_let_in")
        raise NoSession
    return session


def _command(session: HttpSession) -> dict[str, str]:
    command = session.next_command()
    # Our envelopes are JSON in ASCII on one line.
    return {"topic": command.topic, "command-payload": command.payload.decode("ascii")} if command else {}


def _in_dialect(handler: _Handler) -> _Handler:
    async def wrapped(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except NoSession:
            return _answer(401, UNAUTHORISED, "no such session; log in")
        except ApiError as error:
            code = {401: UNAUTHORISED, 429: TOO_MANY, 413: TOO_LARGE}.get(error.status, envelope.BAD_PARAMETER)
            code = envelope.BAD_JSON if error.code == "not_json" else code
            response = _answer(error.status, code, error.message, headers=error.headers)
            if error.status in (408, 413):
                response.force_close()  # the rest of the body is not worth reading
            return response

    return wrapped


def _answer(
    status: int, code: int, message: str, data: Any = None, headers: dict[str, str] | None = None
) -> web.Response:
    body = {"code": code, "message": message, "data": data}
    return web.json_response(body, status=status, headers={"Cache-Control": "no-store", **(headers or {})})
