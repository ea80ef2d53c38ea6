# SPDX-License-Identifier: MIT
"""Opening the repository: keys and first metadata made for --dev, private keys kept away otherwise.

Under --dev root, targets and release keys are made in STATE/dev-keys, so that one command is enough to try things.
Without it they belong to the developer: the server refuses to start where it finds one, since a server that
can sign releases is worth breaking into.
"""

from __future__ import annotations

from pathlib import Path

from ..clock import Clock, now_ms
from ..errors import EXIT_CONFIG, StartError
from ..state import State, write_atomically
from . import signing
from .online import OnlineKeys, load_or_make
from .repository import Repository

_MAX_KEY_FILE_BYTES = 64 * 1024


def open_repository(state: State, dev: bool, clock: Clock = now_ms) -> Repository:
    keys = OnlineKeys(state)
    repository = Repository(state.repo, keys, clock)
    if dev:
        _make_first_root(state, repository)
    repository.load()
    if not dev:
        refuse_private_keys(state, repository)
    elif not repository.published.version("targets"):
        targets, release = (signing.load_signer(state.dev_keys / f"{name}.pem") for name in ("targets", "release"))
        repository.publish({"1.targets.json": signing.new_targets([targets], [release.public_key])})
    return repository


def refuse_private_keys(state: State, repository: Repository) -> None:
    """StartError when a key of root, targets or a delegated role lies anywhere in the state folder."""
    forbidden = _offline_keys(repository)
    for path in sorted(state.path.rglob("*")):
        if path.is_relative_to(repository.targets) or not path.is_file() or path.stat().st_size > _MAX_KEY_FILE_BYTES:
            continue
        if path.parent == state.dev_keys or _is_one_of(path, forbidden):
            raise StartError(
                EXIT_CONFIG,
                f"{path} must not be here",
                "it is a private key that signs root, targets or releases, and this server is not started with --dev",
                "Move it to the machine where releases are signed.",
            )


def _offline_keys(repository: Repository) -> set[str]:
    published = repository.published
    keyids = {keyid for name in ("root", "targets") for keyid in published.root.signed.roles[name].keyids}
    targets = published.roles.get("targets")
    if targets is not None and targets.signed.delegations is not None:
        keyids |= set(targets.signed.delegations.keys)
    return keyids


def _is_one_of(path: Path, keyids: set[str]) -> bool:
    try:
        data = path.read_bytes()
        if b"PRIVATE KEY" not in data:
            return False
        # This server encrypts no key of its own, and what an encrypted one signs cannot be seen.
        return signing.is_encrypted(data) or signing.load_signer(path).public_key.keyid in keyids
    except (signing.SigningError, OSError):
        return False


def _make_first_root(state: State, repository: Repository) -> None:
    state.dev_keys.mkdir(mode=0o700, exist_ok=True)
    root, targets, _ = (load_or_make(state.dev_keys / f"{name}.pem") for name in ("root", "targets", "release"))
    if not repository.root_file.exists():
        online = signing.load_public(repository.keys.public_file)
        write_atomically(repository.root_file, signing.new_root([root], [targets.public_key], online))
