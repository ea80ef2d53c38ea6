# SPDX-License-Identifier: MIT
"""Boot reports: a compact JWS (RFC 7515), ES256 (RFC 7518, 3.4), and nothing else.

Decides whether a text is a well-formed report, whose key it names, whether that key signed it, and whether
its claims have the shape that is agreed on.  Whether they prove anything is for `decada.proof`.

Strict on purpose: three base64url parts without padding, in their one canonical spelling; no JSON key twice;
no header parameter that we do not know; `alg` is a constant here, never read as an instruction.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from . import strict_json
from .errors import RefusedReport

TYPE = "trueboot-report+jwt"
OUTCOMES = ("running", "updated", "rolled_back", "failed", "refused", "trial", "below_floor", "fell_back")
UNREADABLE = "unreadable"  # what a device says of an image that it cannot read
_COUNTER_MAX = 2**53 - 1  # what every JSON reader can hold exactly
_TEXT_CHARS = 256
_PART = re.compile(r"[A-Za-z0-9_-]+\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Unverified:
    """A report that was parsed and not yet believed: enough to look the key up, no more."""

    kid: str
    signing_input: bytes
    signature: bytes
    payload: bytes

    def verify(self, point: bytes) -> dict[str, Any]:
        """The claims, once the key with this uncompressed point has signed them."""
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        r, s = int.from_bytes(self.signature[:32], "big"), int.from_bytes(self.signature[32:], "big")
        try:
            key.verify(utils.encode_dss_signature(r, s), self.signing_input, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise RefusedReport("the signature is wrong") from error
        return _claims(_object(self.payload))


def parse(text: object, max_bytes: int) -> Unverified:
    if not isinstance(text, str) or not text.isascii():
        raise RefusedReport("not a compact JWS")
    if len(text) > max_bytes:
        raise RefusedReport("too long")
    parts = text.split(".")
    if len(parts) != 3:
        raise RefusedReport("not a compact JWS")
    header = _object(_decode(parts[0]))
    if header.get("alg") != "ES256":
        raise RefusedReport("alg must be ES256")
    if header.get("typ") != TYPE:
        raise RefusedReport("typ must be " + TYPE)
    if set(header) != {"alg", "typ", "kid"} or not isinstance(header["kid"], str):
        raise RefusedReport("the header must hold alg, typ and kid")
    signature = _decode(parts[2])
    if len(signature) != 64:
        raise RefusedReport("the signature must have 64 bytes")
    return Unverified(header["kid"], f"{parts[0]}.{parts[1]}".encode(), signature, _decode(parts[1]))


def thumbprint(point: bytes) -> str:
    """RFC 7638 over the JWK of an uncompressed P-256 point."""
    x, y = encode(point[1:33]), encode(point[33:65])
    return encode(hashlib.sha256(f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'.encode()).digest())


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(part: str) -> bytes:
    if not _PART.match(part):
        raise RefusedReport("not base64url without padding")
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error as error:
        raise RefusedReport("not base64url without padding") from error
    if encode(data) != part:  # loose bits at the end would give one report many spellings
        raise RefusedReport("not canonical base64url")
    return data


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = strict_json.loads(data, unique_keys=True)
    except ValueError as error:
        raise RefusedReport("not JSON, or a key occurs twice") from error
    if not isinstance(value, dict):
        raise RefusedReport("not a JSON object")
    return value


def _claims(claims: dict[str, Any]) -> dict[str, Any]:
    for name in ("aud", "sub", "version", "slot", "measured"):
        if not _is_text(claims.get(name)) or not claims[name]:
            raise RefusedReport(f"{name} must be a text")
    for name in ("job", "nonce", "target_version"):
        if claims.get(name) is not None and not _is_text(claims[name]):
            raise RefusedReport(f"{name} must be a text or null")
    for name in ("boot", "seq", "floor"):
        value = claims.get(name)
        if type(value) is not int or not 0 <= value <= _COUNTER_MAX:
            raise RefusedReport(f"{name} must be a whole number")
    if claims.get("outcome") not in OUTCOMES:
        raise RefusedReport("outcome is unknown")
    image = claims.get("image")
    if not isinstance(image, str) or not (_SHA256.match(image) or image == UNREADABLE):
        raise RefusedReport("image must be a SHA-256 in lower-case hex")
    if not _is_text(claims.get("reason", "")):
        raise RefusedReport("reason must be a text")
    return claims


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _TEXT_CHARS and value.isprintable()
