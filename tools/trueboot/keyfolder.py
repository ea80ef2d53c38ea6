# SPDX-License-Identifier: MIT
"""The folder of signing keys: which keys are here, and what was seen of the repository.

    keys.json            role -> references to keys, each {"uri", "keyid"}
    *.pem                private keys (0600); any of them may be kept elsewhere and brought with --key
    1.root.json          the first root: what devices are given
    1.targets.json       the first targets metadata, published with the first release
    staged/              what is made and not yet published (see `staging`)
    seen/                the newest published metadata that were verified here (see `published`)

A reference is a URI, `file:NAME` relative to the folder.  Other schemes (hardware keys) are for later: one that is not
known is an error that names those that are.  A folder without keys.json (that of a --dev server) is its *.pem files.
What a key may sign is said by the metadata alone; the roles in keys.json are for people.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

from .keyfiles import Passwords, make, write_new
from .problem import Problem

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

ROLES = ("root", "targets", "release")
SCHEMES = ("file",)
_FORMAT = 1


class Reference(NamedTuple):
    role: str
    uri: str
    keyid: str


class KeyFolder:
    """Opened for reading; `--key` files are `extra` keys beside those of the folder."""

    def __init__(self, path: Path, passwords: Passwords | None = None, extra: Iterable[Path] = ()):
        self.path = path
        self.passwords = passwords or Passwords()
        self._extra = list(extra)
        self._opened: dict[Path, CryptoSigner] = {}
        if not path.is_dir():
            raise Problem("keys_missing", f"There is no folder of keys at {path}.")
        self.references = self._read()

    @property
    def staged(self) -> Path:
        return self.path / "staged"

    @property
    def seen(self) -> Path:
        return self.path / "seen"

    def signers(self, keyids: Iterable[str]) -> list[CryptoSigner]:
        """Of these keys, those whose private halves are here; opens no other."""
        wanted = set(keyids)
        found: dict[str, CryptoSigner] = {}
        for reference in self.references:
            if reference.keyid in wanted and reference.keyid not in found:
                path = self.file_of(reference)
                if path.is_file():
                    signer = self._open(path)
                    if signer.public_key.keyid != reference.keyid:
                        raise Problem("key_unusable", why=f"{path} is not the key that keys.json names")
                    found[reference.keyid] = signer
        for path in [*self._extra, *self._unlisted()]:
            signer = self._open(path)
            if signer.public_key.keyid in wanted:
                found.setdefault(signer.public_key.keyid, signer)
        return list(found.values())

    def file_of(self, reference: Reference) -> Path:
        """Problem for a reference of a scheme that is not known."""
        scheme, colon, rest = reference.uri.partition(":")
        if not colon or scheme not in SCHEMES:
            raise Problem(
                "key_scheme",
                f"{reference.uri}: keys of this scheme cannot be used.",
                todo=f"Supported: {', '.join(f'{name}:' for name in SCHEMES)}. Correct {self.path / 'keys.json'}.",
            )
        return self.path / unquote(rest.removeprefix("//"))

    def known(self) -> list[Reference]:
        """All references; those of a folder without keys.json are made up from its files."""
        listed = {self.file_of(reference) for reference in self.references if reference.uri.startswith("file:")}
        made = [
            Reference(path.stem, f"file:{quote(path.name)}", self._open(path).public_key.keyid)
            for path in self._unlisted()
            if path not in listed
        ]
        return [*self.references, *made]

    def make(self, role: str, key_type: str, password: bytes | None) -> CryptoSigner:
        """A new key of our own, in a new file; known to keys.json before anything may name it."""
        number = 1
        while (path := self.path / (f"{role}.pem" if number == 1 else f"{role}-{number}.pem")).exists():
            number += 1
        before = self.known()
        signer = make(path, key_type, password)
        self._opened[path] = signer
        self.references = [*before, Reference(role, f"file:{quote(path.name)}", signer.public_key.keyid)]
        self._write()
        return signer

    def read(self, name: str) -> bytes | None:
        return read_if_there(self.path / name)

    def _open(self, path: Path) -> CryptoSigner:
        if path not in self._opened:
            self._opened[path] = self.passwords.open(path)
        return self._opened[path]

    def _unlisted(self) -> list[Path]:
        """Private keys of a folder without keys.json."""
        if self.references:
            return []
        return [path for path in sorted(self.path.glob("*.pem")) if b"PRIVATE KEY" in (read_if_there(path) or b"")]

    def _read(self) -> list[Reference]:
        path = self.path / "keys.json"
        data = read_if_there(path)
        if data is None:
            return []
        try:
            document = json.loads(data)
            if document["format"] != _FORMAT:
                raise ValueError(f"its format is {document['format']!r}, not {_FORMAT}")
            return [
                Reference(str(role), str(key["uri"]), str(key["keyid"]))
                for role, keys in document["roles"].items()
                for key in keys
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise Problem("file_unusable", f"{path} is damaged.", reason, "Restore it from a backup.") from None

    def _write(self) -> None:
        write_new(self.path / "keys.json", table_of(self.references), 0o600, force=True)


def table_of(references: Iterable[Reference]) -> bytes:
    roles: dict[str, list[dict[str, Any]]] = {}
    for reference in references:
        roles.setdefault(reference.role, []).append({"uri": reference.uri, "keyid": reference.keyid})
    return (json.dumps({"format": _FORMAT, "roles": roles}, indent=2) + "\n").encode()


def find_folder(named: Path | None, server_keys: str = "") -> Path:
    """--keys, TRUEBOOT_KEYS, the folder of a --dev server, ./keys."""
    import os

    chosen = named or Path(os.environ.get("TRUEBOOT_KEYS") or server_keys or "keys")
    if not chosen.is_dir():
        what = f"There is no folder of keys at {chosen}." if named else "It is not known where the signing keys are."
        raise Problem("keys_missing", what)
    return chosen


def read_if_there(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Problem("file_unusable", f"{path} cannot be read.", error.strerror or str(error)) from None
