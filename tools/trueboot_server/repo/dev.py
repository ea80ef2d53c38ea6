# SPDX-License-Identifier: MIT
"""Keys of the repository: made for --dev, kept away otherwise.

Under --dev root and targets keys are made in STATE/dev-keys, so that one command is enough to try things.
Without it they belong to the developer: the server refuses to start where it finds one, since a server that
can sign releases is worth breaking into.
"""

from __future__ import annotations

from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Targets

from ..errors import EXIT_CONFIG, StartError
from ..state import State, write_atomically
from . import signing
from .repository import Repository

_MAX_KEY_FILE_BYTES = 64 * 1024


def online_signer(state: State) -> CryptoSigner:
    """The key of snapshot and timestamp; its public half is left at STATE/online.pub."""
    path = state.private / "online.pem"
    signer = _load_or_make(path)
    write_atomically(state.path / "online.pub", signing.public_pem(signer))
    return signer


def open_repository(state: State, dev: bool) -> Repository:
    online = online_signer(state)
    repository = Repository(state.repo, online)
    if dev:
        _make_first_metadata(state, repository, online)
    repository.load()
    if not dev:
        refuse_private_keys(state, repository)
    if dev and repository.version() == 0:
        flat = Metadata(Targets(1, signing.SPEC_VERSION, signing.in_future(signing.TARGETS_LIFE)))
        data = signing.sign(flat, [signing.load_signer(state.dev_keys / "targets.pem")])
        repository.publish(repository.check(data), data)
    repository.keep_fresh()
    return repository


def refuse_private_keys(state: State, repository: Repository) -> None:
    """StartError when a root or targets key lies anywhere in the state folder."""
    roles = repository.root.signed.roles
    forbidden = {keyid for name in ("root", "targets") for keyid in roles[name].keyids}
    for path in sorted(state.path.rglob("*")):
        if path.is_relative_to(repository.targets) or not path.is_file() or path.stat().st_size > _MAX_KEY_FILE_BYTES:
            continue
        if path.parent == state.dev_keys or _key_id(path) in forbidden:
            raise StartError(
                EXIT_CONFIG,
                f"{path} must not be here",
                "it is a private key of the root or targets role, and this server is not started with --dev",
                "Move it to the machine where releases are signed.",
            )


def _make_first_metadata(state: State, repository: Repository, online: CryptoSigner) -> None:
    if repository.root_file.exists():
        return
    state.dev_keys.mkdir(mode=0o700, exist_ok=True)
    root, targets = (_load_or_make(state.dev_keys / f"{name}.pem") for name in ("root", "targets"))
    data = signing.new_root([root], [targets.public_key], online.public_key)
    write_atomically(repository.root_file, data)


def _load_or_make(path: Path) -> CryptoSigner:
    if not path.exists():
        write_atomically(path, CryptoSigner.generate_ecdsa().private_bytes, 0o600)
    try:
        return signing.load_signer(path)
    except signing.SigningError as error:
        raise StartError(EXIT_CONFIG, "a key cannot be used", str(error), "Restore it from a backup.") from error


def _key_id(path: Path) -> str | None:
    try:
        if b"PRIVATE KEY" not in path.read_bytes():
            return None
        return signing.load_signer(path).public_key.keyid
    except (signing.SigningError, OSError):
        return None
