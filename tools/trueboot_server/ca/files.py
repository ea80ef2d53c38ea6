# SPDX-License-Identifier: MIT
"""The CA in the state folder: what lies where, how it gets there whole, and what cannot be used.

    STATE/ca.pem               the trust anchors: the root; two while a root is replaced
    STATE/links.pem            link certificates between these roots, if there were several
    STATE/root-crl.pem         the root's own CRL, signed when its key was here
    private/ca-key.pem         the root's key.  The server does not need it: it may be kept elsewhere
    private/issuing.pem        the issuing CA: key, certificate
    private/former/ID.pem      issuing CAs of before (key, certificate), whose certificates still live
    private/next-root.pem      the new root (key, certificate), from the begin to the end of its introduction

A key and its certificate lie in one file where that is ours to choose, so that no power cut can part them.
Without issuing.pem the root issues by itself, as it did in folders of earlier versions (path length 0).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ..clock import now_ms
from ..state import State, write_atomically
from . import lists, profiles

ROOT_CRL_LIFE = timedelta(days=365)
MAX_FILE_BYTES = 64 * 1024
TWO_TIERS = True  # of new folders: a root that can be taken away, and below it the CA that issues


class Unusable(Exception):
    """A file of the CA cannot be used; the text says which and why."""


@dataclass
class Issuer:
    """A CA that signs certificates of devices and servers, its CRL and its OCSP answers."""

    key: profiles.Key
    certificate: x509.Certificate
    is_root: bool = False

    @property
    def id(self) -> str:
        return profiles.short_id(self.certificate)

    @property
    def chain(self) -> list[x509.Certificate]:
        """What follows a leaf: everything but the anchor."""
        return [] if self.is_root else [self.certificate]

    def pem(self) -> bytes:
        return profiles.private_pem(self.key) + profiles.pem(self.certificate)


@dataclass
class Holdings:
    """All that a server needs to know of its CA."""

    roots: list[x509.Certificate]
    issuer: Issuer
    former: list[Issuer] = field(default_factory=list)
    links: list[x509.Certificate] = field(default_factory=list)


class Files:
    def __init__(self, state: State):
        self.state = state
        self.roots = state.ca
        self.links = state.path / "links.pem"
        self.root_crl = state.path / "root-crl.pem"
        self.root_key = state.private / "ca-key.pem"
        self.issuing = state.private / "issuing.pem"
        self.former = state.private / "former"
        self.next_root = state.private / "next-root.pem"

    def load(self, check: bool = True) -> Holdings:
        """Unusable for what does not belong together, and with `check` for what is not good now."""
        roots = read_certificates(self.roots)
        if self.issuing.exists():
            issuer = read_issuer(self.issuing)
        else:
            issuer = self._root_that_issues(roots)
        links = read_certificates(self.links) if self.links.exists() else []
        if check:
            check_issuer(issuer, roots)
        former = [read_issuer(path) for path in sorted(self.former.glob("*.pem"))] if self.former.is_dir() else []
        now = datetime.now(UTC)
        # After a cut in a rotation, the CA that issues may lie among the former ones already.
        former = [one for one in former if one.id != issuer.id and one.certificate.not_valid_after_utc > now]
        for path in (self.root_key, self.issuing, self.next_root):
            if path.exists():
                os.chmod(path, 0o600)
        return Holdings(roots, issuer, former, links)

    def _root_that_issues(self, roots: list[x509.Certificate]) -> Issuer:
        if not self.root_key.exists():
            alone = any(path_length(root) == 0 for root in roots)
            raise Unusable(f"private/{'ca-key' if alone else 'issuing'}.pem is missing")
        key = read_key(self.root_key)
        for root in roots:
            if root.public_key() == key.public_key():
                if path_length(root) != 0:
                    raise Unusable("private/issuing.pem is missing: this root does not issue by itself")
                return Issuer(key, root, is_root=True)
        raise Unusable("private/ca-key.pem and ca.pem do not belong together")

    def make_missing(self, two_tiers: bool | None = None) -> None:
        """A first start, or one that was cut.  Each file rests on those before it, and what is there is kept."""
        if not self.root_key.exists() and not self.roots.exists():
            write_atomically(self.root_key, profiles.private_pem(profiles.new_key()), 0o600)
        if not self.root_key.exists():
            return  # ca.pem came from elsewhere; `load` says whether it is complete
        key = read_key(self.root_key)
        if not self.roots.exists():
            two_tiers = TWO_TIERS if two_tiers is None else two_tiers
            certificate = profiles.root(key) if two_tiers else profiles.root_that_issues(key)
            write_atomically(self.roots, profiles.pem(certificate))
        root = next((one for one in read_certificates(self.roots) if one.public_key() == key.public_key()), None)
        if root is None or path_length(root) == 0:
            return
        if not self.root_crl.exists():
            self.save_root_crl(root, key, [], 1)
        if not self.issuing.exists():
            write_atomically(self.issuing, new_issuer(root, key).pem(), 0o600)

    def save_root_crl(
        self, root: x509.Certificate, key: profiles.Key, entries: list[lists.Revoked], number: int
    ) -> None:
        data = lists.sign(root, key, entries, number, now_ms(), int(ROOT_CRL_LIFE.total_seconds()))
        write_atomically(self.root_crl, lists.pem(data))

    def read_root_crl(self) -> x509.CertificateRevocationList | None:
        if not self.root_crl.exists():
            return None
        try:
            return x509.load_pem_x509_crl(_read(self.root_crl))
        except ValueError as error:
            raise Unusable("root-crl.pem holds no CRL that can be read") from error


def new_issuer(root: x509.Certificate, root_key: profiles.Key) -> Issuer:
    key = profiles.new_key()
    return Issuer(key, profiles.issuing(key.public_key(), profiles.issuing_name(), root, root_key))


# Reading


def read_certificates(path: Path) -> list[x509.Certificate]:
    data = _read(path)
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise Unusable(f"{path.name} holds no certificate that can be read") from error


def read_key(path: Path, password: bytes | None = None) -> profiles.Key:
    data = _read(path)
    try:
        key = load_pem_private_key(data, password)
    except TypeError as error:
        raise Unusable(f"{path.name} is encrypted") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        wrong = ", or the password is wrong" if password else ""
        raise Unusable(f"{path.name} holds no private key that can be read{wrong}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Unusable(f"the key in {path.name} is not P-256: devices verify no other")
    return key


def read_issuer(path: Path) -> Issuer:
    key = read_key(path)
    certificate = read_certificates(path)[0]
    if certificate.public_key() != key.public_key():
        raise Unusable(f"key and certificate in {path.name} do not belong together")
    return Issuer(key, certificate, is_root=certificate.subject == certificate.issuer)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise Unusable(f"{path.name} is missing") from error
    except OSError as error:
        raise Unusable(f"{path.name} cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise Unusable(f"{path.name} is longer than {MAX_FILE_BYTES} bytes")
    return data


# Judging


def path_length(certificate: x509.Certificate) -> int | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    except (x509.ExtensionNotFound, ValueError):
        return None


def check_issuer(issuer: Issuer, roots: list[x509.Certificate]) -> None:
    """Unusable unless the issuing CA may sign certificates and CRLs, now, and leads to one of the roots."""
    check_ca(issuer.certificate, 0)
    if issuer.is_root:
        return
    signers = [root for root in roots if signed_by(issuer.certificate, root)]
    if not signers:
        raise Unusable(f"no root in ca.pem has signed {name_of(issuer.certificate)}")
    check_ca(signers[0], 1)


def check_ca(certificate: x509.Certificate, below: int) -> None:
    """Unusable unless it is a CA that may have `below` CAs under it, and lives."""
    name = name_of(certificate)
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, ValueError) as error:
        raise Unusable(f"{name} does not say that it is a CA and what its key is for") from error
    if not basic.ca or not usage.key_cert_sign:
        raise Unusable(f"{name} is no CA")
    if below == 0 and not usage.crl_sign:
        raise Unusable(f"{name} may not sign CRLs")
    if basic.path_length is not None and basic.path_length < below:
        raise Unusable(f"{name} allows fewer CAs below it (path length)")
    now = datetime.now(UTC)
    if certificate.not_valid_after_utc <= now:
        raise Unusable(f"{name} has expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if certificate.not_valid_before_utc > now:
        raise Unusable(f"{name} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}")


def check_devices_verify(certificate: x509.Certificate) -> None:
    """Unusable unless a board can verify what this CA signs: P-256 with SHA-256."""
    key, name = certificate.public_key(), name_of(certificate)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Unusable(f"the key of {name} is not P-256: devices verify no other")
    if certificate.signature_algorithm_oid != x509.oid.SignatureAlgorithmOID.ECDSA_WITH_SHA256:
        raise Unusable(f"{name} is not signed by ECDSA with SHA-256: devices verify nothing else")


def signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def name_of(certificate: x509.Certificate) -> str:
    """For people: the common name if there is one, quoted, shortened."""
    text = certificate.subject.rfc4514_string()
    return f'"{text[:80]}"'
