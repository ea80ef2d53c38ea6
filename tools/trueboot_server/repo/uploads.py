# SPDX-License-Identifier: MIT
"""An image on its way in: streamed to a temporary file, hashed and counted while it comes."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path


class TooLong(Exception):
    pass


class Upload:
    """Use as a context manager: without `finish` nothing is left behind."""

    def __init__(self, folder: Path, max_bytes: int):
        self._path = folder / secrets.token_hex(8)
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self.length = 0

    def __enter__(self) -> Upload:
        self._file = self._path.open("xb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        self.length += len(data)
        if self.length > self._max_bytes:
            raise TooLong
        self._hash.update(data)
        self._file.write(data)

    def finish(self, accept: Callable[[Path, str], None]) -> str:
        """Make it durable and hand it to `accept(path, sha256)`; returns the SHA-256 in hex.  Slow: run it in a thread."""
        self._file.flush()
        os.fsync(self._file.fileno())
        sha256 = self._hash.hexdigest()
        accept(self._path, sha256)
        return sha256
