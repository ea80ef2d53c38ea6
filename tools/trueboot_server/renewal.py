# SPDX-License-Identifier: MIT
"""Renewal after expiry: a new key, signed for by the last one.

    {"alg": "ES256", "typ": "trueboot-renewal+jwt", "kid": thumbprint of the last key}
    {"aud": productKey, "sub": "productKey/deviceKey", "nonce": ours, "csr": base64 of DER}

Decides the form; whose key it is and whether that may still speak is for `fleet.registry`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from . import jws
from .names import Identity, is_identity

TYPE = "trueboot-renewal+jwt"


class Asked(NamedTuple):
    identity: Identity
    nonce: str
    csr: str


def parse(body: bytes, max_bytes: int) -> jws.Unverified:
    return jws.parse(body.decode("ascii", "replace").strip(), TYPE, max_bytes)


def claims(verified: dict[str, Any]) -> Asked:
    """BadJws for claims of another shape."""
    if set(verified) != {"aud", "sub", "nonce", "csr"} or not all(isinstance(v, str) for v in verified.values()):
        raise jws.BadJws("the claims must be aud, sub, nonce and csr, all of them texts")
    product_key, _, device_key = verified["sub"].partition("/")
    identity = Identity(product_key, device_key)
    if not is_identity(identity) or verified["aud"] != product_key:
        raise jws.BadJws("aud and sub must name the product and the device")
    return Asked(identity, verified["nonce"], verified["csr"])
