# SPDX-License-Identifier: MIT
"""MakeCredential: a secret that only the TPM with a certain endorsement key opens, and only while it holds a certain key.

Source: TPM 2.0 Library, part 1: 24 (credential protection), 11.4.10 (KDFa, KDFe), annexes B.10.4 and C.6.4 (how the
seed travels under an RSA and an ECC key).  The TPM's side of it is TPM2_ActivateCredential.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import NamedTuple

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from . import structures
from .errors import BadAttestation
from .structures import HASHES, Public, sized

_LABEL = b"IDENTITY"


class Credential(NamedTuple):
    blob: bytes  # TPM2B_ID_OBJECT
    secret: bytes  # TPM2B_ENCRYPTED_SECRET


def make(endorsement: Public, name: bytes, secret: bytes) -> Credential:
    """`name`: of the key that must be in the same TPM; `secret`: at most as long as the endorsement key's hash."""
    symmetric = endorsement.symmetric
    if symmetric is None or symmetric.algorithm != structures.AES or symmetric.mode != structures.CFB:
        raise BadAttestation("ek_refused", "the endorsement key does not protect by AES-CFB")
    digest = HASHES[endorsement.name_algorithm]
    seed, travelling = _seed(endorsement)
    storage = _kdfa(digest.name, seed, b"STORAGE", name, symmetric.bits)
    try:
        cipher = Cipher(algorithms.AES(storage), CFB(bytes(16))).encryptor()
    except ValueError as error:
        raise BadAttestation("ek_refused", "the endorsement key protects by AES of an unknown size") from error
    identity = cipher.update(sized(secret)) + cipher.finalize()
    integrity = hmac.digest(
        _kdfa(digest.name, seed, b"INTEGRITY", b"", digest.digest_size * 8), identity + name, digest.name
    )
    return Credential(sized(sized(integrity) + identity), sized(travelling))


def _seed(endorsement: Public) -> tuple[bytes, bytes]:
    """(the seed, how it travels to the TPM)"""
    digest = HASHES[endorsement.name_algorithm]
    if isinstance(endorsement.key, rsa.RSAPublicKey):
        seed = secrets.token_bytes(digest.digest_size)
        oaep = padding.OAEP(padding.MGF1(digest()), digest(), _LABEL + b"\0")
        return seed, endorsement.key.encrypt(seed, oaep)
    ephemeral = ec.generate_private_key(endorsement.key.curve)
    size = (endorsement.key.key_size + 7) // 8
    sent, known = ephemeral.public_key().public_numbers(), endorsement.key.public_numbers()
    x, y = sent.x.to_bytes(size, "big"), sent.y.to_bytes(size, "big")
    shared = ephemeral.exchange(ec.ECDH(), endorsement.key)
    return _kdfe(digest.name, shared, _LABEL, x, known.x.to_bytes(size, "big"), digest.digest_size * 8), sized(
        x
    ) + sized(y)


def _kdfa(algorithm: str, key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """Counter mode of SP 800-108 with HMAC; the second context is empty wherever it is needed here."""
    made = b""
    for counter in range(1, bits // 8 // hashlib.new(algorithm).digest_size + 2):
        data = counter.to_bytes(4, "big") + label + b"\0" + context + bits.to_bytes(4, "big")
        made += hmac.digest(key, data, algorithm)
    return made[: bits // 8]


def _kdfe(algorithm: str, shared: bytes, label: bytes, sender: bytes, receiver: bytes, bits: int) -> bytes:
    """The one-step derivation of SP 800-56A; one round, since it makes as many bits as the hash has."""
    data = (1).to_bytes(4, "big") + shared + label + b"\0" + sender + receiver
    return hashlib.new(algorithm, data).digest()[: bits // 8]
