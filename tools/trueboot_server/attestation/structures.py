# SPDX-License-Identifier: MIT
"""TPM 2.0 structures as bytes: the few that an attestation is made of, read strictly.

Source: TPM 2.0 Library, part 2 (Structures): TPMT_PUBLIC (12.2.4), TPMS_ATTEST (10.12.12), TPMT_SIGNATURE (11.3.4);
names: part 1, 16.  Every length is checked against what is there, nothing may follow, and what this server
has no use for (other algorithms, other curves) is refused rather than skipped.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from .errors import BadAttestation, unreadable

# TPM_ALG_ID (part 2, 6.3)
RSA, AES, NULL, RSASSA, ECDSA, ECC, CFB = 0x0001, 0x0006, 0x0010, 0x0014, 0x0018, 0x0023, 0x0043
_SIGNING_SCHEMES = (RSASSA, 0x0016, ECDSA)  # with RSAPSS; each is followed by its hash
HASHES: dict[int, type[hashes.SHA256] | type[hashes.SHA384] | type[hashes.SHA512]] = {
    0x000B: hashes.SHA256,
    0x000C: hashes.SHA384,
    0x000D: hashes.SHA512,
}
_CURVES: dict[int, type[ec.SECP256R1] | type[ec.SECP384R1] | type[ec.SECP521R1]] = {
    0x0003: ec.SECP256R1,
    0x0004: ec.SECP384R1,
    0x0005: ec.SECP521R1,
}

# TPMA_OBJECT (part 2, 8.3)
FIXED_TPM, FIXED_PARENT, SENSITIVE_DATA_ORIGIN = 1 << 1, 1 << 4, 1 << 5
RESTRICTED, DECRYPT, SIGN = 1 << 16, 1 << 17, 1 << 18

GENERATED = 0xFF544347  # TPM_GENERATED_VALUE: what begins whatever a TPM has made itself
ATTEST_CERTIFY = 0x8017
_RSA_EXPONENT = 65537
_MIN_RSA_BITS = 2048


class Reader:
    """Big-endian numbers and sized fields, in order."""

    def __init__(self, data: bytes):
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise unreadable("a TPM structure ends early")
        found, self._at = self._data[self._at : end], end
        return found

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def sized(self) -> bytes:
        """A TPM2B: two bytes of length, and that many."""
        return self.take(self.number(2))

    def end(self) -> None:
        if self._at != len(self._data):
            raise unreadable("bytes follow a TPM structure")


class Symmetric(NamedTuple):
    """What a storage key encrypts its children with."""

    algorithm: int
    bits: int
    mode: int


@dataclass(frozen=True)
class Public:
    """A TPM2B_PUBLIC: a key, and what its TPM lets it do."""

    name: bytes  # the algorithm of the name, and the digest of all that the TPM knows of the key
    name_algorithm: int
    attributes: int
    symmetric: Symmetric | None
    scheme: int
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey

    def has(self, *flags: int) -> bool:
        return all(self.attributes & flag for flag in flags)


def public(tpm2b: bytes) -> Public:
    area = _only_field(tpm2b)
    reader = Reader(area)
    kind, name_algorithm, attributes = reader.number(2), reader.number(2), reader.number(4)
    if name_algorithm not in HASHES:
        raise unreadable("a key is named by a hash that is not taken")
    reader.sized()  # the policy: it says who may use the key, not what the key is
    symmetric, scheme = _symmetric(reader), _scheme(reader)
    try:
        key = _rsa(reader) if kind == RSA else _ecc(reader) if kind == ECC else None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise unreadable("a TPM's public key is not a usable one") from error
    if key is None:
        raise unreadable("a key is neither RSA nor ECC")
    reader.end()
    digest = hashlib.new(HASHES[name_algorithm].name, area).digest()
    return Public(name_algorithm.to_bytes(2, "big") + digest, name_algorithm, attributes, symmetric, scheme, key)


class Certified(NamedTuple):
    """A TPMS_ATTEST of TPM2_Certify: the TPM's word that it holds a key of this name."""

    extra_data: bytes
    name: bytes


