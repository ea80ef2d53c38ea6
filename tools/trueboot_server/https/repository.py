# SPDX-License-Identifier: MIT
"""The release repository over HTTPS: metadata for everybody, targets for live devices and the operator.

Versioned files and targets never change under their name, so they may be cached for ever; only
timestamp.json is asked for anew.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import BinaryIO

import sqlalchemy as sa
from aiohttp import web

from ..clock import iso
from ..errors import ApiError
from ..releases import keep_releases
from ..repo.paths import BadTarget, check_path
from ..repo.uploads import TooLong, Upload
from ..store.schema import releases
from . import ranges
from .parts import PARTS
from .request import device_of, read_body, require_admin

_PIECE_BYTES = 256 * 1024
_FOR_EVER = "public, max-age=31536000, immutable"


def routes() -> list[web.RouteDef]:
    return [
        web.get("/repo/metadata/{name}", metadata),
        web.get("/repo/targets/{path:.+}", target),
        web.get("/api/v1/releases", list_releases),
        web.put("/api/v1/repo/targets/{path:.+}", upload),
        web.post("/api/v1/repo/metadata", publish),
    ]


async def metadata(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    path = request.app[PARTS].repository.metadata_file(name)
    if path is None:
        raise ApiError(404, "no_such_metadata", "there is no such metadata file")
    cache = "no-cache" if name == "timestamp.json" else _FOR_EVER
    return web.Response(body=path.read_bytes(), content_type="application/json", headers={"Cache-Control": cache})


async def target(request: web.Request) -> web.StreamResponse:
    if device_of(request) is None:
        require_admin(request)
    stored = request.match_info["path"]
    path = request.app[PARTS].repository.target_file(stored)
    if path is None:
        raise ApiError(404, "no_such_target", "there is no such target")
    return await _send(request, path, f'"{path.name.partition(".")[0]}"')


async def list_releases(request: web.Request) -> web.Response:
    parts = require_admin(request)
    with parts.store.transaction() as t:
        rows = t.rows(sa.select(releases).order_by(releases.c.target))
    shown = [
        {
            "target": row.target,
            "version": row.version,
            "sha256": row.sha256,
            "length": row.length,
            "kind": row.custom["kind"],
            "hardware": row.custom["hardware"],
            "security": row.custom["security"],
            "custom": row.custom,
            "published_at": iso(row.published_at),
        }
        for row in rows
    ]
    return web.json_response({"releases": shown, "targets_version": parts.repository.version()})


async def upload(request: web.Request) -> web.Response:
    parts = require_admin(request)
    path = request.match_info["path"]
    try:
        check_path(path)
    except BadTarget as error:
        raise ApiError(400, "target_rules", str(error)) from error
    limits = parts.limits
    too_long = ApiError(413, "body_too_long", f"a target may have {limits.target_bytes} bytes")
    if (request.content_length or 0) > limits.target_bytes:
        raise too_long
    with Upload(parts.repository.incoming, limits.target_bytes) as incoming:
        try:
            while True:
                async with asyncio.timeout(limits.upload_idle_s):
                    piece = await request.content.readany()
                if not piece:
                    break
                incoming.write(piece)
        except TooLong as error:
            raise too_long from error
        except TimeoutError as error:
            raise ApiError(408, "body_too_slow", "the body stopped") from error
        if not incoming.length:
            raise ApiError(400, "empty_target", "the body is empty")
        sha256 = await asyncio.to_thread(
            incoming.finish, lambda file, digest: parts.repository.accept_file(file, path, digest)
        )
        length = incoming.length
    parts.log("target.uploaded", target=path, length=length, sha256=sha256)
    return web.json_response({"target": path, "sha256": sha256, "length": length}, status=201)


async def publish(request: web.Request) -> web.Response:
    parts = require_admin(request)
    data = await read_body(request, parts.limits.metadata_body_bytes)
    repository = parts.repository
    if data and data == repository.current_bytes():
        return web.json_response({"version": repository.version(), "changed": False})  # a caller repeats itself
    checked = await asyncio.to_thread(repository.check, data)
    repository.publish(checked, data)
    with parts.store.transaction() as t:
        keep_releases(t, repository.files())
    return web.json_response({"version": repository.version(), "changed": True}, status=201)


async def _send(request: web.Request, path: Path, etag: str) -> web.StreamResponse:
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "private, max-age=31536000, immutable"}
    if etag in [tag.strip() for tag in request.headers.get("If-None-Match", "").split(",")]:
        return web.Response(status=304, headers=headers)
    with path.open("rb") as file:
        size = path.stat().st_size
        wanted = request.headers.get("Range")
        if request.headers.get("If-Range", etag) != etag:
            wanted = None
        try:
            part = ranges.parse(wanted, size)
        except ranges.NotSatisfiable:
            raise ApiError(
                416, "range_not_satisfiable", f"the target has {size} bytes", "", {"Content-Range": f"bytes */{size}"}
            ) from None
        start, end = part or (0, size)
        if part:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        response = web.StreamResponse(status=206 if part else 200, headers=headers)
        response.content_type = "application/octet-stream"
        response.content_length = end - start
        await response.prepare(request)
        if request.method != "HEAD":
            await _copy(file, response, start, end)
        await response.write_eof()
        return response


async def _copy(file: BinaryIO, response: web.StreamResponse, start: int, end: int) -> None:
    file.seek(start)
    while start < end:
        piece = file.read(min(_PIECE_BYTES, end - start))
        if not piece:
            raise ConnectionError("the file is shorter than it was")  # the peer sees a cut, not a short success
        await response.write(piece)
        start += len(piece)
