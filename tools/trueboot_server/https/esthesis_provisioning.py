# SPDX-License-Identifier: MIT
"""GET /api/v1/provisioning/find, find/by-id and download: what devices ask in esthesis's language.

Who asks is proven by a token (`esthesis.tokens`), as far as the product wants one; what is answered is the open job's
release, else a package.  Nothing newer is 200 with an empty id.  Refusals are 401 and 429 with no body, as there; a
question that proves nobody is counted against its address alone, a proven one against its device: five in five
minutes, unless the server is told otherwise.

Source: esthesis, protocol 4.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from aiohttp import web

from ..errors import ApiError
from ..esthesis import packages, tokens
from ..esthesis.packages import EXTERNAL, INTERNAL
from ..esthesis.paths import both
from ..fleet import jobs, registry, shadow
from ..names import Identity
from ..store import Transaction
from ..tls import proven_certificate
from .esthesis_registration import failure
from .parts import PARTS, Parts
from .repository import send
from .request import address

ROAD = "/api/v1/provisioning"
_NOTHING = json.dumps(
    {
        "id": None,
        "name": None,
        "version": None,
        "type": None,
        "size": 0,
        "downloadUrl": None,
        "sha256": None,
        "downloadToken": None,
    }
)
_VERSION_CHARS = 128
_SEEN_MS = 60_000


class _Empty(Exception):
    """A refusal without a body."""

    def __init__(self, status: int, wait_s: float = 0.0):
        super().__init__(status)
        self.status = status
        self.headers = {"Retry-After": str(int(wait_s) + 1)} if wait_s else {}


class _Asker(NamedTuple):
    identity: Identity
    proven: bool


def routes() -> list[web.RouteDef]:
    roads = {"/find/by-id": find_by_id, "/find": find, "/download": download}
    return [web.get(path, handler, allow_head=False) for rest, handler in roads.items() for path in both(ROAD + rest)]


async def find(request: web.Request) -> web.Response:
    """The newest for this device."""
    return _answered(request, _newest)


async def find_by_id(request: web.Request) -> web.Response:
    """The one that a command named."""
    return _answered(request, _named)


async def download(request: web.Request) -> web.StreamResponse:
    parts = request.app[PARTS]
    tickets = parts.desk.tickets
    with parts.store.transaction() as t:
        ticket = tickets.find(t, request.query.get("token", ""))
    path = parts.image_of(ticket.sha256) if ticket else None
    if ticket is None or path is None:
        return failure(410, "there is no such download, or it is over")

    def last() -> bool:
        with parts.store.transaction() as t:
            return tickets.use_up(t, ticket)

    try:
        return await send(request, path, f'"{ticket.sha256}"', last)
    except ApiError as error:
        return failure(error.status, error.message, error.headers)


def _answered(request: web.Request, look: Any) -> web.Response:
    parts = request.app[PARTS]
    try:
        asker = _asker(request, parts)
        _count(request, parts, asker)
        if asker.proven:
            _note_seen(parts, asker.identity)
        found = look(parts, request, asker.identity)
        text = json.dumps(found) if found else _NOTHING
        return web.Response(text=text, content_type="application/json", headers={"Cache-Control": "no-store"})
    except _Empty as refused:
        return web.Response(status=refused.status, headers={"Cache-Control": "no-store", **refused.headers})


def _note_seen(parts: Parts, identity: Identity) -> None:
    """Once a minute: a question that changes nothing else costs no write.  Unproven, it may have been anybody."""
    now = parts.store.now()
    if parts.heard.get(identity, 0) < now - _SEEN_MS:
        parts.heard.put(identity, now)
        with parts.store.transaction(lasting=False) as t:
            registry.note_seen(t, identity)


def _asker(request: web.Request, parts: Parts) -> _Asker:
    """Which device asks.  A hardware id that nobody has is refused as a wrong proof is."""
    if wait := parts.proofs.wait_s(address(request)):
        raise _Empty(429, wait)
    hardware_id = request.query.get("hardwareId", "")
    with parts.store.transaction() as t:
        row = registry.find_hardware(t, hardware_id)
        if row is None or row.state == "revoked":
            parts.proofs.failed(address(request))
            raise _Empty(401)
        identity = Identity(row.product_key, row.device_key)
        product: Any = registry.product(t, identity.product_key)
        live = registry.live_certificates(t, identity, parts.limits) if product.tokens != "off" else []
        certified = registry.live_device_with(t, *proven_certificate(request.transport), parts.limits)
    ours, theirs = request.headers.get(tokens.HEADER), request.query.get("token")
    if product.tokens == "off" or (product.tokens == "optional" and ours is None and theirs is None):
        return _Asker(identity, certified == identity)
    path, _, query = request.raw_path.partition("?")
    asked = {
        "method": "GET",
        "path": path,
        "query": query,
        "aud": parts.base_url,
        "sub": hardware_id,
    }
    if ours is not None:
        proven = tokens.proves(ours, live, asked, parts.nonces)
    else:
        proven = theirs is not None and tokens.proves_by_rsa(theirs, live, hardware_id)
    if not proven:
        parts.proofs.failed(address(request))
        raise _Empty(401)
    return _Asker(identity, True)


def _count(request: web.Request, parts: Parts, asker: _Asker) -> None:
    # An unproven question must not cost the device its own: it is counted for the address that asks in its name.
    key = asker.identity.common_name if asker.proven else f"{address(request)} {asker.identity.common_name}"
    if wait := parts.desk.queries.wait_s(key):
        raise _Empty(429, wait)
    parts.desk.queries.failed(key)


def _newest(parts: Parts, request: web.Request, identity: Identity) -> dict[str, Any] | None:
    version = request.query.get("version", "")[:_VERSION_CHARS]
    key = (*identity, version)
    if parts.nothing_newer.get(key):
        return None
    with parts.store.transaction() as t:
        ordered = jobs.ask(t, identity, version)
        if ordered is not None:
            return _of_job(t, parts, identity, *ordered)
        row = packages.newest_for(t, identity, set(shadow.tags(t, identity)), version)
        if row is not None:
            return _of_package(t, parts, identity, row)
        waits = jobs.open_attempt(t, identity) is not None  # for its window: time alone may change the answer
    if not waits:
        parts.nothing_newer.put(key, True)
    return None


def _named(parts: Parts, request: web.Request, identity: Identity) -> dict[str, Any] | None:
    number = request.query.get("packageId", "")
    with parts.store.transaction() as t:
        return _of_number(t, parts, identity, number)


def _of_number(t: Transaction, parts: Parts, identity: Identity, number: str) -> dict[str, Any] | None:
    attempt = jobs.open_attempt(t, identity)
    if attempt is not None:
        job = jobs.job_of(t, attempt)
        if packages.package_id(job.target, job.sha256) == number:
            return _of_job(t, parts, identity, attempt, job) if jobs.may_hand(job, t.now) else None
    row = packages.find(t, number)
    if row is not None:
        mine = row.available and row.product_key == identity.product_key
        return _of_package(t, parts, identity, row) if mine else None
    release = packages.release_of(t, number)
    return _of_release(t, parts, identity, release) if release is not None else None


def _of_job(t: Transaction, parts: Parts, identity: Identity, attempt: Any, job: Any) -> dict[str, Any]:
    jobs.handed(t, attempt)
    orders = {name: True for name in ("retry", "downgrade") if getattr(job, name)}
    return {**_of_release(t, parts, identity, job), "job": str(attempt.id), "nonce": attempt.nonce, **orders}


def _of_release(t: Transaction, parts: Parts, identity: Identity, release: Any) -> dict[str, Any]:
    """`release`: its row, or a job's, which has the same members."""
    return {
        "id": packages.package_id(release.target, release.sha256),
        "name": release.target.rpartition("/")[2],
        "version": release.version,
        "type": INTERNAL,
        "size": release.length,
        "downloadUrl": None,
        "sha256": release.sha256,
        "downloadToken": parts.desk.tickets.give(t, identity, release.sha256),
        "target": release.target,
        "length": release.length,
    }


def _of_package(t: Transaction, parts: Parts, identity: Identity, row: Any) -> dict[str, Any]:
    external = row.kind == EXTERNAL
    return {
        "id": row.id,
        "name": row.name,
        "version": row.version,
        "type": row.kind,
        "size": 0 if external else row.size,
        "downloadUrl": row.url,
        "sha256": row.sha256,
        "downloadToken": None if external else parts.desk.tickets.give(t, identity, row.sha256),
    }
