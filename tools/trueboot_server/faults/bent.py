# SPDX-License-Identifier: MIT
"""Requests that are delayed, broken or refused, and answers that come out wrong.

`middleware` stands inside the one that answers errors, so that a refusal of ours has the form of all others.  A body that
is streamed is bent where it is written: `Parts.stream` is `Bent` while the server has faults, and aiohttp's own class else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from ..enos import answers
from ..errors import ApiError
from ..https.parts import PARTS, Parts
from ..https.repository import NO_RANGE
from ..https.request import device_of
from .book import Faults
from .kinds import TIMESTAMP

_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]
_OVER = "this server misbehaves on command: trueboot fault list"
_BENDS: web.RequestKey[tuple[Faults, Callable[[], str]]] = web.RequestKey("faults", tuple)
_SHIFTED: web.RequestKey[bool] = web.RequestKey("shifted", bool)
_IN_STREAM = ("truncate", "wrong-digest")


def middleware(faults: Faults) -> Any:
    @web.middleware
    async def bend(request: web.Request, handler: _Next) -> web.StreamResponse:
        if request.headers.get("Authorization", "").lower().startswith("bearer "):
            return await handler(request)  # the operator, who has to be able to end it
        path = request.path
        who = _asker(request)
        if late := faults.hit("latency", path, who):
            await asyncio.sleep(late.arguments["ms"] / 1000)
        if faults.hit("drop", path, who):
            return _broken(request)
        if storm := faults.hit("429-storm", path, who):
            return _busy(path, storm.arguments["after"])
        if over := faults.hit("expired-token", path, who):
            return _expired(request, over.arguments["status"])
        if path in TIMESTAMP and (stale := faults.hit("stale-metadata", path, who)):
            return web.Response(body=stale.stamp, content_type="application/json")
        request[_BENDS] = (faults, who)
        if "Range" in request.headers:
            _bend_range(faults, request, who)
        response = await handler(request)
        if not isinstance(response, web.Response) or response.prepared or not faults.may_hit(_IN_STREAM, path):
            return response
        return await _streamed(request, response)

    return bend


class Bent(web.StreamResponse):
    """An answer whose body may be cut or altered while it is written."""

    async def prepare(self, request: web.BaseRequest) -> Any:
        self._cut: int | None = None
        self._turned: int | None = None
        self._at = 0
        self._over = False  # the connection is ending; what is still written is not sent
        self._ours = request
        if _BENDS in request and request.method == "GET" and self.status in (200, 206):
            faults, who = request[_BENDS]
            cut = faults.hit("truncate", request.path, who)
            turned = faults.hit("wrong-digest", request.path, who)
            length = self.content_length or 0
            self._cut = length * int(cut.arguments["at"]) // 100 if cut else None
            self._turned = length // 2 if turned else None
        if _SHIFTED in request and self.status == 206:
            self.headers["Content-Range"] = _shifted(self.headers["Content-Range"])
        return await super().prepare(request)

    async def write(self, data: Any) -> None:
        if self._over:
            return
        data, start = bytes(data), self._at
        self._at += len(data)
        if self._turned is not None and start <= self._turned < self._at:
            place = self._turned - start
            data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        if self._cut is not None and self._at >= self._cut:
            data, self._over = data[: self._cut - start], True
        await super().write(data)
        if self._over and self._ours.transport is not None:
            self._ours.transport.close()  # after what was written

    async def write_eof(self, data: bytes = b"") -> None:
        if not self._over:
            await super().write_eof(data)


def _bend_range(faults: Faults, request: web.Request, who: Callable[[], str]) -> None:
    bent = faults.hit("wrong-range", request.path, who)
    if bent is not None:
        request[NO_RANGE if bent.arguments["as"] == "whole" else _SHIFTED] = True


def _shifted(text: str) -> str:
    """ "bytes 100-199/200" -> "bytes 99-198/200"; a part that begins the file ends a byte earlier instead."""
    span, _, total = text.removeprefix("bytes ").partition("/")
    first, last = map(int, span.split("-"))
    return f"bytes {max(0, first - 1)}-{last - 1 if last else 0}/{total}"


async def _streamed(request: web.Request, response: web.Response) -> web.StreamResponse:
    """A whole body in memory goes the way of a streamed one."""
    body = response.body
    if not isinstance(body, bytes | bytearray):
        return response
    headers = {name: value for name, value in response.headers.items() if name != "Content-Length"}
    bent = Bent(status=response.status, headers=headers)
    bent.content_length = len(body)
    await bent.prepare(request)
    if body:
        await bent.write(body)
    await bent.write_eof()
    return bent


def _asker(request: web.Request) -> Callable[[], str]:
    """The device that asks, as far as its certificate or its download's ticket tells."""

    def named() -> str:
        parts: Parts = request.app[PARTS]
        identity = device_of(request)
        if identity is None and (text := request.match_info.get("ticket") or request.query.get("token")):
            with parts.store.transaction() as t:
                ticket = parts.desk.tickets.find(t, text)
            identity = ticket.identity if ticket else None
        if identity is None:
            return request.query.get("hardwareId", "")[:64]
        return identity.common_name

    return named


def _broken(request: web.Request) -> web.Response:
    """The answer that is not sent any more."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _busy(path: str, after_s: int) -> web.StreamResponse:
    headers = {"Retry-After": str(after_s), "Cache-Control": "no-store"}
    if "/provisioning/" in path:  # esthesis: an empty body
        return web.Response(status=429, headers=headers)
    raise ApiError(429, "fault_injected", _OVER, "", headers)


def _expired(request: web.Request, status: int) -> web.StreamResponse:
    if "apim-accesstoken" in request.headers:
        body = answers.of_services(answers.TOKEN_EXPIRED, "the access token has expired or is unknown", None)
        return web.json_response(body)
    if "/provisioning/" in request.path:
        return web.Response(status=status)
    raise ApiError(status, "fault_injected", _OVER)
