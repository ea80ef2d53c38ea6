# SPDX-License-Identifier: MIT
"""What a device hands over, and every check that can be made before its TPM opens the credential.

The checks go from the TPM's maker to the request: endorsement key, attestation key, device key, the attestation key's
word about the device key, and the request for that key.  Each fails with a code of its own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..names import Identity
from . import endorsement, structures
from .endorsement import MAX_CERTIFICATE_BYTES, MAX_CHAIN, Endorsement
from .errors import BadAttestation, unreadable
from .structures import DECRYPT, FIXED_PARENT, FIXED_TPM, NULL, RESTRICTED, SENSITIVE_DATA_ORIGIN, SIGN, Public

MEMBERS = ("csr", "nonce", "ek_cert", "ek_chain", "ek_public", "ak_public", "key_public", "certify", "signature")
_MAX_BYTES = {"csr": 8192, "ek_cert": MAX_CERTIFICATE_BYTES}
_STRUCTURE_BYTES = 2048


@dataclass(frozen=True)
class Statement:
    csr: bytes
    nonce: str
    ek_cert: bytes
    ek_chain: list[bytes]
    ek_public: bytes
    ak_public: bytes
    key_public: bytes
    certify: bytes
    signature: bytes


@dataclass(frozen=True)
class Checked:
    """All holds, provided that attestation key and endorsement key are in one TPM."""

    endorsement: Endorsement
    ek: Public
    ak: Public


def read(body: dict[str, Any]) -> Statement:
    """The object of a request's body."""
    if set(body) != set(MEMBERS):
        raise unreadable(f"the members must be {', '.join(MEMBERS)}")
    chain = body["ek_chain"]
    if not isinstance(chain, list) or len(chain) > MAX_CHAIN:
        raise unreadable(f"ek_chain must be a list of at most {MAX_CHAIN}")
    if not isinstance(body["nonce"], str):
        raise unreadable("nonce must be a text")
    data = {
        name: _bytes(name, body[name], _MAX_BYTES.get(name, _STRUCTURE_BYTES))
        for name in MEMBERS
        if name not in ("nonce", "ek_chain")
    }
    ders = [_bytes("ek_chain", der, MAX_CERTIFICATE_BYTES) for der in chain]
    return Statement(nonce=body["nonce"], ek_chain=ders, **data)


def binding(nonce: str, identity: Identity, csr: bytes) -> bytes:
    """What the attestation key signs: the nonce for this device and this request, and for nothing else."""
    parts = (nonce.encode(), identity.common_name.encode(), hashlib.sha256(csr).digest())
    return hashlib.sha256(b"\0".join(parts)).digest()


def check(
    statement: Statement, identity: Identity, wanted: ec.EllipticCurvePublicKey, anchors: list[x509.Certificate]
) -> Checked:
    """`wanted`: the key of the request, which its holder signed."""
    ek = structures.public(statement.ek_public)
    vouched = endorsement.check(statement.ek_cert, statement.ek_chain, anchors, ek)
    ak, key = structures.public(statement.ak_public), structures.public(statement.key_public)
    if not ak.has(FIXED_TPM, FIXED_PARENT, SENSITIVE_DATA_ORIGIN, RESTRICTED, SIGN) or ak.has(DECRYPT):
        raise BadAttestation("ak_refused", "the attestation key is not a restricted key for signing")
    if ak.scheme == NULL:
        raise BadAttestation("ak_refused", "the attestation key has no scheme of its own")
    if not key.has(FIXED_TPM, FIXED_PARENT, SENSITIVE_DATA_ORIGIN, SIGN) or key.has(RESTRICTED) or key.has(DECRYPT):
        raise BadAttestation(
            "key_refused", "the device's key was not made in the TPM, can leave it, or is no signing key"
        )
    attest = structures.of_sized(statement.certify)
    structures.check_signature(statement.signature, ak, attest)
    certified = structures.certified(attest)
    if not hmac.compare_digest(certified.extra_data, binding(statement.nonce, identity, statement.csr)):
        raise BadAttestation("certify_refused", "the statement is for another nonce, device or request")
    if not hmac.compare_digest(certified.name, key.name):
        raise BadAttestation("certify_refused", "the statement is about another key")
    if _spki(key.key) != _spki(wanted):
        raise BadAttestation("key_refused", "the request is for another key than the one in the TPM")
    return Checked(vouched, ek, ak)


def _spki(key: Any) -> bytes:
    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _bytes(name: str, value: object, most: int) -> bytes:
    if not isinstance(value, str) or len(value) > most * 4 // 3 + 4:
        raise unreadable(f"{name} must be base64 of at most {most} bytes")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise unreadable(f"{name} must be base64") from error
