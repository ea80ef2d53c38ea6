# SPDX-License-Identifier: MIT
"""A certificate request, and the shape in which certificates are handed out.

From a CSR nothing is taken but the public key, and that only when the CSR proves possession of the private one.
Subject, extensions and life come from `profiles` (enos-decada 8.4 says why not theirs).
"""

from __future__ import annotations

from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7

MAX_CSR_DER_BYTES = 8 * 1024


class BadRequest(Exception):
    """The CSR cannot be used; the text says why."""


def certs_only(ders: list[bytes]) -> bytes:
    """A degenerate PKCS#7 with these certificates (RFC 7030, 4.1.3 and 4.2.3), in DER."""
    return pkcs7.serialize_certificates([x509.load_der_x509_certificate(der) for der in ders], Encoding.DER)


@lru_cache(4096)
def public_point(der: bytes) -> bytes:
    """The uncompressed point of a certificate's P-256 key."""
    key = x509.load_der_x509_certificate(der).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise BadRequest("the key must be P-256")
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
