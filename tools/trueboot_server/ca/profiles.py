# SPDX-License-Identifier: MIT
"""What our certificates look like (RFC 5280): root, issuing CA, link, server, device.

- Serial numbers are random, 128 bits; nothing lives longer than what signed it.
- The root signs CAs and its own CRL, and nothing else, so that its key can be taken away.
- A device's certificate is good as a TLS client, a server's as a TLS server, and neither as anything else.
- A link says with one root's key that another root is ours (RFC 4210, 4.4: "new with old", "old with new").
"""

from __future__ import annotations

import ipaddress
import secrets
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from ..names import COMMON_NAME_CHARS, Identity

ROOT_LIFE = timedelta(days=7300)
ISSUING_LIFE = timedelta(days=1826)
SERVER_LIFE = timedelta(days=397)
BACKDATE = timedelta(hours=1)  # clocks of devices are not exact

Key = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey  # the latter for what EnOS's own tools bring


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def private_pem(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def key_id(certificate: x509.Certificate) -> bytes:
    """The subject key identifier, which every CA has (RFC 5280, 4.2.1.2)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest


def short_id(certificate: x509.Certificate) -> str:
    """What a CA is called in addresses and file names; the same for all certificates of one key."""
    return key_id(certificate)[:8].hex()


def root(key: Key) -> x509.Certificate:
    now = datetime.now(UTC)
    name = _root_name("Trueboot Root " + secrets.token_hex(4))
    return _ca(name, name, key.public_key(), now, now + ROOT_LIFE, None).sign(key, hashes.SHA256())


def root_that_issues(key: Key) -> x509.Certificate:
    """A root with no CA below it, as earlier versions made it."""
    now = datetime.now(UTC)
    name = _root_name("Trueboot CA")
    return _ca(name, name, key.public_key(), now, now + ROOT_LIFE, 0).sign(key, hashes.SHA256())


def issuing(key: PublicKey, name: x509.Name, signer: x509.Certificate, signing_key: Key) -> x509.Certificate:
    now = datetime.now(UTC)
    end = min(now + ISSUING_LIFE, signer.not_valid_after_utc)
    return _ca(name, signer.subject, key, now, end, 0, signer).sign(signing_key, hashes.SHA256())


def issuing_name() -> x509.Name:
    return _name("Trueboot Issuing " + secrets.token_hex(4))


def link(of: x509.Certificate, signer: x509.Certificate, signing_key: Key) -> x509.Certificate:
    """`of`, a root: its name and key, signed by another root."""
    now = datetime.now(UTC)
    end = min(of.not_valid_after_utc, signer.not_valid_after_utc)
    key = of.public_key()
    return _ca(of.subject, signer.subject, key, now, end, None, signer).sign(signing_key, hashes.SHA256())  # type: ignore[arg-type]


def device(
    identity: Identity, key: PublicKey, life: timedelta, signer: x509.Certificate, signing_key: Key, base_url: str
) -> x509.Certificate:
    names: list[x509.GeneralName] = [_uri(urn(identity))]
    return _leaf(identity.common_name, key, life, ExtendedKeyUsageOID.CLIENT_AUTH, names, signer, base_url).sign(
        signing_key, hashes.SHA256()
    )


def server(
    names: list[str],
    key: PublicKey,
    signer: x509.Certificate,
    signing_key: Key,
    base_url: str,
    life: timedelta = SERVER_LIFE,
) -> x509.Certificate:
    return _leaf(
        names[0] if len(names[0]) <= COMMON_NAME_CHARS else "trueboot server",
        key,
        life,
        ExtendedKeyUsageOID.SERVER_AUTH,
        alternative_names(names),
        signer,
        base_url,
    ).sign(signing_key, hashes.SHA256())


def urn(identity: Identity) -> str:
    """A device's name as a URI: keys hold letters, digits, ".", "_" and "-" only."""
    return f"urn:trueboot:{identity.product_key}:{identity.device_key}"


def crl_url(base_url: str, issuer: x509.Certificate) -> str:
    return f"{base_url}/ca/crl/{short_id(issuer)}"


def alternative_names(names: list[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def authority_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier(key_id(issuer), None, None)


def _ca(
    subject: x509.Name,
    issuer: x509.Name,
    key: PublicKey,
    now: datetime,
    end: datetime,
    path_length: int | None,
    signer: x509.Certificate | None = None,
) -> x509.CertificateBuilder:
    builder = (
        _begin(subject, issuer, key, now, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(digital_signature=path_length == 0, key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
    return builder if signer is None else builder.add_extension(authority_key(signer), critical=False)


def _leaf(
    common_name: str,
    key: PublicKey,
    life: timedelta,
    usage: x509.ObjectIdentifier,
    names: list[x509.GeneralName],
    signer: x509.Certificate,
    base_url: str,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    end = min(now + life, signer.not_valid_after_utc)
    ca = base_url + "/ca"
    return (
        _begin(_name(common_name), signer.subject, key, now, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(authority_key(signer), critical=False)
        .add_extension(
            x509.CRLDistributionPoints([x509.DistributionPoint([_uri(crl_url(base_url, signer))], None, None, None)]),
            critical=False,
        )
        .add_extension(
            x509.AuthorityInformationAccess(
                [
                    x509.AccessDescription(AuthorityInformationAccessOID.OCSP, _uri(ca + "/ocsp")),
                    x509.AccessDescription(
                        AuthorityInformationAccessOID.CA_ISSUERS, _uri(f"{ca}/issuing/{short_id(signer)}.der")
                    ),
                ]
            ),
            critical=False,
        )
    )


def _begin(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(1 << 127 | secrets.randbits(127))
        .not_valid_before(now - BACKDATE)
        .not_valid_after(end)
    )


def _uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)


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
