# SPDX-License-Identifier: MIT
"""The release repository over HTTPS: metadata for everybody, targets for live devices and the operator.

Numbered files and targets never change under their name, so they may be cached for ever; only timestamp.json is asked
for anew, and answered with 304 when it is still the same.  What the operator publishes is checked by `repo.checking`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa
from aiohttp import web

from .. import strict_json
from ..clock import iso
from ..errors import ApiError
from ..releases import keep_releases
from ..repo.paths import BadTarget, check_path
from ..repo.published import Published, split_name
from ..repo.uploads import TooLong, Upload
from ..store.schema import releases
from . import ranges
from . import schemas as s
from .operations import OPERATE, READ, operation
from .parts import PARTS, Parts
from .request import AUDIT_DETAIL, device_of, only, read_body, require_admin

_PIECE_BYTES = 256 * 1024
_FOR_EVER = "public, max-age=31536000, immutable"
NO_RANGE: web.RequestKey[bool] = web.RequestKey("no_range", bool)  # the whole is sent, whatever part is asked for


def routes() -> list[web.RouteDef]:
    return [
        web.get("/repo/metadata/{name}", metadata),
        web.get("/repo/targets/{path:.+}", target),
        web.get("/api/v1/releases", list_releases),
        web.put("/api/v1/repo/targets/{path:.+}", upload),
        web.get("/api/v1/repo", show),
        web.post("/api/v1/repo/metadata", publish),
        web.post("/api/v1/repo/online-key", make_online_key),
    ]


async def metadata(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    repository = request.app[PARTS].repository
    if name == "timestamp.json":
        data, cache = repository.published.stamp, "no-cache"
    else:
        numbered = split_name(name)
        path = repository.metadata_file(*numbered) if numbered else None
        data, cache = path.read_bytes() if path else b"", _FOR_EVER
    if not data:
        raise ApiError(404, "no_such_metadata", "there is no such metadata file")
    headers = {"Cache-Control": cache, "ETag": f'"{hashlib.sha256(data).hexdigest()}"'}
    if _is_known(request, headers["ETag"]):
        return web.Response(status=304, headers=headers)
    return web.Response(body=data, content_type="application/json", headers=headers)


@operation(READ, "A target's bytes", None)
async def target(request: web.Request) -> web.StreamResponse:
    if device_of(request) is None:
        require_admin(request)
    stored = request.match_info["path"]
    path = request.app[PARTS].repository.target_file(stored)
    if path is None:
        raise ApiError(404, "no_such_target", "there is no such target")
    return await send(request, path, f'"{path.name.partition(".")[0]}"')


@operation(READ, "List published releases", s.obj(releases=s.array(s.ref("Release")), targets_version=s.whole(0)))
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
    return web.json_response({"releases": shown, "targets_version": parts.repository.published.version("targets")})


@operation(
    OPERATE,
    "Upload an image, before its metadata",
    s.obj(target=s.text(), sha256=s.SHA256, length=s.whole(1)),
    status=201,
    body={"type": "string", "contentMediaType": "application/octet-stream"},
    body_type="application/octet-stream",
)
async def upload(request: web.Request) -> web.Response:
    parts = require_admin(request)
    path = request.match_info["path"]
    if (request.content_length or 0) > parts.limits.target_bytes:
        raise _too_long(parts)
    sha256, length = await take_image(parts, path, request.content.readany)
    return web.json_response({"target": path, "sha256": sha256, "length": length}, status=201)


def _too_long(parts: Parts) -> ApiError:
    return ApiError(413, "body_too_long", f"a target may have {parts.limits.target_bytes} bytes")


async def take_image(parts: Parts, path: str, read: Callable[[], Awaitable[bytes]]) -> tuple[str, int]:
    """(SHA-256, length) of what `read` gives until it gives nothing.  It is not served before it is signed for."""
    try:
        check_path(path)
    except BadTarget as error:
        raise ApiError(400, "target_rules", str(error)) from error
    limits = parts.limits
    with Upload(parts.repository.incoming, limits.target_bytes) as incoming:
        try:
            while True:
                async with asyncio.timeout(limits.upload_idle_s):
                    piece = await read()
                if not piece:
                    break
                incoming.write(piece)
        except TooLong as error:
            raise _too_long(parts) from error
        except TimeoutError as error:
            raise ApiError(408, "body_too_slow", "the body stopped") from error
        if not incoming.length:
            raise ApiError(400, "empty_target", "the body is empty")
        sha256 = await asyncio.to_thread(
            incoming.finish, lambda file, digest: parts.repository.accept_file(file, path, digest)
        )
        length = incoming.length
    parts.log("target.uploaded", target=path, length=length, sha256=sha256)
    return sha256, length


@operation(
    READ,
    "Show what is published, and when it expires",
    s.both("Versions", expires=s.table(s.TIME), expiring=s.array(s.text())),
    name="repository.show",
)
async def show(request: web.Request) -> web.Response:
    """What is published, and when it expires: {"root", "timestamp", "snapshot", "roles", "expires", "expiring", ...}."""
    parts = require_admin(request)
    published = parts.repository.published
    body = _versions(published) | {
        "expires": {role: _date(at) for role, at in sorted(published.expires().items())},
        "expiring": sorted(parts.repository.expiring()),
    }
    return web.json_response(body)


@operation(
    OPERATE,
    "Publish signed metadata, all of them or none",
    s.both("Versions", changed=s.FLAG),
    status=201,
    also=(200,),
    body=s.obj("files", files=s.table(s.text())),
    refusals=(403, 409),
)
async def publish(request: web.Request) -> web.Response:
    """{"files": {"4.bin-0f.json": "<text>", ...}}: published together or not at all."""
    parts = require_admin(request)
    files = _files(await read_body(request, parts.limits.metadata_body_bytes))
    request[AUDIT_DETAIL] = {"files": sorted(files)[:16]}
    changed = await publish_files(parts, files)
    published = parts.repository.published
    return web.json_response({"changed": changed} | _versions(published), status=201 if changed else 200)


async def publish_files(parts: Parts, files: dict[str, bytes]) -> bool:
    """Whether they were news.  ApiError says why they are not published."""
    try:
        changed = await asyncio.to_thread(parts.repository.publish, files)
    finally:  # a disk may fail behind the commit point: what counts is what is published now
        with parts.store.transaction() as t:
            keep_releases(t, parts.repository.published.files)
    if changed:
        parts.log("repository.published", files=sorted(files))
    return changed


@operation(
    OPERATE,
    "Make the next online key",
    s.obj(keyid=s.text(), public=s.text("PEM")),
    status=201,
)
async def make_online_key(request: web.Request) -> web.Response:
    """The key that is to sign snapshot and timestamp once a root that names it is published."""
    parts = require_admin(request)
    keyid, public = await asyncio.to_thread(parts.repository.make_next_online_key)
    parts.log("repository.online_key", keyid=keyid)
    return web.json_response({"keyid": keyid, "public": public.decode()}, status=201)


def _files(body: bytes) -> dict[str, bytes]:
    try:
        value = strict_json.loads(body, unique_keys=True)
    except ValueError as error:
        raise ApiError(400, "not_json", "the body is not JSON") from error
    if not isinstance(value, dict):
        raise ApiError(400, "not_json", "the body is not a JSON object")
    only(value, "files")
    files = value.get("files")
    if not isinstance(files, dict) or not files or not all(isinstance(text, str) for text in files.values()):
        raise ApiError(400, "bad_files", "files must be an object of file names and texts")
    return {name: text.encode() for name, text in files.items()}


def _versions(published: Published) -> dict[str, Any]:
    return {
        "root": published.version("root"),
        "timestamp": published.version("timestamp"),
        "snapshot": published.version("snapshot"),
        "roles": {role: published.version(role) for role in published.delegated()},
    }


def _date(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _is_known(request: web.Request, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")]
    return etag in tags or "*" in tags


async def send(
    request: web.Request, path: Path, etag: str, last: Callable[[], bool] = lambda: True
) -> web.StreamResponse:
    """The file or the range of it that is asked for.

    `last` is asked before the bytes are sent that end the file; False cuts the download off there.
    """
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "private, max-age=31536000, immutable"}
    if _is_known(request, etag):
        return web.Response(status=304, headers=headers)
    with path.open("rb") as file:
        size = path.stat().st_size
        wanted = request.headers.get("Range")
        if request.headers.get("If-Range", etag) != etag or NO_RANGE in request:
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
        response = request.app[PARTS].stream(status=206 if part else 200, headers=headers)
        response.content_type = "application/octet-stream"
        response.content_length = end - start
        await response.prepare(request)
        if request.method != "HEAD":
            tail = max(start, end - _PIECE_BYTES) if end == size else end
            await copy(file, response, start, tail)
            if end == size and not last():
                raise ConnectionError("the download is somebody else's")  # the peer sees a cut
            await copy(file, response, tail, end)
        await response.write_eof()
        return response


async def copy(file: BinaryIO, response: web.StreamResponse, start: int, end: int) -> None:
    """The bytes of `file` from `start` to `end`, piece by piece."""
    file.seek(start)
    while start < end:
        piece = file.read(min(_PIECE_BYTES, end - start))
        if not piece:
            raise ConnectionError("the file is shorter than it was")  # the peer sees a cut, not a short success
        await response.write(piece)
        start += len(piece)
