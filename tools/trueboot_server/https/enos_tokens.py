# SPDX-License-Identifier: MIT
"""EnOS's token service: an access token for a proof of the secret key (enos-decada, 8.1)."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from .. import strict_json
from ..enos import answers
from ..enos.answers import EnosError
from .enos import ACCESS, answered
from .parts import PARTS
from .request import read_body

_PATH = "/apim-token-service/v2.0/token/"


def routes() -> list[web.RouteDef]:
    return [
        web.post(_PATH + "get", answered(get, answers.of_tokens)),
        web.post(_PATH + "refresh", answered(refresh, answers.of_tokens)),
    ]


async def get(request: web.Request) -> dict[str, Any]:
    return _shown(*request.app[ACCESS].get_token(*await _members(request, "appKey", "encryption", "timestamp")))


async def refresh(request: web.Request) -> dict[str, Any]:
    members = await _members(request, "appKey", "encryption", "timestamp", "accessToken")
    return _shown(*request.app[ACCESS].refresh(*members))


def _shown(token: str, left_s: int) -> dict[str, Any]:
    return {"accessToken": token, "expire": left_s}


async def _members(request: web.Request, *names: str) -> list[str]:
    try:
        body = strict_json.loads(await read_body(request, request.app[PARTS].limits.json_body_bytes))
    except ValueError as error:
        raise EnosError(answers.BAD_PARAMETER, "the body is not JSON") from error
    found = []
    for name in names:
        value = body.get(name) if isinstance(body, dict) else None
        if value in (None, ""):
            raise EnosError(answers.EMPTY_PARAMETER, f"{name} is missing")
        if name == "timestamp" and type(value) is int:  # documented as a number, sent as a text by DECADA's devices
            value = str(value)
        if not isinstance(value, str):
            raise EnosError(answers.BAD_PARAMETER, f"{name} is not a text")
        found.append(value)
    return found
