# SPDX-License-Identifier: MIT
"""What a CRL looks like (RFC 5280, 5), and the reasons for which something is on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from . import profiles

# CRLReason (RFC 5280, 5.3.1), those that EnOS knows as well.
REASONS = {
    "unspecified": 0,
    "keyCompromise": 1,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "certificateHold": 6,
    "privilegeWithdrawn": 9,
}
REASON_NAMES = {number: name for name, number in REASONS.items()}
SUPERSEDED = REASONS["superseded"]


_FLAGS = {
    1: x509.ReasonFlags.key_compromise,
    3: x509.ReasonFlags.affiliation_changed,
    4: x509.ReasonFlags.superseded,
    5: x509.ReasonFlags.cessation_of_operation,
    6: x509.ReasonFlags.certificate_hold,
    9: x509.ReasonFlags.privilege_withdrawn,
}


class Revoked(NamedTuple):
    serial: str
    at_ms: int
    reason: int


def sign(
    certificate: x509.Certificate,
    key: profiles.Key,
    entries: list[Revoked],
    number: int,
    now_ms: int,
    life_s: int,
) -> bytes:
    now = datetime.fromtimestamp(now_ms // 1000, UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(certificate.subject)
        .last_update(now - profiles.BACKDATE)
        .next_update(now + timedelta(seconds=life_s))
        .add_extension(profiles.authority_key(certificate), critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for entry in entries:
        revoked = (
            x509.RevokedCertificateBuilder()
            .serial_number(int(entry.serial, 16))
            .revocation_date(datetime.fromtimestamp(entry.at_ms // 1000, UTC))
        )
        if flag := _FLAGS.get(entry.reason):  # "unspecified" is said by saying nothing (RFC 5280, 5.3.1)
            revoked = revoked.add_extension(x509.CRLReason(flag), critical=False)
        builder = builder.add_revoked_certificate(revoked.build())
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def entries(crl: x509.CertificateRevocationList) -> list[Revoked]:
    """What is on a list."""
    found, numbers = [], {flag: number for number, flag in _FLAGS.items()}
    for entry in crl:
        try:
            reason = numbers.get(entry.extensions.get_extension_for_class(x509.CRLReason).value.reason, 0)
        except x509.ExtensionNotFound:
            reason = 0
        found.append(
            Revoked(format(entry.serial_number, "x"), int(entry.revocation_date_utc.timestamp() * 1000), reason)
        )
    return found


def reason_flag(reason: int) -> x509.ReasonFlags:
    return _FLAGS.get(reason, x509.ReasonFlags.unspecified)


def pem(der: bytes) -> bytes:
    return x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)
