# SPDX-License-Identifier: MIT
"""Packages that an operator makes for devices of esthesis: see `esthesis.packages`."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

from aiohttp import web

from ..errors import ApiError
from ..esthesis import packages as model
from ..fleet import registry
from ..fleet.dialect import ESTHESIS
from ..repo.uploads import TooLong, Upload
from ..state import sync_folder
from ..store.schema import packages as table
from . import schemas as s
from .operations import OPERATE, READ, operation
from .request import only, read_object, require_admin

_ROAD = "/api/v1/packages"
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_TAG = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_KINDS = (model.INTERNAL, model.EXTERNAL)
_SHOWN = s.obj(
    id=s.text(),
    product_key=s.KEY,
    name=s.text(),
    version=s.text("semantic version"),
    type=s.one_of(*_KINDS),
    size=s.null(s.whole(0)),
    sha256=s.SHA256,
    url=s.null(s.text()),
    tags=s.array(s.text()),
    prerequisite=s.null(s.text()),
    available=s.FLAG,
    created_at=s.TIME,
)


def routes() -> list[web.RouteDef]:
    return [
        web.get(_ROAD, list_packages),
        web.post(_ROAD, make),
        web.put(_ROAD + "/files/{sha256}", upload),
        web.post(_ROAD + "/{id}/available", change),
        web.delete(_ROAD + "/{id}", remove),
    ]


@operation(READ, "List packages", s.obj(packages=s.array(_SHOWN)))
async def list_packages(request: web.Request) -> web.Response:
    parts = require_admin(request)
    with parts.store.transaction() as t:
        return web.json_response({"packages": [model.shown(row) for row in model.listed(t)]})


@operation(
    OPERATE,
    "Upload the file of a package, before the package is made",
    s.obj(sha256=s.SHA256, size=s.whole(1)),
    status=201,
    body={"type": "string", "format": "binary"},
    body_type="application/octet-stream",
)
async def upload(request: web.Request) -> web.Response:
    """The address names the file's SHA-256, which is checked."""
    parts = require_admin(request)
    wanted, limits = request.match_info["sha256"], parts.limits
    if not _SHA256.match(wanted):
        raise ApiError(400, "bad_parameter", "the file is named by its SHA-256, in lower-case hex")

    def accept(path: Path, sha256: str) -> None:
        if sha256 != wanted:
            raise ApiError(400, "wrong_hash", f"what came has the SHA-256 {sha256}", "Send it again.")
        os.replace(path, parts.package_files / sha256)
        sync_folder(parts.package_files)

    with Upload(parts.repository.incoming, limits.target_bytes) as incoming:
        try:
            while True:
                async with asyncio.timeout(limits.upload_idle_s):
                    piece = await request.content.readany()
                if not piece:
                    break
                incoming.write(piece)
            await asyncio.to_thread(incoming.finish, accept)
        except TooLong as error:
            raise ApiError(413, "target_too_long", f"a file may have {limits.target_bytes} bytes") from error
        except TimeoutError as error:
            raise ApiError(408, "body_too_slow", "the file did not arrive in time") from error
        size = incoming.length
    return web.json_response({"sha256": wanted, "size": size}, status=201)


@operation(
    OPERATE,
    "Make a package",
    _SHOWN,
    status=201,
    body=s.obj(
        "name version sha256",
        product_key=s.KEY,
        name=s.text(),
        version=s.text(),
        sha256=s.SHA256,
        url=s.null(s.text()),
        tags=s.array(s.text()),
        prerequisite=s.null(s.text()),
    ),
    refusals=(404, 409),
)
async def make(request: web.Request) -> web.Response:
    """INTERNAL when its file was uploaded; EXTERNAL with a `url`, from which devices fetch it without credentials."""
    parts = require_admin(request)
    body = await read_object(request)
    only(body, "product_key", "name", "version", "sha256", "url", "tags", "prerequisite")
    values = _checked(body)
    with parts.store.transaction() as t:
        product = registry.product(t, str(body.get("product_key", "")))
        if product is None or product.dialect != ESTHESIS:
            raise ApiError(404, "no_such_product", "there is no such product that speaks esthesis")
        if len(model.listed(t)) >= parts.limits.packages:
            raise ApiError(409, "too_many_packages", f"there may be {parts.limits.packages}", "Remove some.")
        file = parts.package_files / values["sha256"]
        if values["url"] is None and not file.is_file():
            raise ApiError(409, "file_missing", "its file is not here", "PUT it first, or give a url.")
        values["size"] = file.stat().st_size if values["url"] is None else None
        row = model.make(t, product.product_key, available=True, **values)
    return web.json_response(model.shown(row), status=201)


@operation(OPERATE, "Offer a package, or stop offering it", _SHOWN, body=s.obj("available", available=s.FLAG))
async def change(request: web.Request) -> web.Response:
    parts = require_admin(request)
    body = await read_object(request)
    only(body, "available")
    if type(body.get("available")) is not bool:
        raise ApiError(400, "bad_parameter", "available is true or false")
    with parts.store.transaction() as t:
        _find(t, request)
        t.execute(table.update().where(table.c.id == request.match_info["id"]).values(available=body["available"]))
        return web.json_response(model.shown(_find(t, request)))


@operation(OPERATE, "Remove a package", None, status=204)
async def remove(request: web.Request) -> web.Response:
    parts = require_admin(request)
    with parts.store.transaction() as t:
        row = _find(t, request)
        t.execute(table.delete().where(table.c.id == row.id))
        t.event("package.removed", product=row.product_key, package=row.id)
        unused = row.sha256 not in {other.sha256 for other in model.listed(t)}
    if unused and row.kind == model.INTERNAL:
        (parts.package_files / row.sha256).unlink(missing_ok=True)
    return web.Response(status=204)


def _find(t: Any, request: web.Request) -> Any:
    row = model.find(t, request.match_info["id"])
    if row is None:
        raise ApiError(404, "no_such_package", "there is no such package", f"GET {_ROAD} lists them.")
    return row


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    name, url, tags, needs = body.get("name"), body.get("url"), body.get("tags", []), body.get("prerequisite")
    if not isinstance(name, str) or not 0 < len(name) <= 128 or not name.isprintable():
        raise ApiError(400, "bad_parameter", "name is a text of up to 128 characters")
    if not isinstance(body.get("sha256"), str) or not _SHA256.match(body["sha256"]):
        raise ApiError(400, "bad_parameter", "sha256 is 64 lower-case hex digits")
    for what, version in (("version", body.get("version")), ("prerequisite", needs)):
        if (version is not None or what == "version") and (
            not isinstance(version, str) or len(version) > 64 or model.parsed(version) is None
        ):
            raise ApiError(400, "bad_parameter", f"{what} is a semantic version")
    if url is not None and not (isinstance(url, str) and len(url) <= 1024 and url.startswith(("https://", "http://"))):
        raise ApiError(400, "bad_parameter", "url begins with https:// or http://, and has up to 1024 characters")
    if (
        not isinstance(tags, list)
        or len(tags) > 32
        or not all(isinstance(tag, str) and _TAG.match(tag) for tag in tags)
    ):
        raise ApiError(400, "bad_parameter", "tags is a list of up to 32 names")
    kind = model.EXTERNAL if url is not None else model.INTERNAL
    told = {"name": name, "version": body["version"], "sha256": body["sha256"], "url": url, "tags": tags}
    return {**told, "prerequisite": needs, "kind": kind}
