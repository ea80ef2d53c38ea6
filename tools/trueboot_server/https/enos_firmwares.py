# SPDX-License-Identifier: MIT
"""Firmwares over EnOS's REST: create, get, search, delete (enos-decada, 8.6).

EnOS takes any file with a digest, and devices trust that.  Ours take signed releases only, so a firmware here is a name
for one: the uploaded file has to be the image of a published release, or a bundle of it.  Uploading makes nothing
that a device would install; what is missing is said.
"""

from __future__ import annotations

import hashlib
from typing import Any

import sqlalchemy as sa
from aiohttp import web

from .. import strict_json
from ..enos import answers, multipart
from ..enos.answers import EnosError
from ..fleet import registry
from ..fleet.campaigns import OPEN
from ..store import Transaction
from ..store.schema import attempts, firmwares, jobs, members, releases
from .enos import answered, read_object, signed_call, signed_upload
from .parts import PARTS

_PATH = "/connect-service/v2.1/ota-firmwares"
_BUNDLE = b"trueboot-bundle 1\n"
_MAX_HEADER_BYTES, _MAX_ENTRIES = 180, 64
_DIGESTS = ("md5", "sha256")
_KEPT = (
    *("name", "version", "signMethod", "sign", "desc", "enableVerification", "firmwareTags"),
    *("maxAllowedForVerification", "minSuccessForVerified"),
)


def routes() -> list[web.RouteDef]:
    return [web.get(_PATH, answered(read, answers.of_services)), web.post(_PATH, answered(change, answers.of_services))]


async def read(request: web.Request) -> Any:
    await signed_call(request)
    action = request.query.get("action")
    if action not in ("get", "list", "search"):
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: action is get, list or search")
    with request.app[PARTS].store.transaction() as t:
        return _shown(t, request, find(t, request)) if action == "get" else _listed(t, request)


async def change(request: web.Request) -> Any:
    action = request.query.get("action")
    if action == "create":
        return await _create(request)
    body = await signed_call(request)
    with request.app[PARTS].store.transaction() as t:
        if action in ("search", "list"):
            if body:
                read_object(body)  # an expression of EnOS's query language: not understood, and not needed
            return _listed(t, request)
        if action == "delete":
            return _delete(t, request)
    raise EnosError(answers.BAD_ARGUMENT, "invalid argument: action is create, search or delete")


def find(t: Transaction, request: web.Request) -> Any:
    text = request.query.get("firmwareId", "")
    known = text.isascii() and text.isdigit() and len(text) <= 18
    row = t.row(sa.select(firmwares).where(firmwares.c.id == int(text))) if known else None
    if row is None:
        raise EnosError(answers.BAD_ARGUMENT, "there is no firmware with this firmwareId")
    return row


def is_verified(t: Transaction, row: Any) -> bool:
    """Whether as many devices as are asked for have confirmed it in jobs of the type verify."""
    if not row.verification:
        return True
    product = registry.product(t, row.product_key)
    good = ("updated", "claimed") if product is not None and product.claims_count else ("updated",)
    joined = members.join(attempts, attempts.c.id == members.c.attempt_id).join(jobs, jobs.c.id == members.c.job_id)
    mine = (jobs.c.firmware_id == row.id, jobs.c.enos["type"].as_string() == "verify", attempts.c.state.in_(good))
    done = t.execute(sa.select(sa.func.count()).select_from(joined).where(*mine)).scalar_one()
    return bool(done >= (row.told.get("minSuccessForVerified") or 1))


async def _create(request: web.Request) -> dict[str, Any]:
    parts = request.app[PARTS]
    body = await signed_upload(request, parts.limits.enos_firmware_bytes)
    found = multipart.parts(request.headers.get("Content-Type", ""), body)
    for name in ("metadata", "file"):
        if name not in found:
            raise EnosError(answers.BAD_ARGUMENT, f"invalid argument: the part {name} is missing")
    told = _metadata(found["metadata"], parts.limits.enos_document_bytes)
    file = found["file"]
    digest = hashlib.new(told["signMethod"].lower(), file, usedforsecurity=False).hexdigest()
    if digest != told["sign"].lower():
        raise EnosError(answers.BAD_ARGUMENT, f"invalid argument: sign is not the {told['signMethod']} of the file")
    sha256 = hashlib.sha256(_image(file)).hexdigest()
    product_key = request.query.get("productKey") or parts.credentials.product_key
    with parts.store.transaction() as t:
        if registry.product(t, product_key) is None:
            raise EnosError(answers.BAD_ARGUMENT, "invalid argument: there is no such productKey")
        release = t.execute(sa.select(releases).where(releases.c.sha256 == sha256).limit(1)).first()
        if release is None:
            raise EnosError(
                answers.BAD_ARGUMENT,
                "the file is not the image of a signed release, and no device would install it: "
                "sign and publish it first (trueboot release add), then upload the same file, or a bundle of it",
            )
        if release.version != told["version"]:
            raise EnosError(answers.BAD_ARGUMENT, f"invalid argument: version: it was signed as {release.version}")
        mine = firmwares.c.product_key == product_key
        rows = t.rows(sa.select(firmwares.c.told).where(mine))
        if len(rows) >= parts.limits.enos_firmwares:
            raise EnosError(answers.BAD_ARGUMENT, f"a product may have {parts.limits.enos_firmwares} firmwares")
        if told["name"]["defaultValue"] in [row.told["name"]["defaultValue"] for row in rows]:
            raise EnosError(answers.BAD_ARGUMENT, "invalid argument: name: the product has a firmware of this name")
        values = {"product_key": product_key, "target": release.target, "version": release.version, "sha256": sha256}
        values |= {"told": told, "verification": told["enableVerification"], "created_at": t.now}
        made = t.execute(firmwares.insert().values(**values)).inserted_primary_key
        number = str(made[0])  # type: ignore[index]
        t.event("enos.firmware", firmware=number, target=release.target, version=release.version)
    return {"firmwareId": number}


