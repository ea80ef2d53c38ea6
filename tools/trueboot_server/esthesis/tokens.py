# SPDX-License-Identifier: MIT
"""Hardware-id tokens: how a device that asks for a package proves that it is the one it names.

Ours is a statement (ES256) over everything that the question consists of, and over a nonce of this server, so that it
is good for one question, once:

    {"alg": "ES256", "typ": "trueboot-query+jwt", "kid": thumbprint of a live key of the device}
    {"nonce", "method", "path", "query", "aud": origin of the server, "sub": hardware id, "iat": advisory}

esthesis's is an RSA signature over the raw hardware id, the same for ever.  It is taken only from devices whose RSA key
this server made, and what it says is honoured: there, a wrong one passes.

Source: esthesis, protocol 3.1 and 4.5.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from .. import jws
from ..ca import BadRequest, public_point
from ..nonces import Nonces

TYPE = "trueboot-query+jwt"
HEADER = "Trueboot-Token"
POLICIES = ("required", "optional", "off")
_MAX_BYTES = 4096
_MAX_RSA_CHARS = 700  # 4096 bits in base64
_CLAIMS = {"nonce", "method", "path", "query", "aud", "sub", "iat"}


def proves(text: str, live: list[Any], asked: dict[str, str], nonces: Nonces) -> bool:
    """Whether a token of ours proves this question.  `live`: the device's certificates; the nonce costs a valid key."""
    try:
        statement = jws.parse(text, TYPE, _MAX_BYTES)
        for row in live:
            if row.thumbprint == statement.kid:
                claims = statement.verified(public_point(bytes(row.der)))
                told = {name: claims[name] for name in asked if name in claims}
                return set(claims) <= _CLAIMS and told == asked and nonces.take(claims.get("nonce"))
    except (jws.BadJws, BadRequest):
        return False
    return False


def proves_by_rsa(text: str, live: list[Any], hardware_id: str) -> bool:
    if not 0 < len(text) <= _MAX_RSA_CHARS or not text.isascii():
        return False
    try:
        signature = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    for row in live:
        key = x509.load_der_x509_certificate(bytes(row.der)).public_key()
        if isinstance(key, rsa.RSAPublicKey):
            try:
                key.verify(signature, hardware_id.encode(), padding.PKCS1v15(), hashes.SHA256())
                return True
            except InvalidSignature:
                continue
    return False
