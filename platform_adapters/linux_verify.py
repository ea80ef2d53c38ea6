# SPDX-License-Identifier: MIT
"""The port `verify` by the package `cryptography`, with the verdicts that boards come to by themselves.

Encodings are read by our own strict code, as on boards; the arithmetic is OpenSSL's.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from agent.crypto import rsa as ours
from agent.crypto.verify import P256, P256_TYPES
from agent.errors import RefusedError
from agent.wire import signature as signatures
from platform_adapters.ports import Message

_SHA256 = Prehashed(hashes.SHA256())
_PSS = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)


def verify(key_type: str, scheme: str, public: bytes, message: Message, signature: bytes) -> bool:
    try:
        if key_type in P256_TYPES and scheme == P256:
            _p256(public, message, signature)
        elif key_type == "ed25519" and scheme == "ed25519":
            _ed25519(public, message, signature)
        elif key_type == "rsa" and scheme == "rsassa-pss-sha256":
            _rsa(public, message, signature)
        else:
            return False
    except (RefusedError, ValueError, InvalidSignature):
        return False
    return True


def _p256(point: bytes, message: Message, signature: bytes) -> None:
    signatures.from_der(signature)
    if len(point) != 65 or point[0] != 4:
        raise ValueError("not an uncompressed point")
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    key.verify(signature, message.sha256(), ec.ECDSA(_SHA256))


def _ed25519(public: bytes, message: Message, signature: bytes) -> None:
    whole = bytearray()
    message.emit(whole.extend)
    Ed25519PublicKey.from_public_bytes(public).verify(signature, bytes(whole))


def _rsa(public: bytes, message: Message, signature: bytes) -> None:
    key = ours.read_key(public)
    if key is None:
        raise ValueError("not an RSA key that we take")
    rsa.RSAPublicNumbers(key[1], key[0]).public_key().verify(signature, message.sha256(), _PSS, _SHA256)
