# SPDX-License-Identifier: MIT
"""How a device proves itself over HTTPS, before it has a certificate, with one, and after it.

    by_secret       HTTP Basic with its own device key and secret (RFC 7617): the first certificate
    by_certificate  a live certificate on this TLS connection: a later key
    by_last_key     a statement signed by the last key over a nonce of ours: a later key, when no certificate lives

Failed proofs count against the source address, never against the device that they name: a stranger could lock it
out otherwise.  A certificate on the connection is no guess and is not counted.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Any, NamedTuple

from aiohttp import web

from .. import jws, renewal
from ..ca import BadRequest, public_point
from ..errors import ApiError
from ..fleet import registry
from ..names import Identity, is_identity
from ..store import Transaction
from ..tls import proven_certificate
from .parts import PARTS, Parts
from .request import address, refuse_guessing


class BySecret(NamedTuple):
    identity: Identity
    secret: str

    def device(self, t: Transaction) -> Any | None:
        """The row of the device, if this is its secret and it is not revoked."""
        device = registry.device(t, self.identity) if is_identity(self.identity) else None
        known = device.device_secret if device is not None else ""
        proven = hmac.compare_digest(known.encode(), self.secret.encode("utf-8", "surrogateescape"))
        return device if proven and device is not None and device.state != "revoked" else None

    def noted(self, t: Transaction) -> Any:
        """As `device`, and it is written down that the secret was used; ApiError when it proves nothing any more."""
        device = self.device(t)
        if device is None:
            raise unproven()
        registry.note_proof(t, device)
        return device


def by_secret(request: web.Request) -> BySecret:
    """Looked at once before the body is read, and again (`noted`) in the transaction that acts on it."""
    parts = request.app[PARTS]
    refuse_guessing(request, parts)
    user, secret = _basic(request)
    named, _, device_key = user.rpartition("/")  # the user may name the product, where no label does
    label = request.match_info.get("label") or named
    proof = BySecret(Identity(label or parts.credentials.product_key, device_key), secret)
    with parts.store.transaction() as t:
        device = proof.device(t)
    if device is None or named not in ("", label):
        parts.proofs.failed(address(request))
        raise unproven()
    return proof


def by_certificate(t: Transaction, request: web.Request, parts: Parts) -> Any | None:
    """The row of the live certificate that this connection proved."""
    row = registry.presented(t, *proven_certificate(request.transport))
    if row is None or not registry.is_live(row, t.now, parts.limits):
        return None
    device = registry.known_device(t, Identity(row.product_key, row.device_key))
    return row if device.state != "revoked" else None


def by_last_key(request: web.Request, body: bytes) -> tuple[Any, renewal.Asked]:
    """(the row of the certificate whose key signed, what it asks for).  The nonce is taken last: it costs a valid key."""
    parts = request.app[PARTS]
    refuse_guessing(request, parts)
    try:
        statement = renewal.parse(body, parts.limits.csr_body_bytes)
        with parts.store.transaction() as t:
            row = registry.last_key(t, statement.kid, parts.limits)
        if row is None:
            raise jws.BadJws("the key is not the last one of any device that may renew")
        asked = renewal.claims(statement.verified(public_point(bytes(row.der))))
        if asked.identity != Identity(row.product_key, row.device_key):
            raise jws.BadJws("the key is another device's")
    except (jws.BadJws, BadRequest) as error:
        parts.proofs.failed(address(request))
        raise ApiError(
            401,
            "renewal_unproven",
            str(error),
            "Sign with the key of the certificate that was used last; else: replace.",
        ) from error
    if not parts.nonces.take(asked.nonce):
        raise ApiError(
            401, "nonce_stale", "the nonce is not ours, was used, or is too old", "Ask for a new one and sign again."
        )
    return row, asked


def unproven(message: str = "device key or device secret is wrong") -> ApiError:
    return ApiError(401, "device_unproven", message, "", {"WWW-Authenticate": 'Basic realm="trueboot"'})


def _basic(request: web.Request) -> tuple[str, str]:
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    try:
        user, colon, secret = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        colon = ""
    if scheme.lower() != "basic" or not colon:
        raise unproven("device key and device secret are missing")
    return user, secret
