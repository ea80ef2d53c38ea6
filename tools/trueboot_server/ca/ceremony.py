# SPDX-License-Identifier: MIT
"""What is done to the CA's own keys, on a state folder that no server runs on: with the root's key, wherever it lies.

    renew            the issuing CA's certificate and the root's CRL, signed anew; the keys stay
    rotate_issuing   another issuing CA; the one of before signs CRLs and OCSP answers until its certificates have ended,
                     unless it is revoked: then it is trusted no longer, and the root's CRL says so
    begin_root       another root beside the first: both are trust anchors, and each signs the other (RFC 4210, 4.4)
    finish_root      the new root alone; for those that know the old one only, the link leads to it
    import_ca        somebody else's CA: its root, and an issuing CA with its key

Every act writes the files that others rest on first and changes what counts with one rename, so that after a power cut
it is repeated, or was done.  `Unusable` says what cannot be done; nothing is changed then.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from ..clock import now_ms
from ..errors import EXIT_CONFIG, StartError
from ..state import State, write_atomically
from . import files, lists, profiles
from .files import Files, Issuer, Unusable


class Ceremony:
    """`root_key`: the file of the root's key where it is not in the state folder."""

    def __init__(self, state: State, root_key: Path | None = None, password: bytes | None = None):
        self.files = Files(state)
        self._state = state
        self._root_key = root_key or self.files.root_key
        self._password = password if root_key else None

    def renew(self) -> x509.Certificate:
        held, (root, key) = self.files.load(check=False), self._root()
        issuer = held.issuer
        if issuer.is_root:
            raise Unusable("the root issues by itself here: introduce another with rotate-root")
        made = profiles.issuing(issuer.key.public_key(), issuer.certificate.subject, root, key)
        self._save_issuer(Issuer(issuer.key, made))
        self._sign_root_crl(root, key, [])
        return made

    def rotate_issuing(self, revoke_reason: int | None = None) -> x509.Certificate:
        held, (root, key) = self.files.load(check=False), self._root()
        if held.issuer.is_root:
            raise Unusable("the root issues by itself here: introduce another with rotate-root")
        if files.path_length(root) == 0:
            raise Unusable("this root may have no CA below it")
        made = files.new_issuer(root, key)
        if revoke_reason is None:
            self._keep_former(held.issuer)
        else:
            if not files.signed_by(held.issuer.certificate, root):
                raise Unusable("this root has not signed the issuing CA, and so cannot revoke it")
            serial = format(held.issuer.certificate.serial_number, "x")
            self._sign_root_crl(root, key, [lists.Revoked(serial, now_ms(), revoke_reason)])
        self._save_issuer(made)
        return made.certificate

    def begin_root(self) -> x509.Certificate:
        """Repeated, it goes on with the root that it made before."""
        roots = files.read_certificates(self.files.roots)
        old, old_key = self._root()
        if self.files.next_root.exists():
            new_key, new = self._next_root()
        else:
            if len(roots) > 1:
                raise Unusable("there are two roots already: finish that rotation first")
            new_key = profiles.new_key()
            new = profiles.root(new_key)
            write_atomically(self.files.next_root, profiles.private_pem(new_key) + profiles.pem(new), 0o600)
        links = [profiles.link(new, old, old_key), profiles.link(old, new, new_key)]
        write_atomically(self.files.links, b"".join(map(profiles.pem, links)))
        anchors = [root for root in roots if root != new] + [new]
        write_atomically(self.files.roots, b"".join(map(profiles.pem, anchors)))
        return new

    def finish_root(self, bridge: bool = True) -> x509.Certificate:
        """`bridge`: whoever knows only the old root is led to the new one; leave it out when the old key is in wrong hands."""
        if not self.files.next_root.exists():
            raise Unusable("no new root was introduced: begin with rotate-root begin")
        held, (new_key, new) = self.files.load(check=False), self._next_root()
        if held.issuer.is_root:
            self._keep_former(held.issuer)
            issuer = files.new_issuer(new, new_key)
        else:
            key, name = held.issuer.key, held.issuer.certificate.subject
            issuer = Issuer(key, profiles.issuing(key.public_key(), name, new, new_key))
        if not bridge:
            self.files.links.unlink(missing_ok=True)
        self._sign_root_crl(new, new_key, [], afresh=True)
        self._save_issuer(issuer)
        write_atomically(self.files.roots, profiles.pem(new))
        write_atomically(self.files.root_key, profiles.private_pem(new_key), 0o600)
        self.files.next_root.unlink()
        return new

    def import_ca(self, key_file: Path, chain_file: Path, root_file: Path, password: bytes | None = None) -> Issuer:
        key = files.read_key(key_file, password)
        chain, roots = files.read_certificates(chain_file), files.read_certificates(root_file)
        below = [one for one in chain if one not in roots]
        if len(below) != 1:
            raise Unusable(f"{chain_file.name} must hold one CA below the root: devices check chains of two")
        (certificate,) = below
        if certificate.public_key() != key.public_key():
            raise Unusable(f"{key_file.name} is not the key of {files.name_of(certificate)}")
        for root in roots:
            if not files.signed_by(root, root):
                raise Unusable(f"{files.name_of(root)} in {root_file.name} is no root")
        issuer = Issuer(key, certificate)
        for one in (certificate, *roots):
            files.check_devices_verify(one)
        files.check_issuer(issuer, roots)
        if self._state.database.exists():
            held = self.files.load()
            if not set(roots) & set(held.roots):
                raise Unusable(
                    "devices of this server trust another root and would be lost: import before its first start"
                )
            roots = held.roots
            self._keep_former(held.issuer)
        else:
            for path in (self.files.root_key, self.files.root_crl, self.files.links, self.files.next_root):
                path.unlink(missing_ok=True)
            write_atomically(self.files.roots, b"".join(map(profiles.pem, roots)))
        self._save_issuer(issuer)
        return issuer

    # The root's key

    def export_root_key(self) -> profiles.Key:
        return files.read_key(self.files.root_key)

    def remove_root_key(self, copy: Path, password: bytes | None) -> None:
        """Only where the server can do without it, and where the copy holds the same key."""
        key = files.read_key(self.files.root_key)
        if files.read_key(copy, password).private_numbers() != key.private_numbers():
            raise Unusable(f"{copy.name} holds another key")
        if not self.files.issuing.exists():
            raise Unusable("the root issues by itself here: the server needs its key")
        self.files.root_key.unlink()

    # Inside

    def _root(self) -> tuple[x509.Certificate, profiles.Key]:
        """The root in ca.pem whose key is here."""
        if not self._root_key.exists():
            raise Unusable(f"the root's key is needed, and {self._root_key.name} is not here: name its file")
        key = files.read_key(self._root_key, self._password)
        for root in files.read_certificates(self.files.roots):
            if root.public_key() == key.public_key():
                return root, key
        raise Unusable(f"{self._root_key.name} is the key of no root in ca.pem")

    def _next_root(self) -> tuple[profiles.Key, x509.Certificate]:
        key, certificate = files.read_key(self.files.next_root), files.read_certificates(self.files.next_root)[0]
        if certificate.public_key() != key.public_key():
            raise Unusable("key and certificate in next-root.pem do not belong together")
        return key, certificate

    def _save_issuer(self, issuer: Issuer) -> None:
        write_atomically(self.files.issuing, issuer.pem(), 0o600)

    def _keep_former(self, issuer: Issuer) -> None:
        self.files.former.mkdir(mode=0o700, exist_ok=True)
        write_atomically(self.files.former / f"{issuer.id}.pem", issuer.pem(), 0o600)

    def _sign_root_crl(
        self, root: x509.Certificate, key: profiles.Key, more: list[lists.Revoked], afresh: bool = False
    ) -> None:
        before = None if afresh else self.files.read_root_crl()
        number, entries = 1, list(more)
        if before is not None:
            number = before.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number + 1
            entries = lists.entries(before) + entries
        self.files.save_root_crl(root, key, entries, number)


