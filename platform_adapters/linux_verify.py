# SPDX-License-Identifier: MIT
"""The port `verify` by the package `cryptography`, with the verdicts that boards come to by themselves.

Encodings are read by our own strict code, as on boards; the arithmetic is OpenSSL's.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from agent.crypto.verify import P256, P256_TYPES
from agent.errors import RefusedError
from agent.wire import ecdsa
from platform_adapters.ports import Message

_SHA256 = Prehashed(hashes.SHA256())


def verify(key_type: str, scheme: str, public: bytes, message: Message, signature: bytes) -> bool:
    try:
        if key_type in P256_TYPES and scheme == P256:
            _p256(public, message, signature)
        else:
            return False
    except (RefusedError, ValueError, InvalidSignature):
        return False
    return True


def _p256(point: bytes, message: Message, signature: bytes) -> None:
    ecdsa.signature_from_der(signature)
    if len(point) != 65 or point[0] != 4:
        raise ValueError("not an uncompressed point")
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    key.verify(signature, message.sha256(), ec.ECDSA(_SHA256))
