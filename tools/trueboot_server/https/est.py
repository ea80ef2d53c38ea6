# SPDX-License-Identifier: MIT
"""Enrolment over Secure Transport (RFC 7030, with the clarifications of RFC 8951).

    GET  cacerts          what a device trusts, and what follows a leaf
    GET  csrattrs         which key the profile wants
    POST simpleenroll     the first certificate: HTTP Basic with the device's own secret
    POST simplereenroll   a later one, a new key allowed: by the live certificate of the connection, or, when none
                          lives, by a statement of the last key (`Content-Type: application/jose`)

An arbitrary label (3.2.2) is the product key; without one the first product is meant, or the certificate's own.
Who may have a certificate is decided in `fleet.certify`; this file reads requests and writes answers.  Not here:
full CMC and keys made by the server (3.2.2: optional; the server never holds a device's private key).
"""

from __future__ import annotations

import base64
from typing import Any

from aiohttp import web

from .. import csr
from ..ca import certs_only
from ..errors import ApiError
from ..fleet import replacement
from ..fleet.certify import certify
from ..names import Identity
from ..proofs import FailedProofs
from .parts import PARTS, Parts
from .proving import by_certificate, by_last_key, by_secret
from .request import address, read_body

_PATH = "/.well-known/est"
_PKCS10, _JOSE = "application/pkcs10", "application/jose"

# CsrAttrs (RFC 7030, 4.5.2): SEQUENCE { id-ecPublicKey { prime256v1 }, ecdsa-with-SHA256 }
CSR_ATTRIBUTES = bytes.fromhex("3021301506072a8648ce3d0201310a06082a8648ce3d03010706082a8648ce3d040302")


def routes() -> list[web.RouteDef]:
    operations = [
        (web.get, "cacerts", cacerts),
        (web.get, "csrattrs", csrattrs),
        (web.post, "simpleenroll", simpleenroll),
        (web.post, "simplereenroll", simplereenroll),
    ]
    roads = [
        method(f"{_PATH}{label}/{name}", handler) for method, name, handler in operations for label in ("", "/{label}")
    ]
    # The second is what devices ask that speak esthesis.
    return [*roads, web.post("/api/device/v1/nonce", nonce), web.get("/api/v1/nonce", nonce, allow_head=False)]


async def cacerts(request: web.Request) -> web.Response:
    return pkcs7(certs_only(request.app[PARTS].authority.cacerts()))


async def csrattrs(request: web.Request) -> web.Response:
    return _encoded(CSR_ATTRIBUTES, "application/csrattrs")


async def simpleenroll(request: web.Request) -> web.Response:
    parts = request.app[PARTS]
    proof = by_secret(request)
    try:
        asked = csr.read(csr.from_base64(await _body(request, _PKCS10)))
        with parts.store.transaction() as t:
            proof.noted(t)
            key = csr.key_for(t, proof.identity, asked)
            row = certify(t, parts.authority, parts.limits, proof.identity, key, parts.base_url)
    except ApiError as error:
        with parts.store.transaction() as t:  # nothing of the other is left; the secret was used all the same
            proof.noted(t)
            if error.code == "another_key":
                replacement.note_reflash(t, proof.identity, "another key")
        raise
    return issued(parts, row)


async def simplereenroll(request: web.Request) -> web.Response:
    parts = request.app[PARTS]
    if request.content_type == _JOSE:
        return await _after_expiry(request, parts)
    with parts.store.transaction() as t:
        proof = by_certificate(t, request, parts)
    if proof is None:
        raise ApiError(
            401,
            "certificate_required",
            "the connection proved no live device certificate",
            "Connect with it; when it has expired, sign for the new key with the old one (application/jose).",
        )
    identity = _labelled(request, proof)
    asked = csr.read(csr.from_base64(await _body(request, _PKCS10)))
    with parts.store.transaction() as t:
        proof = by_certificate(t, request, parts)  # anew: the body took its time
        if proof is None:
            raise ApiError(401, "certificate_required", "the certificate was revoked meanwhile")
        key = csr.key_for(t, identity, asked)
        row = certify(t, parts.authority, parts.limits, identity, key, parts.base_url, later_key=True, proven_by=proof)
    return issued(parts, row)


async def _after_expiry(request: web.Request, parts: Parts) -> web.Response:
    proof, asked = by_last_key(request, await read_body(request, parts.limits.csr_body_bytes))
    identity = _labelled(request, proof)
    wanted = csr.read(csr.from_base64(asked.csr))
    with parts.store.transaction() as t:
        key = csr.key_for(t, identity, wanted)
        row = certify(t, parts.authority, parts.limits, identity, key, parts.base_url, later_key=True, proven_by=proof)
    return issued(parts, row)


async def nonce(request: web.Request) -> web.Response:
    """Nothing is proven here, and nothing is remembered; so only haste is refused."""
    parts = request.app[PARTS]
    refuse_haste(request, parts.nonce_asks)
    body = {"nonce": parts.nonces.make(), "expires_s": int(parts.nonces.life_s)}
    return web.json_response(body, headers={"Cache-Control": "no-store"})


def refuse_haste(request: web.Request, asks: FailedProofs) -> None:
    if wait := asks.wait_s(address(request)):
        seconds = str(int(wait) + 1)
        raise ApiError(
            429,
            "too_many_requests",
            "too many requests from this address",
            f"Wait {seconds} s.",
            {"Retry-After": seconds},
        )
    asks.failed(address(request))


def issued(parts: Parts, row: Any) -> web.Response:
    """The certificate, and what a peer needs between it and the anchor (RFC 7030, 4.2.3)."""
    return pkcs7(certs_only([bytes(row.der), *parts.authority.chain_der()]))


def pkcs7(der: bytes) -> web.Response:
    return _encoded(der, "application/pkcs7-mime; smime-type=certs-only")


def _encoded(der: bytes, kind: str) -> web.Response:
    # RFC 8951, 3.1: base64 whatever the header of the encoding says; old clients want to see it.
    headers = {"Content-Type": kind, "Content-Transfer-Encoding": "base64", "Cache-Control": "no-store"}
    return web.Response(body=base64.encodebytes(der), headers=headers)


async def _body(request: web.Request, kind: str) -> bytes:
    if request.content_type != kind:
        raise ApiError(415, "media_type", f"the body must be {kind}", f"Send Content-Type: {kind}.")
    return await read_body(request, request.app[PARTS].limits.csr_body_bytes)


def _labelled(request: web.Request, proof: Any) -> Identity:
    """Whose certificate it is; a label must not name another product."""
    identity = Identity(proof.product_key, proof.device_key)
    if request.match_info.get("label", identity.product_key) != identity.product_key:
        raise ApiError(
            403, "est_label", "the label is not the product of this device", "Use its product key, or no label."
        )
    return identity
