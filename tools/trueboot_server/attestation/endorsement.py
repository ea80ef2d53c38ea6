# SPDX-License-Identifier: MIT
"""Whether an endorsement key is a real TPM's: its certificate, up to a maker that the operator trusts.

Trusted are the certificates in STATE/ek-roots/*.pem, each as an anchor of its own.  A path is followed by name and
signature (RFC 5280, 6.1, for what TPM makers issue): every certificate valid now, every issuer a CA that may sign
certificates and as many below it as it allows, no critical extension that is not understood, no weak hash.  The
leaf has the extended key usage of endorsement keys.  Makers' revocation lists are not fetched.

Source: TCG EK Credential Profile for TPM Family 2.0, 3.2 (certificates).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID

from ..log import Log
from .errors import BadAttestation, unreadable
from .structures import DECRYPT, FIXED_PARENT, FIXED_TPM, RESTRICTED, SENSITIVE_DATA_ORIGIN, SIGN, Public

_Kind = TypeVar("_Kind", bound=x509.ExtensionType)

EK_CERTIFICATE = x509.ObjectIdentifier("2.23.133.8.1")  # tcg-kp-EKCertificate
_FACTS = {
    x509.ObjectIdentifier("2.23.133.2.1"): "manufacturer",
    x509.ObjectIdentifier("2.23.133.2.2"): "model",
    x509.ObjectIdentifier("2.23.133.2.3"): "version",
}
_FACT_CHARS = 64
MAX_CHAIN = 5  # certificates between the leaf and the anchor, as they are sent
MAX_CERTIFICATE_BYTES = 4096
_MAX_ROOTS = 500
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_UNDERSTOOD = (
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,  # critical where the subject is empty
    ExtensionOID.CERTIFICATE_POLICIES,
)


class Endorsement(NamedTuple):
    ek: str  # SHA-256, hex, of the SubjectPublicKeyInfo
    facts: dict[str, str]  # manufacturer, model, version


def roots(folder: Path, log: Log) -> list[x509.Certificate]:
    """What the operator trusts, as the folder is now; a file that cannot be read is told, and trusted in nothing."""
    found: list[x509.Certificate] = []
    for file in sorted(folder.glob("*.pem"))[:_MAX_ROOTS]:
        try:
            found += [_read_whole(one) for one in x509.load_pem_x509_certificates(file.read_bytes())]
        except (OSError, *_UNREADABLE):
            log("ek_root.unreadable", file=file.name)
    return found


def check(leaf_der: bytes, chain_der: Sequence[bytes], anchors: list[x509.Certificate], key: Public) -> Endorsement:
    """BadAttestation unless `key` is the endorsement key of a TPM whose maker is trusted."""
    if len(chain_der) > MAX_CHAIN:
        raise unreadable("the endorsement certificate's chain is too long")
    leaf = certificate(leaf_der)
    _follow(leaf, [certificate(der) for der in chain_der], anchors)
    usage = _extension(leaf, x509.ExtendedKeyUsage)
    if usage is None or EK_CERTIFICATE not in usage:
        raise BadAttestation("ek_untrusted", "the certificate is not one of an endorsement key")
    constraints = _extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise BadAttestation("ek_untrusted", "the certificate is a CA's")
    spki = _spki(leaf)
    if spki != key.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        raise BadAttestation("ek_refused", "the endorsement key is not the one that its certificate names")
    if not key.has(FIXED_TPM, FIXED_PARENT, SENSITIVE_DATA_ORIGIN, RESTRICTED, DECRYPT) or key.has(SIGN):
        raise BadAttestation("ek_refused", "the endorsement key is not a restricted key for decryption")
    return Endorsement(hashlib.sha256(spki).hexdigest(), _facts(leaf))


def certificate(der: bytes) -> x509.Certificate:
    """What is read from a TPM's memory may be padded: it is cut at the length that DER says."""
    try:
        return _read_whole(x509.load_der_x509_certificate(der[: _der_length(der)]))
    except _UNREADABLE as error:
        raise unreadable("a certificate of the endorsement key cannot be read") from error


def _read_whole(found: x509.Certificate) -> x509.Certificate:
    """What `cryptography` reads only when it is asked for, it reads here."""
    _ = found.subject, found.issuer, found.signature_hash_algorithm, found.public_key(), list(found.extensions)
    return found


def _der_length(der: bytes) -> int:
    if len(der) < 4 or der[0] != 0x30 or len(der) > MAX_CERTIFICATE_BYTES:
        raise unreadable("a certificate of the endorsement key cannot be read")
    if der[1] < 0x80:
        return 2 + der[1]
    count = der[1] & 0x7F
    return 2 + count + int.from_bytes(der[2 : 2 + count], "big")


def _follow(leaf: x509.Certificate, chain: list[x509.Certificate], anchors: list[x509.Certificate]) -> None:
    now, below, at = datetime.now(UTC), 0, leaf
    left = list(chain)
    while True:
        _check_alone(at, now)
        if any(_issued(at, anchor, below, now) for anchor in anchors):
            return
        issuer = next((one for one in left if _issued(at, one, below, now)), None)
        if issuer is None:
            raise BadAttestation("ek_untrusted", "no trusted maker of TPMs vouches for the endorsement key")
        left.remove(issuer)  # so that the walk ends
        at, below = issuer, below + 1


def _check_alone(found: x509.Certificate, now: datetime) -> None:
    if not found.not_valid_before_utc <= now <= found.not_valid_after_utc:
        raise BadAttestation("ek_untrusted", "a certificate of the endorsement key is not valid now")
    if not isinstance(found.signature_hash_algorithm, _HASHES):
        raise BadAttestation("ek_untrusted", "a certificate of the endorsement key is signed over a weak hash")
    if any(extension.critical and extension.oid not in _UNDERSTOOD for extension in found.extensions):
        raise BadAttestation("ek_untrusted", "a certificate of the endorsement key has an unknown critical extension")


def _issued(subject: x509.Certificate, issuer: x509.Certificate, below: int, now: datetime) -> bool:
    if subject.issuer != issuer.subject or not issuer.not_valid_before_utc <= now <= issuer.not_valid_after_utc:
        return False
    constraints, usage = _extension(issuer, x509.BasicConstraints), _extension(issuer, x509.KeyUsage)
    if constraints is None or not constraints.ca or (usage is not None and not usage.key_cert_sign):
        return False
    if constraints.path_length is not None and constraints.path_length < below:
        return False
    try:
        subject.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _extension(found: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    try:
        return found.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _spki(found: x509.Certificate) -> bytes:
    return found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _facts(leaf: x509.Certificate) -> dict[str, str]:
    """From the directory name among the alternative names; what a maker left out is left out."""
    names = _extension(leaf, x509.SubjectAlternativeName)
    facts: dict[str, str] = {}
    for name in names.get_values_for_type(x509.DirectoryName) if names is not None else []:
        for attribute in name:
            value = str(attribute.value)
            if attribute.oid in _FACTS and value.isprintable():
                facts[_FACTS[attribute.oid]] = value[:_FACT_CHARS]
    return facts
