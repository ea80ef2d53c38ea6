# SPDX-License-Identifier: MIT
"""Images by their hash, for devices, in the smallest form that is ready: docs/image-encodings.md.

    GET /images/<sha256>?offset=N&base=<sha256 of what runs>&accept=deflate,patch

Nothing here is part of what devices trust: they hash what they made.  A device that gets anything but 200 takes the
target itself.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from aiohttp import web

from ..errors import ApiError
from ..repo.encodings import Image
from .parts import PARTS
from .repository import copy
from .request import device_of

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_OFFSET = re.compile(r"(0|[1-9][0-9]{0,11})\Z")
_WORDS = re.compile(r"[a-z0-9-]{1,20}(,[a-z0-9-]{1,20}){0,7}\Z")
_KNOWN = ("offset", "base", "accept")


def routes() -> list[web.RouteDef]:
    return [web.get("/images/{sha256}", image, allow_head=False)]


async def image(request: web.Request) -> web.StreamResponse:
    if device_of(request) is None:
        raise ApiError(401, "certificate_required", "only a device with a live certificate gets images here")
    parts = request.app[PARTS]
    offset = int(_parameter(request, "offset", _OFFSET) or "0")
    base = _parameter(request, "base", _SHA256)
    accept = set((_parameter(request, "accept", _WORDS) or "").split(","))
    if unknown := sorted(set(request.query) - set(_KNOWN)):
        raise ApiError(400, "bad_parameter", f"unknown: {', '.join(unknown)[:200]}", f"Known: {', '.join(_KNOWN)}.")
    sha256 = request.match_info["sha256"]
    path = parts.repository.image_file(sha256)
    if path is None:
        raise ApiError(404, "no_such_image", "there is no published image with this hash")
    length = path.stat().st_size
    if offset >= length:
        raise ApiError(400, "bad_parameter", f"offset must be below the image's {length} bytes")
    base_path = await asyncio.to_thread(parts.repository.kept_file, base) if base else None
    base_image = Image(base, base_path) if base and base_path else None
    found = await parts.encodings.body(Image(sha256, path), base_image, offset, accept)
    response = parts.stream(headers={"Cache-Control": "no-store"})
    if found is None:
        return await _plain(request, response, path, offset, length)
    response.content_type, frames = found
    response.content_length = sum(map(len, frames))
    await response.prepare(request)
    for frame in frames:
        await response.write(frame)
    await response.write_eof()
    return response


async def _plain(
    request: web.Request, response: web.StreamResponse, path: Path, offset: int, length: int
) -> web.StreamResponse:
    with path.open("rb") as file:
        response.content_type = "application/octet-stream"
        response.content_length = length - offset
        await response.prepare(request)
        await copy(file, response, offset, length)
        await response.write_eof()
        return response


def _parameter(request: web.Request, name: str, form: re.Pattern[str]) -> str | None:
    values = request.query.getall(name, [])
    if not values:
        return None
    if len(values) > 1 or not form.match(values[0]):
        raise ApiError(400, "bad_parameter", f"{name} cannot be read")
    return values[0]