def open_ca(state: State, two_tiers: bool | None) -> files.Holdings:
    """At a start.  StartError when what is there does not belong together, or something is missing beside a database."""
    try:
        if not state.database.exists():  # else another CA would lock out every device
            Files(state).make_missing(two_tiers)
        _renew_if_due(state)
        return Files(state).load()
    except Unusable as error:
        raise StartError(
            EXIT_CONFIG,
            f"the CA in {state.path} cannot be used",
            str(error),
            "Restore it from a backup; an issuing CA that has ended is signed anew by: trueboot ca renew.",
        ) from error


def _renew_if_due(state: State) -> None:
    """Where the root's key is here: what has lived half of its life is signed anew."""
    ceremony = Ceremony(state)
    if not (ceremony.files.root_key.exists() and ceremony.files.issuing.exists()):
        return
    issuing, crl = ceremony.files.load(check=False).issuer.certificate, ceremony.files.read_root_crl()
    half = issuing.not_valid_before_utc + (issuing.not_valid_after_utc - issuing.not_valid_before_utc) / 2
    now = datetime.now(UTC)
    fresh = crl is not None and crl.next_update_utc is not None and crl.next_update_utc - now > files.ROOT_CRL_LIFE / 2
    if half < now or not fresh:
        ceremony.renew()
