# SPDX-License-Identifier: MIT
"""The OCSP responder: what is known of one certificate, signed (RFC 6960, in the profile of RFC 5019).

- The CA's own key signs (RFC 6960, 4.2.2.2): it is in this process anyway, so a delegated responder would protect nothing.
- One certificate a request; a request for several is malformed (RFC 5019, 2.1.1).
- A certificate of a CA that is not ours: "unauthorized".  One that we never issued: "unknown", never "good".
- A nonce is given back (RFC 9654: 1 to 128 bytes).  Nothing is kept: an answer costs a signature and one row.
"""

from __future__ import annotations

import base64
import binascii
import urllib.parse
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp

from ..store import Transaction
from . import book
from .authority import Authority, serial_text
from .files import Issuer
from .lists import reason_flag

_HASHES = (hashes.SHA1, hashes.SHA256, hashes.SHA384, hashes.SHA512)  # of a CertID, where it is but a name
_MAX_NONCE_BYTES = 128
_STATUS = {"good": ocsp.OCSPCertStatus.GOOD, "unknown": ocsp.OCSPCertStatus.UNKNOWN}


class Answer(NamedTuple):
    der: bytes
    cacheable: bool  # it is about no nonce, and is no error


class Responder:
    def __init__(self, authority: Authority, life_s: int):
        self._authority = authority
        self._life_s = life_s

    def answer(self, t: Transaction, der: bytes) -> Answer:
        """Never raises: what is wrong with a request is said in OCSP's own words."""
        try:
            request = ocsp.load_der_ocsp_request(der)
            serial, algorithm = request.serial_number, request.hash_algorithm
            named = request.issuer_name_hash, request.issuer_key_hash
            nonce = _nonce(request)
        except (ValueError, NotImplementedError, UnsupportedAlgorithm, x509.DuplicateExtension):
            return _failed(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
        if nonce is not None and not 0 < len(nonce) <= _MAX_NONCE_BYTES:
            return _failed(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
        issuer = self._issuer(named, algorithm)
        if issuer is None:
            return _failed(ocsp.OCSPResponseStatus.UNAUTHORIZED)
        standing = book.standing(t, serial_text(serial), issuer.id, issuer.is_root)
        now = datetime.fromtimestamp(t.now // 1000, UTC)
        revoked = standing.status == "revoked"
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response_by_hash(
                issuer_name_hash=named[0],
                issuer_key_hash=named[1],
                serial_number=serial,
                algorithm=algorithm,
                cert_status=ocsp.OCSPCertStatus.REVOKED if revoked else _STATUS[standing.status],
                this_update=now,
                next_update=now + timedelta(seconds=self._life_s),
                revocation_time=datetime.fromtimestamp(standing.at_ms // 1000, UTC) if revoked else None,
                revocation_reason=reason_flag(standing.reason) if revoked else None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, issuer.certificate)
        )
        if nonce is not None:
            builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
        signed = builder.sign(issuer.key, hashes.SHA256())
        return Answer(signed.public_bytes(Encoding.DER), nonce is None)

    def _issuer(self, named: tuple[bytes, bytes], algorithm: hashes.HashAlgorithm) -> Issuer | None:
        if not isinstance(algorithm, _HASHES):
            return None
        for issuer in self._authority.issuers:
            key = issuer.certificate.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            if named == (_digest(algorithm, issuer.certificate.subject.public_bytes()), _digest(algorithm, key)):
                return issuer
        return None


def from_path(text: str) -> bytes:
    """The request of a GET: base64 in the path (RFC 6960, A.1).  Empty, and so malformed, when it is none."""
    try:
        return base64.b64decode(urllib.parse.unquote(text), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _nonce(request: ocsp.OCSPRequest) -> bytes | None:
    found = None
    for extension in request.extensions:
        if isinstance(extension.value, x509.OCSPNonce):
            found = extension.value.nonce
        elif extension.critical:
            raise ValueError("a critical extension that is not known")
    return found


def _digest(algorithm: hashes.HashAlgorithm, data: bytes) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(data)
    return digest.finalize()


def _failed(status: ocsp.OCSPResponseStatus) -> Answer:
    return Answer(ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER), False)
