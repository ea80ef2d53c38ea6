# SPDX-License-Identifier: MIT
"""Length and hash of a file, as signed metadata announce them, checked while the file streams by.

SHA-256 is preferred, then SHA-512; a file with neither cannot be checked and
is refused (TUF specification 1.0.x, 4.5 and 5.7).
"""

import hashlib
from binascii import hexlify

from agent.errors import RefusedError


def chosen(hashes):
    """(name, hexadecimal digest) of the hash that is checked.  RefusedError("metadata_field")."""
    if isinstance(hashes, dict):
        for name in ("sha256", "sha512"):
            if isinstance(hashes.get(name), str):
                return name, hashes[name]
    raise RefusedError("metadata_field", "no hash that can be checked")


class Artifact:
    """`entry`: {"length", "hashes"} of a target.  Codes: `code` + "_length", `code` + "_hash"."""

    def __init__(self, entry, code="image"):
        name, self._want = chosen(entry["hashes"])
        self._left = entry.get("length")
        self._code = code
        if name == "sha256":
            self._hasher = hashlib.sha256()
        else:
            from agent.crypto import sha512  # only when it is met

            self._hasher = sha512.new()

    def update(self, piece):
        """RefusedError as soon as there is more than was announced."""
        if self._left is not None:
            self._left -= len(piece)
            if self._left < 0:
                self._refuse("_length", "more bytes than announced")
        self._hasher.update(piece)

    def finish(self):
        """RefusedError unless these were exactly the announced bytes."""
        if self._left:
            self._refuse("_length", "%d bytes fewer than announced" % self._left)
        if hexlify(self._hasher.digest()).decode() != self._want:
            self._refuse("_hash", "not the announced bytes")

    def _refuse(self, what, detail):
        raise RefusedError(self._code + what, detail)


def agrees(entry, data):
    """Whether length and hash of a whole file are those announced, as far as they are (metadata files: TUF 4.4)."""
    if entry.get("length", len(data)) != len(data):
        return False
    if "hashes" not in entry:
        return True
    try:
        artifact = Artifact(entry)
        artifact.update(data)
        artifact.finish()
    except RefusedError:
        return False
    return True
