# SPDX-License-Identifier: MIT
"""The online key, which signs snapshot and timestamp, and how another takes its place.

    STATE/private/online.pem        the key in use          STATE/online.pub        its public half, for root metadata
    STATE/private/online-next.pem   the next one, if any    STATE/online-next.pub

A replacement is made here and waits.  Once a root that names it is published, it signs that very publication, and then
takes the old key's place; a cut in between is made good at the next start, because the root says which key counts.
"""

from __future__ import annotations

import os
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root

from ..errors import EXIT_CONFIG, StartError
from ..state import State, sync_folder, write_atomically
from . import signing


class OnlineKeys:
    def __init__(self, state: State):
        self._file = state.private / "online.pem"
        self._next_file = state.private / "online-next.pem"
        self.public_file = state.path / "online.pub"
        self._next_public_file = state.path / "online-next.pub"
        self._signer = load_or_make(self._file)
        write_atomically(self.public_file, signing.public_pem(self._signer))
        self._next = load_or_make(self._next_file) if self._next_file.exists() else None
        if self._next is None:
            self._next_public_file.unlink(missing_ok=True)

    def signer_for(self, root: Root) -> CryptoSigner | None:
        """The key of ours that this root names, alone sufficient for snapshot and timestamp."""
        for signer in (self._signer, self._next):
            if signer is not None and _named(root, signer):
                return signer
        return None

    def make_next(self) -> tuple[str, bytes]:
        """(key id, public PEM) of the key that is to follow.  The same one until a root that names it is published."""
        if self._next is None:
            self._next = load_or_make(self._next_file)
        public = signing.public_pem(self._next)
        write_atomically(self._next_public_file, public)
        return self._next.public_key.keyid, public

    def settle(self, root: Root) -> bool:
        """After `root` was published: the next key takes over when the root names it and not the one in use."""
        if self._next is None or _named(root, self._signer) or not _named(root, self._next):
            return False
        os.replace(self._next_file, self._file)
        sync_folder(self._file.parent)
        self._signer, self._next = self._next, None
        write_atomically(self.public_file, signing.public_pem(self._signer))
        self._next_public_file.unlink(missing_ok=True)
        return True


def load_or_make(path: Path) -> CryptoSigner:
    if not path.exists():
        write_atomically(path, CryptoSigner.generate_ecdsa().private_bytes, 0o600)
    try:
        return signing.load_signer(path)
    except signing.SigningError as error:
        raise StartError(EXIT_CONFIG, "a key cannot be used", str(error), "Restore it from a backup.") from error


def _named(root: Root, signer: CryptoSigner) -> bool:
    roles = [root.roles[name] for name in ("snapshot", "timestamp")]
    return all(signer.public_key.keyid in role.keyids and role.threshold == 1 for role in roles)
