# SPDX-License-Identifier: MIT
"""What is signed: certificates and releases, and what an operator does with them on the page."""

from __future__ import annotations

import asyncio
from typing import Any

import sqlalchemy as sa
from aiohttp import BodyPartReader, web

from ..errors import ApiError
from ..fleet import registry
from ..https.operations import OPERATE, READ
from ..https.parts import Parts
from ..https.repository import publish_files, take_image
from ..https.request import AUDIT_DETAIL
from ..store.schema import certificates, devices, own_certificates, releases
from .actions import reason_in
from .roads import Visit, back, page, road
from .views import REASONS, ROWS

_SOON_MS = 30 * 24 * 3600 * 1000
_SHOWN = 200
_CONDITIONS: dict[str, Any] = {
    "good": lambda now: sa.and_(certificates.c.revoked_at.is_(None), certificates.c.not_after > now),
    "expired": lambda now: sa.and_(certificates.c.revoked_at.is_(None), certificates.c.not_after <= now),
    "revoked": lambda _: certificates.c.revoked_at.is_not(None),
}


@road(READ, "Certificates, the newest first", "page.certificates")
async def certificates_page(visit: Visit) -> web.Response:
    before, query = visit.number("before", 2**31), visit.request.query
    text, status = query.get("text", "")[:64], query.get("status", "")
    statement = sa.select(certificates).order_by(certificates.c.handle.desc()).limit(ROWS)
    if before:
        statement = statement.where(certificates.c.handle < before)
    if text:
        named = certificates.c.device_key.contains(text, autoescape=True)
        statement = statement.where(sa.or_(named, certificates.c.serial == text.lower().replace(":", "")))
    with visit.parts.store.transaction() as t:
        if status in _CONDITIONS:
            statement = statement.where(_CONDITIONS[status](t.now))
        rows = t.rows(statement)
        own = t.rows(sa.select(own_certificates).order_by(own_certificates.c.issued_at.desc()).limit(10))
        now = t.now
    return page(
        visit.request,
        "certificates.html",
        visit.session,
        certificates=[(row, _standing(visit, row, now)) for row in rows],
        own=[(row, _plain(row, now)) for row in own],
        ca=visit.parts.authority.facts(),
        statuses=tuple(_CONDITIONS),
        wanted=status if status in _CONDITIONS else "",
        text=text,
        before=before,
        more=rows[-1].handle if len(rows) == ROWS else 0,
        soon=now + _SOON_MS,
        reasons=REASONS,
    )


@road(OPERATE, "Revoke a certificate", "page.revoke_certificate")
async def revoke_certificate(visit: Visit) -> web.Response:
    serial = visit.request.match_info["serial"]
    with visit.parts.store.transaction() as t:
        if registry.certificate(t, serial) is None:
            raise ApiError(404, "no_such_certificate", "no certificate has this serial number")
    visit.parts.desk.revoke_serial(serial, reason_in(visit))
    visit.session.notice = ("good", f"Certificate {serial} is revoked.")
    return back(visit.request, "/ui/certificates")


@road(READ, "Releases: what is signed, and what lies here unsigned", "page.releases")
async def releases_page(visit: Visit) -> web.Response:
    repository = visit.parts.repository
    number = sa.func.count().label("number")
    with visit.parts.store.transaction() as t:
        rows = t.rows(sa.select(releases).order_by(releases.c.published_at.desc(), releases.c.target).limit(_SHOWN))
        images = t.rows(
            sa.select(devices.c.image, number).where(devices.c.image.is_not(None)).group_by(devices.c.image)
        )
    published = repository.published
    return page(
        visit.request,
        "releases.html",
        visit.session,
        releases=rows,
        running={row.image: row.number for row in images},
        unsigned=(await asyncio.to_thread(repository.unsigned))[:_SHOWN],
        expires=[(role, int(at.timestamp() * 1000)) for role, at in sorted(published.expires().items())],
        expiring=set(repository.expiring()),
        versions={role: published.version(role) for role in published.expires()},
    )


@road(OPERATE, "Upload an image, its signed metadata, or both", "page.upload_release")
async def upload_release(visit: Visit) -> web.Response:
    """One form: the target's path before the image; each is streamed as it comes."""
    parts, request = visit.parts, visit.request
    if not request.content_type.startswith("multipart/"):
        raise ApiError(400, "bad_parameter", "the form holds no files")
    target, files, said, room = "", {}, [], parts.limits.metadata_body_bytes
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            raise ApiError(400, "bad_parameter", "the form cannot be read")
        if part.name == "target":
            target = (await _small(parts, part, 1024)).decode("utf-8", "replace").strip()
        elif part.name == "image" and part.filename:
            sha256, length = await take_image(parts, target, part.read_chunk)
            request[AUDIT_DETAIL] = {"target": target, "sha256": sha256}
            said.append(f"{target} is here, {length} bytes")
        elif part.name == "metadata" and part.filename:
            data = await _small(parts, part, room)
            room -= len(data)
            files[part.filename] = data
    if files:
        said.append("published" if await publish_files(parts, files) else "the metadata were published already")
    elif said:
        said.append("devices get it once its metadata are published")
    if not said:
        raise ApiError(400, "bad_parameter", "nothing was chosen", "Choose an image, metadata files, or both.")
    visit.session.notice = ("good", "; ".join(said) + ".")
    return back(request, "/ui/releases")


async def _small(parts: Parts, part: BodyPartReader, most: int) -> bytes:
    data = bytearray()
    try:
        while True:
            async with asyncio.timeout(parts.limits.upload_idle_s):
                piece = await part.read_chunk()
            if not piece:
                return bytes(data)
            data += piece
            if len(data) > most:
                raise ApiError(413, "body_too_long", f"a part of the form is longer than {most} bytes")
    except TimeoutError as error:
        raise ApiError(408, "body_too_slow", "the body stopped") from error


@road(OPERATE, "Delete an image that nothing names", "page.drop_image")
async def drop_image(visit: Visit) -> web.Response:
    stored = visit.form.get("stored", "")
    visit.request[AUDIT_DETAIL] = {"stored": stored[:200]}
    if not await asyncio.to_thread(visit.parts.repository.drop_unsigned, stored):
        raise ApiError(409, "image_in_use", "no unsigned image has this name", "A signed one is withdrawn first.")
    visit.session.notice = ("good", f"{stored} is deleted.")
    return back(visit.request, "/ui/releases")


def _standing(visit: Visit, row: Any, now: int) -> str:
    plain = _plain(row, now)
    return "superseded" if plain == "good" and not registry.is_live(row, now, visit.parts.limits) else plain


def _plain(row: Any, now: int) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "good" if row.not_after > now else "expired"