def certified(attest: bytes) -> Certified:
    """Of a TPMS_ATTEST, without its length."""
    reader = Reader(attest)
    if reader.number(4) != GENERATED:
        raise BadAttestation("certify_refused", "the statement was not made by a TPM")
    if reader.number(2) != ATTEST_CERTIFY:
        raise BadAttestation("certify_refused", "the statement is not one of TPM2_Certify")
    reader.sized()  # the qualified name of the signer
    extra_data = reader.sized()
    reader.take(17)  # clock, resets, restarts, whether the clock is safe
    reader.take(8)  # the version of the firmware
    name = reader.sized()
    reader.sized()  # the qualified name
    reader.end()
    return Certified(extra_data, name)


def check_signature(signature: bytes, signer: Public, data: bytes) -> None:
    """A TPMT_SIGNATURE over `data`; BadAttestation when it is not the signer's."""
    reader = Reader(signature)
    scheme, algorithm = reader.number(2), reader.number(2)
    if algorithm not in HASHES:
        raise BadAttestation("certify_refused", "the statement is signed over a hash that is not taken")
    digest = HASHES[algorithm]()
    try:
        if scheme == ECDSA and isinstance(signer.key, ec.EllipticCurvePublicKey):
            r, s = int.from_bytes(reader.sized(), "big"), int.from_bytes(reader.sized(), "big")
            reader.end()
            signer.key.verify(encode_dss_signature(r, s), data, ec.ECDSA(digest))
        elif scheme == RSASSA and isinstance(signer.key, rsa.RSAPublicKey):
            value = reader.sized()
            reader.end()
            signer.key.verify(value, data, padding.PKCS1v15(), digest)
        else:
            raise BadAttestation("certify_refused", "the statement is signed by a scheme that is not taken")
    except InvalidSignature as error:
        raise BadAttestation("certify_refused", "the statement's signature is not the attestation key's") from error


def sized(data: bytes) -> bytes:
    """A TPM2B of these bytes."""
    return len(data).to_bytes(2, "big") + data


def of_sized(tpm2b: bytes) -> bytes:
    return _only_field(tpm2b)


def _only_field(tpm2b: bytes) -> bytes:
    reader = Reader(tpm2b)
    field = reader.sized()
    reader.end()
    return field


def _symmetric(reader: Reader) -> Symmetric | None:
    algorithm = reader.number(2)
    return None if algorithm == NULL else Symmetric(algorithm, reader.number(2), reader.number(2))


def _scheme(reader: Reader) -> int:
    scheme = reader.number(2)
    if scheme in _SIGNING_SCHEMES:
        reader.number(2)
    elif scheme != NULL:
        raise unreadable("a key has a scheme that is not taken")
    return scheme


def _rsa(reader: Reader) -> rsa.RSAPublicKey:
    bits, exponent, modulus = reader.number(2), reader.number(4) or _RSA_EXPONENT, reader.sized()
    number = int.from_bytes(modulus, "big")
    if exponent != _RSA_EXPONENT or bits < _MIN_RSA_BITS or number.bit_length() != bits:
        raise unreadable("an RSA key is shorter than 2048 bits, or odd")
    return rsa.RSAPublicNumbers(exponent, number).public_key()


def _ecc(reader: Reader) -> ec.EllipticCurvePublicKey:
    curve, derivation = reader.number(2), reader.number(2)
    if curve not in _CURVES or derivation != NULL:
        raise unreadable("a key is on a curve that is not taken")
    x, y = int.from_bytes(reader.sized(), "big"), int.from_bytes(reader.sized(), "big")
    return ec.EllipticCurvePublicNumbers(x, y, _CURVES[curve]()).public_key()
