# SPDX-License-Identifier: MIT
"""The certificate authority: one P-256 root, the server's own certificate, and the profile of a device's.

From a CSR nothing is taken but the public key, and that only when the CSR proves possession of the private
one.  Subject, key usage and life come from the profile here (RFC 5280; enos-decada 8.4 says why not theirs).
The CA signs; who may have a certificate is decided by `https.est`.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    pkcs7,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .errors import EXIT_CONFIG, StartError
from .names import Identity
from .state import State, write_atomically

CA_LIFE = timedelta(days=3650)
SERVER_LIFE = timedelta(days=397)
SERVER_RENEW_BEFORE = timedelta(days=60)
DEVICE_LIFE = timedelta(days=730)
BACKDATE = timedelta(hours=1)  # clocks of devices are not exact
CRL_LIFE = timedelta(days=1)
MAX_CSR_DER_BYTES = 8 * 1024


class BadRequest(Exception):
    """The CSR cannot be used; the text says why."""


@dataclass(frozen=True)
class Issued:
    serial: str
    der: bytes
    not_after_ms: int


def serial_text(serial: int) -> str:
    """The one spelling of a serial number in the database."""
    return format(serial, "x")


def public_key_of_csr(der: bytes) -> ec.EllipticCurvePublicKey:
    """The public key of a PKCS#10 request that its holder signed.  P-256 only."""
    if len(der) > MAX_CSR_DER_BYTES:
        raise BadRequest("the request is too long")
    try:
        csr = x509.load_der_x509_csr(der)
        key = csr.public_key()
        signed = csr.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise BadRequest("not a PKCS#10 request") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadRequest("the key must be P-256")
    if not signed:
        raise BadRequest("the request's signature is wrong")
    return key


def certs_only(ders: list[bytes]) -> bytes:
    """A degenerate PKCS#7 (RFC 7030, 4.1.3 and 4.2.3), in DER."""
    return pkcs7.serialize_certificates([x509.load_der_x509_certificate(der) for der in ders], Encoding.DER)


