# SPDX-License-Identifier: MIT
"""Certificate revocation lists (RFC 5280, 5): one for each CA that has signed certificates here.

A list is kept until something is revoked, and is made anew at half of its life at the latest.  Readers that fetched it
know of a revocation when theirs ends: `limits.crl_life_s`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from ..store import Transaction
from . import book, profiles
from .authority import Authority
from .files import Issuer

_FLAGS = {
    1: x509.ReasonFlags.key_compromise,
    3: x509.ReasonFlags.affiliation_changed,
    4: x509.ReasonFlags.superseded,
    5: x509.ReasonFlags.cessation_of_operation,
    6: x509.ReasonFlags.certificate_hold,
    9: x509.ReasonFlags.privilege_withdrawn,
}


class _Made(NamedTuple):
    der: bytes
    revocations: int
    again_ms: int


class Crls:
    def __init__(self, authority: Authority, life_s: int):
        self._authority = authority
        self._life_s = life_s
        self._made: dict[str, _Made] = {}

    def der(self, t: Transaction, issuer: Issuer | None = None) -> bytes:
        """The present list of one CA; of the one that issues when none is named."""
        issuer = issuer or self._authority.issuers[0]
        made, revocations = self._made.get(issuer.id), book.revocations(t)
        if made is None or made.revocations != revocations or t.now >= made.again_ms:
            entries = book.revoked(t, issuer.id, issuer.is_root)
            number = book.next_crl_number(t, issuer.id)
            der = sign(issuer.certificate, issuer.key, entries, number, t.now, self._life_s)
            made = self._made[issuer.id] = _Made(der, revocations, t.now + self._life_s * 500)
        return made.der

    def refresh(self, t: Transaction) -> None:
        """Make anew whatever is due, so that nobody who asks has to wait for it."""
        for issuer in self._authority.issuers:
            self.der(t, issuer)


def sign(
    certificate: x509.Certificate,
    key: profiles.Key,
    entries: list[book.Revoked],
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


def reason_flag(reason: int) -> x509.ReasonFlags:
    return _FLAGS.get(reason, x509.ReasonFlags.unspecified)


def pem(der: bytes) -> bytes:
    return x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)
