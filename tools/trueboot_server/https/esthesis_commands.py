# SPDX-License-Identifier: MIT
"""Commands to devices that speak esthesis: send one, look at those that were sent, and at their replies."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ..errors import ApiError
from ..esthesis import commands, words
from ..fleet.dialect import ESTHESIS
from ..names import Identity
from . import schemas as s
from .devices import find
from .operations import OPERATE, READ, operation
from .parts import Parts
from .request import only, query_number, read_object, require_admin

_ROAD = "/api/v1/devices/{product_key}/{device_key}/esthesis-commands"
_SHOWN = s.obj(
    id=s.text(),
    type=s.one_of(*words.TYPES),
    asynchronous=s.FLAG,
    command=s.text(),
    arguments=s.text(),
    created_at=s.TIME,
    replied_at=s.null(s.TIME),
    succeeded=s.null(s.FLAG),
    output=s.null(s.text()),
    trimmed=s.FLAG,
)


def routes() -> list[web.RouteDef]:
    return [web.post(_ROAD, send), web.get(_ROAD, list_commands), web.get(_ROAD + "/{id}", show)]


@operation(
    OPERATE,
    "Send a command to a device that speaks esthesis",
    _SHOWN,
    status=201,
    body=s.obj(
        "type",
        type=s.one_of(*words.TYPES),
        asynchronous=s.FLAG,
        command=s.text(),
        arguments=s.text(),
        wait_s=s.NUMBER,
    ),
    refusals=(404, 409),
)
async def send(request: web.Request) -> web.Response:
    """Waits for the reply up to `wait_s` (10, at most the server's bound; 0: not at all); a later one is kept as well.

    `firmware` takes a package's id as its command, or none for the newest.
    """
    parts = require_admin(request)
    body = await read_object(request)
    only(body, "type", "asynchronous", "command", "arguments", "wait_s")
    kind, asynchronous = body.get("type"), body.get("asynchronous", False)
    if kind not in words.TYPES:
        raise ApiError(400, "bad_parameter", f"type must be one of {', '.join(words.TYPES)}")
    if type(asynchronous) is not bool:
        raise ApiError(400, "bad_parameter", "asynchronous is true or false")
    command, arguments = (_text(parts, body.get(name, ""), name) for name in ("command", "arguments"))
    if " " in command or (arguments and not command) or (kind == "execute" and not command):
        raise ApiError(
            400,
            "bad_parameter",
            "command is one word, and wanted before arguments and to execute",
            "No quoting is done.",
        )
    wait_s = body.get("wait_s", 10)
    if (
        isinstance(wait_s, bool)
        or not isinstance(wait_s, int | float)
        or not 0 <= wait_s <= parts.limits.command_timeout_s
    ):
        raise ApiError(400, "bad_timeout", f"wait_s must be from 0 to {parts.limits.command_timeout_s:g}")
    identity = _device(request, parts)
    row = await parts.desk.esthesis.command(identity, str(kind), asynchronous, command, arguments, float(wait_s))
    return web.json_response(commands.shown(row), status=201)


@operation(
    READ,
    "List the commands of a device that speaks esthesis",
    s.obj(commands=s.array(_SHOWN)),
    query={"limit": s.whole(0)},
)
async def list_commands(request: web.Request) -> web.Response:
    """Newest first."""
    parts = require_admin(request)
    most = int(query_number(request, "limit", 20, parts.limits.commands_kept))
    identity = _device(request, parts)
    with parts.store.transaction() as t:
        return web.json_response({"commands": [commands.shown(row) for row in commands.newest(t, identity, most)]})


@operation(READ, "Show a command of a device that speaks esthesis, and its reply", _SHOWN)
async def show(request: web.Request) -> web.Response:
    parts = require_admin(request)
    identity = _device(request, parts)
    with parts.store.transaction() as t:
        row = commands.find(t, identity, request.match_info["id"])
    if row is None:
        raise ApiError(404, "no_such_command", "there is no such command", "Only the newest of a device are kept.")
    return web.json_response(commands.shown(row))


def _device(request: web.Request, parts: Parts) -> Identity:
    with parts.store.transaction() as t:
        identity, _ = find(t, request)
    if parts.desk.dialect_of(identity) != ESTHESIS:
        raise ApiError(409, "wrong_dialect", "the device does not speak esthesis", "Use its /commands road.")
    return identity


def _text(parts: Parts, value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > parts.limits.command_chars or not value.isprintable():
        raise ApiError(400, "bad_parameter", f"{name} is a text of up to {parts.limits.command_chars} characters")
    return value
