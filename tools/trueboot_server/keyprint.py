# SPDX-License-Identifier: MIT
"""The one spelling of a public key in the database: its thumbprint by RFC 7638."""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .jws import encode, thumbprint


def keyprint(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | Any) -> str:
    """Of a P-256 or an RSA key."""
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        e, n = (encode(number.to_bytes((number.bit_length() + 7) // 8, "big")) for number in (numbers.e, numbers.n))
        return encode(hashlib.sha256(f'{{"e":"{e}","kty":"RSA","n":"{n}"}}'.encode()).digest())
    return thumbprint(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
