# SPDX-License-Identifier: MIT
"""A certificate request, and the shape in which certificates are handed out.

From a CSR nothing is taken but the public key, and that only when the CSR proves possession of the private one.
Subject, extensions and life come from `profiles` (enos-decada 8.4 says why not theirs).
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7

MAX_CSR_DER_BYTES = 8 * 1024


class BadRequest(Exception):
    """The CSR cannot be used; the text says why."""


def public_key_of_csr(der: bytes) -> ec.EllipticCurvePublicKey:
    """The public key of a PKCS#10 request that its holder signed.  P-256 only."""
    if len(der) > MAX_CSR_DER_BYTES:
        raise BadRequest("the request is too long")
    try:
        csr = x509.load_der_x509_csr(der)
        key = csr.public_key()
        signed = csr.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion) as error:
        raise BadRequest("not a PKCS#10 request") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadRequest("the key must be P-256")
    if not signed:
        raise BadRequest("the request's signature is wrong")
    return key


def certs_only(ders: list[bytes]) -> bytes:
    """A degenerate PKCS#7 with these certificates (RFC 7030, 4.1.3 and 4.2.3), in DER."""
    return pkcs7.serialize_certificates([x509.load_der_x509_certificate(der) for der in ders], Encoding.DER)


def public_point(der: bytes) -> bytes:
    """The uncompressed point of a certificate's P-256 key."""
    key = x509.load_der_x509_certificate(der).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise BadRequest("the key must be P-256")
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
