# SPDX-License-Identifier: MIT
"""The state folder: who holds it, what lies in it, and how a file gets there whole.

    STATE/lock              held (flock) for as long as the server lives
    STATE/server.db         the database
    STATE/operator.json     addresses and secrets for the operator's tools (0600)
    STATE/ca.pem            the CA's root, for everybody; what else is the CA's: see `ca.files`
    STATE/private/          ca-key.pem, issuing.pem, server.pem, server-key.pem, online.pem, online-next.pem (0600)
    STATE/ek-roots/         certificates of TPM makers that attestation trusts, PEM
    STATE/repo/             the TUF repository
    STATE/encodings/        images as deflate and patches; may be erased at any time
    STATE/packages/         files of packages for devices that speak esthesis, by their SHA-256
    STATE/dev-keys/         root, targets and release keys, under --dev only

`flock` dies with the process, so a kill -9 leaves no stale lock.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

from .errors import EXIT_CANNOT_CREATE, EXIT_TRY_AGAIN, StartError


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """All or nothing, durable when it returns; a reader sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make a rename in `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class State:
    """A state folder that this process holds alone."""

    def __init__(self, path: Path):
        self.path = path.absolute()
        self.database = self.path / "server.db"
        self.operator = self.path / "operator.json"
        self.ca = self.path / "ca.pem"
        self.private = self.path / "private"
        self.packages = self.path / "packages"
        self.ek_roots = self.path / "ek-roots"
        self.repo = self.path / "repo"
        self.encodings = self.path / "encodings"
        self.dev_keys = self.path / "dev-keys"
        self._lock = -1

    def open(self) -> None:
        """Make the folder if need be, and lock it.  StartError when somebody else has it or it cannot be written."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.private.mkdir(mode=0o700, exist_ok=True)
            self.packages.mkdir(mode=0o700, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(
                EXIT_CANNOT_CREATE,
                f"cannot write the state folder {self.path}",
                error.strerror or str(error),
                "Choose another folder with --state, or make this one writable for the user who runs the server.",
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise StartError(
                EXIT_TRY_AGAIN,
                f"the state folder {self.path} is in use",
                "another server runs on it",
                "Stop that one, or give this one its own folder with --state.",
            ) from error
        self._drop_leftovers()

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _drop_leftovers(self) -> None:
        # Temporary files of a server that was killed while writing.
        for folder in (self.path, self.private, self.dev_keys):
            for leftover in folder.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)
