# SPDX-License-Identifier: MIT
"""What a device signs: a compact JWS (RFC 7515) with ES256 (RFC 7518, 3.4), and nothing else.

Decides whether a text is well-formed, whose key it names, and whether that key signed it.  What is claimed in
it is for others: `reports` (boot reports), `renewal` (a new key, signed for by the last one).

Strict on purpose: three base64url parts without padding, in their one canonical spelling; no JSON key twice;
no header parameter that we do not know; `alg` is a constant here, never read as an instruction, and `typ` is
the reader's, so that no statement can be taken for one of another kind.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from . import strict_json

_PART = re.compile(r"[A-Za-z0-9_-]+\Z")


class BadJws(Exception):
    """The text is no statement of the wanted type, or its signature is wrong.  The text says which."""


@dataclass(frozen=True)
class Unverified:
    """A statement that was parsed and not yet believed: enough to look the key up, no more."""

    kid: str
    signing_input: bytes
    signature: bytes
    payload: bytes

    def verified(self, point: bytes) -> dict[str, Any]:
        """The claims, once the key with this uncompressed point has signed them."""
        key = _key(point)
        r, s = int.from_bytes(self.signature[:32], "big"), int.from_bytes(self.signature[32:], "big")
        try:
            key.verify(utils.encode_dss_signature(r, s), self.signing_input, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise BadJws("the signature is wrong") from error
        return _object(self.payload)


@lru_cache(4096)
def _key(point: bytes) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)


def parse(text: object, kind: str, max_bytes: int) -> Unverified:
    """`kind`: the one `typ` that the reader takes."""
    if not isinstance(text, str) or not text.isascii():
        raise BadJws("not a compact JWS")
    if len(text) > max_bytes:
        raise BadJws("too long")
    parts = text.split(".")
    if len(parts) != 3:
        raise BadJws("not a compact JWS")
    header = _object(decode(parts[0]))
    if header.get("alg") != "ES256":
        raise BadJws("alg must be ES256")
    if header.get("typ") != kind:
        raise BadJws("typ must be " + kind)
    if set(header) != {"alg", "typ", "kid"} or not isinstance(header["kid"], str):
        raise BadJws("the header must hold alg, typ and kid")
    signature = decode(parts[2])
    if len(signature) != 64:
        raise BadJws("the signature must have 64 bytes")
    return Unverified(header["kid"], f"{parts[0]}.{parts[1]}".encode(), signature, decode(parts[1]))


def thumbprint(point: bytes) -> str:
    """RFC 7638 over the JWK of an uncompressed P-256 point."""
    x, y = encode(point[1:33]), encode(point[33:65])
    return encode(hashlib.sha256(f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'.encode()).digest())


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(part: str) -> bytes:
    if not _PART.match(part):
        raise BadJws("not base64url without padding")
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error as error:
        raise BadJws("not base64url without padding") from error
    if encode(data) != part:  # loose bits at the end would give one statement many spellings
        raise BadJws("not canonical base64url")
    return data


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = strict_json.loads(data, unique_keys=True)
    except ValueError as error:
        raise BadJws("not JSON, or a key occurs twice") from error
    if not isinstance(value, dict):
        raise BadJws("not a JSON object")
    return value
