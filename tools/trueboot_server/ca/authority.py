# SPDX-License-Identifier: MIT
"""The CA at work: certificates for devices and for this server, with keys that were loaded once.

The caller writes every certificate down before anybody sees it.  Neither the root's key nor any decision about
who may have a certificate is needed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from ..names import Identity
from ..state import State, write_atomically
from . import files, profiles
from .ceremony import open_ca

SERVER_RENEW_BEFORE = timedelta(days=60)


@dataclass(frozen=True)
class Issued:
    serial: str
    der: bytes
    not_after_ms: int
    issuer: str | None = None  # the CA that signed it, by the short form of its key identifier


def serial_text(serial: int) -> str:
    """The one spelling of a serial number in the database."""
    return format(serial, "x")


class Authority:
    """The CA of one state folder."""

    def __init__(self, state: State, names: list[str], two_tiers: bool | None = None):
        self._state = state
        self.names = names  # of this server
        self._held = open_ca(state, two_tiers)

    @property
    def certificate(self) -> x509.Certificate:
        """Of the CA that issues."""
        return self._held.issuer.certificate

    @property
    def roots(self) -> list[x509.Certificate]:
        return self._held.roots

    @property
    def issuers(self) -> list[files.Issuer]:
        """Whoever signs CRLs here: the CA that issues first, then those of before."""
        return [self._held.issuer, *self._held.former]

    def chain_der(self) -> list[bytes]:
        """What follows a leaf in a handshake and in an EST answer: the issuing CA, without the anchor."""
        return [profiles.der(certificate) for certificate in self._held.issuer.chain]

    def roots_der(self) -> list[bytes]:
        return [profiles.der(root) for root in self._held.roots]

    def cacerts(self) -> list[bytes]:
        """For EST (RFC 7030, 4.1.3): the roots, the links between them, and what is below."""
        return [profiles.der(one) for one in (*self._held.roots, *self._held.links, *self._held.issuer.chain)]

    def root_crl(self) -> bytes:
        """PEM; empty where the roots have signed none."""
        crl = files.Files(self._state).read_root_crl()
        return b"" if crl is None else crl.public_bytes(Encoding.PEM)  # an empty list is false, and a list

    def _tls_chain(self) -> list[x509.Certificate]:
        """What the server sends after its own: with the link from an old root, for clients that know that one only."""
        top = self._held.roots[0] if len(self._held.roots) == 1 else None
        bridge = [one for one in self._held.links if top is not None and one.public_key() == top.public_key()]
        return self._held.issuer.chain + (bridge if not self._held.issuer.is_root else [])

    def client_anchors(self) -> str:
        """PEMs that a TLS context needs to check clients that send their leaf alone."""
        found = [*self._held.roots, *self._held.links, *(issuer.certificate for issuer in self.issuers)]
        return b"".join(dict.fromkeys(map(profiles.pem, found))).decode()

    def issue(self, identity: Identity, key: profiles.PublicKey, base_url: str, life_s: int) -> Issued:
        """A device's certificate.  It never outlives its issuer."""
        issuer = self._held.issuer
        made = profiles.device(identity, key, timedelta(seconds=life_s), issuer.certificate, issuer.key, base_url)
        return self._issued(made)

    def issue_server(
        self, names: list[str], key: profiles.PublicKey, base_url: str, life: timedelta = profiles.SERVER_LIFE
    ) -> Issued:
        """For another server of the operator's."""
        issuer = self._held.issuer
        return self._issued(profiles.server(names, key, issuer.certificate, issuer.key, base_url, life))

    def facts(self) -> dict[str, Any]:
        """For the operator."""
        ca, crl = files.Files(self._state), files.Files(self._state).read_root_crl()
        return {
            "roots": [_shown(root) for root in self._held.roots],
            "issuing": _shown(self.certificate),
            "former": [_shown(issuer.certificate) for issuer in self._held.former],
            "links": len(self._held.links),
            "root_issues": self._held.issuer.is_root,
            "root_key_here": ca.root_key.exists(),
            "root_crl_until": _moment(crl.next_update_utc) if crl is not None and crl.next_update_utc else None,
            "new_root": ca.next_root.exists(),
        }

    def ending(self) -> list[str]:
        """What the operator has to sign anew before long."""
        crl = files.Files(self._state).read_root_crl()
        ends = [("the issuing CA", self.certificate.not_valid_after_utc)]
        if crl is not None and crl.next_update_utc is not None:
            ends.append(("the root's CRL", crl.next_update_utc))
        return [name for name, end in ends if end - datetime.now(UTC) < SERVER_RENEW_BEFORE]

    # The server's own certificate

    def server_files(self, base_url: str, anew: bool = False) -> tuple[Path, Path]:
        """(certificate and chain, key) of this server; made anew near their end, or when anything else is asked of them."""
        certificate, key = self._state.private / "server.pem", self._state.private / "server-key.pem"
        if anew or not (certificate.exists() and key.exists() and self._still_good(certificate, key, base_url)):
            private, issuer = profiles.new_key(), self._held.issuer
            made = profiles.server(self.names, private.public_key(), issuer.certificate, issuer.key, base_url)
            # The old pair stays whole if we are killed here: the next start finds that the two do not fit.
            write_atomically(key, profiles.private_pem(private), 0o600)
            write_atomically(certificate, b"".join(map(profiles.pem, [made, *self._tls_chain()])), 0o644)
        return certificate, key

    def server_certificate(self) -> Issued:
        """The one in use."""
        return self._issued(files.read_certificates(self._state.private / "server.pem")[0])

    def _still_good(self, certificate_path: Path, key_path: Path, base_url: str) -> bool:
        try:
            certificate, *chain = files.read_certificates(certificate_path)
            key = load_pem_private_key(key_path.read_bytes(), password=None)
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        except (ValueError, TypeError, OSError, files.Unusable, x509.ExtensionNotFound):
            return False
        return (
            certificate.public_key() == key.public_key()
            and self._lives_long_enough(certificate)
            and set(profiles.alternative_names(self.names)) <= set(names)
            and chain == self._tls_chain()
            and files.signed_by(certificate, self.certificate)
            and [name.value for point in points for name in point.full_name or ()]
            == [profiles.crl_url(base_url, self.certificate)]
        )

    def _lives_long_enough(self, certificate: x509.Certificate) -> bool:
        end = certificate.not_valid_after_utc
        # At the end of the issuing CA itself another certificate would end as soon.
        return end - datetime.now(UTC) > SERVER_RENEW_BEFORE or end >= self.certificate.not_valid_after_utc

    def _issued(self, certificate: x509.Certificate) -> Issued:
        return Issued(
            serial_text(certificate.serial_number),
            profiles.der(certificate),
            int(certificate.not_valid_after_utc.timestamp() * 1000),
            self._held.issuer.id,
        )


def _shown(certificate: x509.Certificate) -> dict[str, Any]:
    return {
        "name": certificate.subject.rfc4514_string(),
        "id": profiles.short_id(certificate),
        "serial": serial_text(certificate.serial_number),
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
        "not_after": _moment(certificate.not_valid_after_utc),
    }


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
