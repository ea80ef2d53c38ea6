# SPDX-License-Identifier: MIT
"""The repository as it lies on disk, read and verified at the start.

`timestamp.json` says what counts: it names the snapshot, that names the roles, and its `trueboot.root` the newest root.
Anything newer was left by a cut.  One exception: when that root names no online key of this server, a root put there by
hand that does name one is taken, if the rest holds under it.  That is the way back for a server that lost its key.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tuf.api.exceptions import LengthOrHashMismatchError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from ..errors import EXIT_CONFIG, StartError
from . import signing
from .published import Published, delegates, file_name

_MAX_ROOTS = 1024
_BY_HAND = (
    "Put the right file in its place (root metadata are made offline and name online.pub for snapshot and timestamp)."
)

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)


class Reader:
    def __init__(self, metadata: Path, holds_online_key: Callable[[Root], bool]):
        self._metadata = metadata
        self._holds = holds_online_key

    def read(self) -> Published:
        """StartError when it does not hold together, or when nobody here could sign for it."""
        if not (self._metadata / "timestamp.json").exists():
            root = self._root(_MAX_ROOTS)
            self._demand_key(root)
            return Published(root)
        stamp = self._bytes("timestamp.json")
        timestamp = self._parsed("timestamp.json", stamp, Timestamp)
        number = newest_root(timestamp.signed)
        root = self._root(number or _MAX_ROOTS)
        if number is not None and root.signed.version != number:
            raise self._broken(f"{number}.root.json", "it is missing")
        self._vouched(root.signed, "timestamp", "timestamp.json", timestamp)
        snapshot_meta = timestamp.signed.snapshot_meta
        snapshot = self._linked("snapshot", snapshot_meta, Snapshot)
        self._vouched(root.signed, "snapshot", file_name(snapshot_meta.version, "snapshot"), snapshot)
        if not self._holds(root.signed):
            root = self._root(_MAX_ROOTS)  # one put there by hand, or nothing can be done
            self._demand_key(root)
        return Published(root, self._roles(root, snapshot), snapshot, timestamp, stamp)

    def _root(self, newest: int) -> Metadata[Root]:
        """The end of the chain, at most this version."""
        last: Metadata[Root] | None = None
        for version in range(1, newest + 1):
            name = file_name(version, "root")
            if not (self._metadata / name).exists():
                break
            root = self._parsed(name, self._bytes(name), Root)
            for verifier in (last or root, root):
                self._vouched(verifier.signed, "root", name, root)
            if root.signed.version != version:
                raise self._broken(name, "its version is another")
            last = root
        if last is None:
            raise self._broken("1.root.json", "it is missing")
        return last

    def _roles(self, root: Metadata[Root], snapshot: Metadata[Snapshot]) -> dict[str, Metadata[Targets]]:
        roles = {}
        for listed, meta in snapshot.signed.meta.items():
            role = listed.removesuffix(".json")
            roles[role] = self._linked(role, meta, Targets)
        if "targets" not in roles:
            raise self._broken(file_name(snapshot.signed.version, "snapshot"), "it does not list targets.json")
        for role, metadata in roles.items():
            name = file_name(metadata.signed.version, role)
            if role == "targets":
                self._vouched(root.signed, role, name, metadata)
            elif delegates(roles, role):
                self._vouched(roles["targets"].signed, role, name, metadata)
        return roles

    def _demand_key(self, root: Metadata[Root]) -> None:
        if not self._holds(root.signed):
            following = self._metadata / file_name(root.signed.version + 1, "root")
            raise StartError(
                EXIT_CONFIG,
                f"the repository's {self._metadata / file_name(root.signed.version, 'root')} names another online key",
                "snapshot and timestamp would not be signed by STATE/private/online.pem alone",
                f"Restore that key from a backup; or sign a root that names STATE/online.pub, and put it at {following}.",
            )

    def _linked(self, role: str, meta: MetaFile, kind: type[T]) -> Metadata[T]:
        name = file_name(meta.version, role)
        data = self._bytes(name)
        try:
            meta.verify_length_and_hashes(data)
        except LengthOrHashMismatchError as error:
            raise self._broken(name, "it is not the file that was published") from error
        metadata = self._parsed(name, data, kind)
        if metadata.signed.version != meta.version:
            raise self._broken(name, "its version is another")
        return metadata

    def _vouched(self, delegator: Root | Targets, role: str, name: str, metadata: Metadata[Any]) -> None:
        try:
            delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        except (UnsignedMetadataError, ValueError) as error:
            raise self._broken(name, "its signatures do not meet the threshold") from error

    def _parsed(self, name: str, data: bytes, kind: type[T]) -> Metadata[T]:
        try:
            return signing.read(data, kind)
        except signing.SigningError as error:
            raise self._broken(name, "it cannot be read as metadata of its role") from error

    def _bytes(self, name: str) -> bytes:
        try:
            return (self._metadata / name).read_bytes()
        except OSError as error:
            raise self._broken(name, error.strerror or "it cannot be read") from error

    def _broken(self, name: str, why: str) -> StartError:
        return StartError(EXIT_CONFIG, f"the repository's {self._metadata / name} cannot be used", why, _BY_HAND)


def newest_root(timestamp: Timestamp) -> int | None:
    """What `trueboot.root` of a timestamp says; None where it is missing."""
    member = timestamp.unrecognized_fields.get("trueboot")
    number = member.get("root") if isinstance(member, dict) else None
    return number if type(number) is int else None