class Authority:
    """The CA of one state folder."""

    def __init__(self, state: State, names: list[str]):
        self._state = state
        self._names = names
        self._key, self.certificate = self._load_or_make()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    def chain_der(self) -> list[bytes]:
        """What follows a leaf, up to the anchor and without it: nothing, when the root issues."""
        return []

    def roots_der(self) -> list[bytes]:
        """What a client trusts, the one above `chain_der` first."""
        return [self.der]

    def anchors_der(self) -> list[bytes]:
        """What EST's cacerts carries."""
        return [self.der]

    def server_files(self) -> tuple[Path, Path]:
        """(certificate, key) of this server, renewed when they near their end or lack one of the names."""
        certificate, key = self._state.private / "server.pem", self._state.private / "server-key.pem"
        if not (certificate.exists() and key.exists() and self._still_good(certificate, key)):
            private = ec.generate_private_key(ec.SECP256R1())
            # The old pair stays whole if we are killed here: the next start finds that the two do not fit.
            write_atomically(key, _private_pem(private), 0o600)
            write_atomically(certificate, self._server_certificate(private.public_key()), 0o644)
        return certificate, key

    def issue(
        self, identity: Identity, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, base_url: str, life_s: int
    ) -> Issued:
        """A device's certificate.  The caller writes it down before anybody sees it."""
        now = datetime.now(UTC)
        crl_url = base_url + "/ca/crl"
        certificate = (
            self._builder(_name(identity.common_name), key, now, timedelta(seconds=life_s))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(
                x509.CRLDistributionPoints(
                    [x509.DistributionPoint([x509.UniformResourceIdentifier(crl_url)], None, None, None)]
                ),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        return Issued(
            serial_text(certificate.serial_number),
            certificate.public_bytes(Encoding.DER),
            int(certificate.not_valid_after_utc.timestamp() * 1000),
        )

    def crl(self, revoked: list[tuple[str, int]]) -> bytes:
        """A CRL in DER over (serial, milliseconds)."""
        now = datetime.now(UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now - BACKDATE)
            .next_update(now + CRL_LIFE)
            .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
            .add_extension(self._authority_key(), critical=False)
        )
        for serial, at in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(int(serial, 16))
                .revocation_date(datetime.fromtimestamp(at / 1000, UTC))
                .build()
            )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.DER)

    # Making what is missing

    def _load_or_make(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        path = self._state.private / "ca-key.pem"
        complete = path.exists() and self._state.ca.exists()
        if not complete and self._state.database.exists():
            # A new CA beside old devices would lock every one of them out.
            raise self._unreadable("private/ca-key.pem or ca.pem is missing")
        if not complete:
            key = ec.generate_private_key(ec.SECP256R1())
            write_atomically(path, _private_pem(key), 0o600)
            write_atomically(self._state.ca, _own_certificate(key).public_bytes(Encoding.PEM))
        try:
            loaded = load_pem_private_key(path.read_bytes(), password=None)
            certificate = x509.load_pem_x509_certificate(self._state.ca.read_bytes())
        except (ValueError, OSError) as error:
            raise self._unreadable("private/ca-key.pem or ca.pem cannot be read") from error
        if not isinstance(loaded, ec.EllipticCurvePrivateKey) or loaded.public_key() != certificate.public_key():
            raise self._unreadable("private/ca-key.pem and ca.pem do not belong together")
        os.chmod(path, 0o600)
        return loaded, certificate

    def _unreadable(self, why: str) -> StartError:
        return StartError(
            EXIT_CONFIG,
            f"the CA in {self._state.path} cannot be used",
            why,
            "Restore both from a backup, or start with an empty state folder.",
        )

    def _still_good(self, certificate_path: Path, key_path: Path) -> bool:
        try:
            certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
            key = load_pem_private_key(key_path.read_bytes(), password=None)
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, OSError, x509.ExtensionNotFound, InvalidSignature):
            return False
        return (
            certificate.public_key() == key.public_key()
            and certificate.not_valid_after_utc - datetime.now(UTC) > SERVER_RENEW_BEFORE
            and set(_alternative_names(self._names)) <= set(names)
        )

    def _server_certificate(self, key: ec.EllipticCurvePublicKey) -> bytes:
        return (
            self._builder(_name(self._names[0]), key, datetime.now(UTC), SERVER_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(_alternative_names(self._names)), critical=False)
            .sign(self._key, hashes.SHA256())
            .public_bytes(Encoding.PEM)
        )

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, now: datetime, life: timedelta
    ) -> x509.CertificateBuilder:
        end = min(now + life, self.certificate.not_valid_after_utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(self._authority_key(), critical=False)
        )

    def _authority_key(self) -> x509.AuthorityKeyIdentifier:
        own = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _own_certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    now = datetime.now(UTC)
    name = _root_name("Trueboot CA")
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _root_name(common_name: str) -> x509.Name:
    """With a country and all that follows: enos-cert-tool copies them from the root, and ends where one is missing."""
    parts = (
        (NameOID.COUNTRY_NAME, "ZZ"),  # ISO 3166: no country will ever be called so
        (NameOID.STATE_OR_PROVINCE_NAME, "Trueboot"),
        (NameOID.LOCALITY_NAME, "Trueboot"),
        (NameOID.ORGANIZATION_NAME, "Trueboot"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "Trueboot CA"),
        (NameOID.COMMON_NAME, common_name),
    )
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(**used: bool) -> x509.KeyUsage:
    names = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement "
        "key_cert_sign crl_sign encipher_only decipher_only"
    ).split()
    return x509.KeyUsage(**{name: used.get(name, False) for name in names})


def _alternative_names(names: list[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_point(der: bytes) -> bytes:
    """The uncompressed point of a certificate's P-256 key."""
    key = x509.load_der_x509_certificate(der).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise BadRequest("the key must be P-256")
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
