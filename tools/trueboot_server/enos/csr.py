# SPDX-License-Identifier: MIT
"""Certificate requests as EnOS's clients send them: PKCS#10 in PEM, for a P-256 or an RSA key.

Taken from one: the public key, and that only when the request proves possession of the private one.  RSA (2048 to 4096
bits) is for other people's clients, most of which make nothing else; our devices' own roads take P-256 alone.  The name
in it is not taken, but one that is another device's is refused.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from ..ca import MAX_CSR_DER_BYTES, BadRequest, public_key_of_csr
from .answers import BAD_ARGUMENT, EnosError

# OpenSSL writes the first, older tools the second.
_PEM = re.compile(
    r"\s*-----BEGIN (NEW )?CERTIFICATE REQUEST-----\s([A-Za-z0-9+/=\s]+)-----END (NEW )?CERTIFICATE REQUEST-----\s*\Z"
)
RSA_BITS = range(2048, 4097)
RSA_EXPONENT = 65537

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class Request(NamedTuple):
    key: PublicKey
    common_name: str


def read(pem: object, max_chars: int) -> Request:
    """EnosError for what is no such request, says why."""
    if not isinstance(pem, str) or not pem.strip():
        raise EnosError(BAD_ARGUMENT, "invalid argument: csr is missing")
    found = _PEM.match(pem) if len(pem) <= max_chars else None
    if found is None or found[1] != found[3]:
        raise EnosError(BAD_ARGUMENT, "invalid argument: csr is not one PEM block CERTIFICATE REQUEST")
    try:
        der = base64.b64decode("".join(found[2].split()), validate=True)
        return _read(der)
    except binascii.Error:
        raise EnosError(BAD_ARGUMENT, "invalid argument: csr is not base64") from None
    except BadRequest as error:
        raise EnosError(BAD_ARGUMENT, f"invalid argument: csr: {error}") from error


def _read(der: bytes) -> Request:
    if len(der) > MAX_CSR_DER_BYTES:
        raise BadRequest("the request is too long")
    try:
        csr = x509.load_der_x509_csr(der)
        key = csr.public_key()
        names = [str(name.value) for name in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadRequest("not a PKCS#10 request") from error
    name = names[0] if names else ""
    if not isinstance(key, rsa.RSAPublicKey):
        return Request(public_key_of_csr(der), name)
    if key.key_size not in RSA_BITS or key.public_numbers().e != RSA_EXPONENT:
        raise BadRequest("an RSA key must have 2048 to 4096 bits and the exponent 65537")
    try:
        good = isinstance(csr.signature_hash_algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512)
        good = good and csr.is_signature_valid
    except (ValueError, UnsupportedAlgorithm):
        good = False
    if not good:
        raise BadRequest("the request's signature is wrong, or not by SHA-256")
    return Request(key, name)
