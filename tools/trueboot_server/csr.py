# SPDX-License-Identifier: MIT
"""A certificate request (PKCS#10, RFC 2986): the one thing that is taken from it, and what it must not say.

Taken is the public key, when its holder signed the request.  Nothing else is: the certificate's subject, life and
extensions are the profile's (`ca`), so a request may ask for any name.  Yet a common name that is another device's
is refused, since whoever sent it is mistaken about who the device is.

Source: RFC 7030, 4.2.1; RFC 8951, 3.1 (base64 with and without line breaks).
"""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from .ca import MAX_CSR_DER_BYTES
from .errors import ApiError
from .fleet import registry
from .names import Identity, is_identity
from .store import Transaction

_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_MAX_ATTRIBUTES = 16  # of a subject: what people put into one, and no more
_MAX_VALUE_CHARS = 256


def from_base64(body: bytes | str) -> bytes:
    """The DER of a request, however its lines are broken."""
    try:
        text = body.encode("ascii") if isinstance(body, str) else body
        return base64.b64decode(b"".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(
            400,
            "csr_unreadable",
            "the request is not base64",
            "Send PKCS#10 in DER as base64, without the lines -----BEGIN and -----END (RFC 7030, 4.2.1).",
        ) from error


PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
RSA_BITS = range(2048, 4097)
RSA_EXPONENT = 65537


class Request(NamedTuple):
    key: PublicKey
    names: list[str]  # the common names of its subject


def read(der: bytes, rsa_too: bool = False) -> Request:
    """A request in DER with a P-256 key, whose holder signed it.  ApiError says what is wrong.

    `rsa_too`: other people's clients make RSA keys, some nothing else.
    """
    if len(der) > MAX_CSR_DER_BYTES:
        raise _refused("the request is too long")
    try:
        csr = x509.load_der_x509_csr(der)
        key, subject, signed_over = csr.public_key(), list(csr.subject), csr.signature_hash_algorithm
        signed = csr.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion) as error:
        raise _refused("not a PKCS#10 request") from error
    if rsa_too and isinstance(key, rsa.RSAPublicKey):
        if key.key_size not in RSA_BITS or key.public_numbers().e != RSA_EXPONENT:
            raise ApiError(400, "csr_key", "an RSA key must have 2048 to 4096 bits and the exponent 65537")
    elif not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ApiError(400, "csr_key", "the key must be P-256", "See /.well-known/est/csrattrs for what is wanted.")
    if not signed:
        raise _refused("the request's signature is wrong")
    if not isinstance(signed_over, _HASHES):
        raise _refused("the request is signed over a weak hash")
    if len(subject) > _MAX_ATTRIBUTES or any(len(attribute.value) > _MAX_VALUE_CHARS for attribute in subject):
        raise _subject("the request's subject is too long")
    return Request(key, [str(attribute.value) for attribute in subject if attribute.oid == NameOID.COMMON_NAME])


def key_for(t: Transaction, identity: Identity, request: Request) -> PublicKey:
    """The key, unless the request was made for another device."""
    for name in request.names:
        product_key, slash, device_key = name.rpartition("/")
        other = Identity(product_key if slash else identity.product_key, device_key)
        if other == identity or not is_identity(other):
            continue
        if slash or registry.device(t, other) is not None:
            raise _subject("the request's subject names another device")
    return request.key


def _refused(why: str) -> ApiError:
    return ApiError(400, "csr_refused", why, "Send a P-256 PKCS#10 request that its own key signed.")


def _subject(why: str) -> ApiError:
    return ApiError(
        400, "csr_subject", why, "Leave the subject empty, or name the device itself: productKey/deviceKey."
    )
