# SPDX-License-Identifier: MIT
"""Enrolment over Secure Transport (RFC 7030): cacerts and simpleenroll, with the product key as a label.

A device proves itself with its own secret (HTTP Basic), and the secret certifies one public key: the same key
again gets the same certificate while that has life left, another key is refused.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Any

from aiohttp import web

from ..ca import BadRequest, certs_only, public_key_of_csr
from ..decada import registry
from ..decada.certify import certify
from ..errors import ApiError
from ..names import Identity, is_identity
from ..store import Transaction
from .parts import PARTS
from .request import address, read_body, refuse_guessing

_PATH = "/.well-known/est"
_PKCS7 = "application/pkcs7-mime; smime-type=certs-only"


def routes() -> list[web.RouteDef]:
    return [
        web.get(_PATH + "/cacerts", cacerts),
        web.get(_PATH + "/{label}/cacerts", cacerts),
        web.post(_PATH + "/simpleenroll", simpleenroll),
        web.post(_PATH + "/{label}/simpleenroll", simpleenroll),
    ]


async def cacerts(request: web.Request) -> web.Response:
    return _pkcs7(certs_only(request.app[PARTS].authority.cacerts()))


async def simpleenroll(request: web.Request) -> web.Response:
    parts = request.app[PARTS]
    refuse_guessing(request, parts)
    device_key, secret = _basic(request)
    identity = Identity(request.match_info.get("label") or parts.credentials.product_key, device_key)
    body = await read_body(request, parts.limits.csr_body_bytes)
    with parts.store.transaction() as t:
        device = _prove(t, identity, secret)
        if device is not None:
            registry.note_proof(t, device)
    if device is None:
        parts.proofs.failed(address(request))
        raise _unauthorised("device key or device secret is wrong")
    key = _key(body)
    with parts.store.transaction() as t:
        device = _prove(t, identity, secret)
        if device is None:
            raise _unauthorised("device key or device secret is wrong")
        der = bytes(certify(t, parts.authority, parts.limits, identity, key, parts.base_url).der)
    return _pkcs7(certs_only([der, *parts.authority.chain_der()]))


def _prove(t: Transaction, identity: Identity, secret: str) -> Any | None:
    device = registry.device(t, identity) if is_identity(identity) else None
    known = device.device_secret if device is not None else ""
    proven = hmac.compare_digest(known.encode(), secret.encode("utf-8", "surrogateescape"))
    return device if proven and device is not None and device.state != "revoked" else None


def _key(body: bytes) -> Any:
    try:
        return public_key_of_csr(base64.b64decode(b"".join(body.split()), validate=True))
    except (binascii.Error, ValueError) as error:
        raise ApiError(
            400, "csr_unreadable", "the body is not base64", "Send a PKCS#10 request as RFC 7030, 4.2.1 says."
        ) from error
    except BadRequest as error:
        raise ApiError(
            400, "csr_refused", str(error), "Send a P-256 PKCS#10 request that its own key signed."
        ) from error


def _basic(request: web.Request) -> tuple[str, str]:
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    try:
        user, colon, secret = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        colon = ""
    if scheme.lower() != "basic" or not colon:
        raise _unauthorised("device key and device secret are missing")
    return user, secret


def _unauthorised(message: str) -> ApiError:
    return ApiError(401, "device_unproven", message, "", {"WWW-Authenticate": 'Basic realm="trueboot"'})


def _pkcs7(der: bytes) -> web.Response:
    headers = {"Content-Type": _PKCS7, "Content-Transfer-Encoding": "base64", "Cache-Control": "no-store"}
    return web.Response(body=base64.encodebytes(der), headers=headers)