def _metadata(part: bytes, most: int) -> dict[str, Any]:
    if len(part) > most:
        raise EnosError(answers.BAD_ARGUMENT, f"invalid argument: metadata is longer than {most} bytes")
    try:
        told = strict_json.loads(part)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: metadata is not a JSON object")
    name = told.get("name")
    if not isinstance(name, dict) or not isinstance(name.get("defaultValue"), str) or not name["defaultValue"]:
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: name.defaultValue is missing")
    for member in ("version", "signMethod", "sign"):
        if not isinstance(told.get(member), str) or not told[member]:
            raise EnosError(answers.BAD_ARGUMENT, f"invalid argument: {member} is missing")
    if told["signMethod"].lower() not in _DIGESTS:
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: signMethod is md5 or sha256")
    if type(told.get("enableVerification")) is not bool:
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: enableVerification is missing: true or false")
    for member in ("maxAllowedForVerification", "minSuccessForVerified"):
        if told.get(member) is not None and not (type(told[member]) is int and 1 <= told[member] <= 10_000):
            raise EnosError(answers.BAD_ARGUMENT, f"invalid argument: {member} is a whole number from 1")
    return {member: told[member] for member in _KEPT if told.get(member) is not None}


def _image(file: bytes) -> bytes:
    """The image in a bundle (see agent.trust.bundle); anything else is the image itself."""
    if not file.startswith(_BUNDLE):
        return file
    at = len(_BUNDLE)
    for _ in range(_MAX_ENTRIES):
        end = file.find(b"\n", at, at + _MAX_HEADER_BYTES)
        digits, _, name = file[at:end].partition(b" ") if end > 0 else (b"", b"", b"")
        if not digits.isdigit() or len(digits) > 10:
            break
        if name.startswith(b"target:"):
            return file[end + 1 : end + 1 + int(digits)]
        at = end + 1 + int(digits)
    raise EnosError(answers.BAD_ARGUMENT, "invalid argument: the file begins as a bundle and is none")


def _delete(t: Transaction, request: web.Request) -> None:
    row = find(t, request)
    is_open = jobs.c.state.in_(OPEN)
    if t.rows(sa.select(jobs.c.id).where(jobs.c.firmware_id == row.id, is_open).limit(1)):
        raise EnosError(answers.BAD_ARGUMENT, "a job of this firmware has not ended: cancel it first")
    t.execute(firmwares.delete().where(firmwares.c.id == row.id))
    t.event("enos.firmware_deleted", firmware=str(row.id), target=row.target)


def _listed(t: Transaction, request: web.Request) -> list[dict[str, Any]]:
    """Newest first."""
    chosen = sa.select(firmwares).order_by(firmwares.c.id.desc()).limit(request.app[PARTS].limits.page_rows)
    if product_key := request.query.get("productKey"):
        chosen = chosen.where(firmwares.c.product_key == product_key)
    return [_shown(t, request, row) for row in t.rows(chosen)]


def _shown(t: Transaction, request: web.Request, row: Any) -> dict[str, Any]:
    release = t.row(sa.select(releases).where(releases.c.target == row.target, releases.c.sha256 == row.sha256))
    return {
        "orgId": request.app[PARTS].credentials.org_id,
        "firmwareId": str(row.id),
        "productKey": row.product_key,
        "name": row.told["name"],
        "version": row.version,
        "signMethod": row.told["signMethod"],
        "sign": row.told["sign"],
        "desc": row.told.get("desc", ""),
        "enableVerification": bool(row.verification),
        "verified": is_verified(t, row),
        "firmwareTags": row.told.get("firmwareTags", {}),
        "fileSize": release.length if release is not None else None,
        "target": row.target,  # ours: the signed name of it
        "published": release is not None,
        "createTime": row.created_at,
    }
