# SPDX-License-Identifier: MIT
"""The repository on disk: verifies what is handed in, publishes it all or not at all, keeps it fresh.

The server holds the online roles only (snapshot, timestamp).  Targets metadata come from outside, signed;
they are checked against the root as a client would, their files are hashed again, and the received bytes are
stored verbatim.  `timestamp.json` is the commit point: versioned files are written before it, and whatever a
cut leaves behind is not referred to by anything.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from securesystemslib.signer import Signer
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from ..errors import EXIT_CONFIG, ApiError, StartError
from ..state import sync_folder, write_atomically
from . import signing
from .paths import BadTarget, check_custom, stored_name

SNAPSHOT_LIFE = timedelta(days=30)
TIMESTAMP_LIFE = timedelta(days=2)
_MAX_ROOTS = 1024
_MAX_DIGITS = 9

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)


class Repository:
    def __init__(self, folder: Path, online: Signer):
        self.metadata = folder / "metadata"
        self.targets = folder / "targets"
        self.incoming = folder / "incoming"
        self._online = online
        self._root: Metadata[Root] | None = None
        self._snapshot: Metadata[Snapshot] | None = None
        self._timestamp: Metadata[Timestamp] | None = None
        self._targets: Metadata[Targets] | None = None
        self._served: dict[str, Path] = {}
        for path in (self.metadata, self.targets, self.incoming):
            path.mkdir(parents=True, exist_ok=True)
        for leftover in [*self.incoming.iterdir(), *self.metadata.glob(".*.tmp")]:
            leftover.unlink()

    def load(self) -> None:
        """Read and verify what is on disk.  StartError when it does not hold together."""
        self._root = self._load_root()
        self._check_online_roles()
        if not (self.metadata / "timestamp.json").exists():
            return
        self._timestamp = self._verified("timestamp.json", Timestamp)
        version = self._timestamp.signed.snapshot_meta.version
        self._snapshot = self._verified(f"{version}.snapshot.json", Snapshot)
        version = self._snapshot.signed.meta["targets.json"].version
        self._serve(self._verified(f"{version}.targets.json", Targets))

    @property
    def root(self) -> Metadata[Root]:
        if self._root is None:
            raise RuntimeError("the repository is not loaded")
        return self._root

    @property
    def root_file(self) -> Path:
        return self.metadata / "1.root.json"

    def version(self) -> int:
        """Of the published targets metadata; 0 when nothing is published."""
        return self._targets.signed.version if self._targets else 0

    def current_bytes(self) -> bytes | None:
        """The published targets metadata, verbatim."""
        return (self.metadata / f"{self.version()}.targets.json").read_bytes() if self._targets else None

    def files(self) -> dict[str, TargetFile]:
        return dict(self._targets.signed.targets) if self._targets else {}

    def metadata_file(self, name: str) -> Path | None:
        """The file behind a name that a client may ask for."""
        number, _, role = name.partition(".")
        numbered = number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS
        known = name == "timestamp.json" or (numbered and role in ("root.json", "snapshot.json", "targets.json"))
        path = self.metadata / name
        return path if known and path.is_file() else None

    def target_file(self, stored: str) -> Path | None:
        """A published target by its stored name; what is uploaded and not signed for is not served."""
        path = self._served.get(stored)
        return path if path is not None and path.is_file() else None

    def check(self, data: bytes) -> Metadata[Targets]:
        """Targets metadata that may be published next; ApiError says why not.  Reads and hashes files: run it in a thread."""
        try:
            metadata = signing.read_targets(data)
        except signing.SigningError as error:
            raise ApiError(400, "metadata_unreadable", str(error)) from error
        if signing.to_bytes(metadata) != data or json.loads(data) != metadata.to_dict():
            raise ApiError(
                400,
                "metadata_form",
                "the metadata are not compact JSON with sorted keys",
                "Write them with trueboot's signing tools.",
            )
        try:
            self.root.signed.verify_delegate("targets", metadata.signed_bytes, metadata.signatures)
        except (UnsignedMetadataError, ValueError) as error:
            raise ApiError(
                403,
                "metadata_untrusted",
                "the root's threshold of targets signatures is not met",
                "Sign with the keys that root.json names.",
            ) from error
        if metadata.signed.version <= self.version():
            raise ApiError(
                409,
                "metadata_version",
                f"version {metadata.signed.version} does not follow {self.version()}",
                "Fetch the newest targets metadata first.",
            )
        if metadata.signed.is_expired():
            raise ApiError(400, "metadata_expired", "the metadata have expired")
        if self.root.signed.is_expired():
            raise ApiError(409, "root_expired", "the root metadata have expired", "Publish a new root first.")
        if metadata.signed.delegations is not None:
            raise ApiError(400, "metadata_delegations", "delegations are not supported yet")
        for path, file in metadata.signed.targets.items():
            self._check_file(path, file)
        return metadata

    def publish(self, metadata: Metadata[Targets], data: bytes) -> None:
        """Make checked metadata the current ones."""
        if metadata.signed.version <= self.version():
            raise ApiError(409, "metadata_version", "another version was published meanwhile")
        write_atomically(self.metadata / f"{metadata.signed.version}.targets.json", data)
        self._write_online(MetaFile(metadata.signed.version, len(data), {"sha256": hashlib.sha256(data).hexdigest()}))
        self._serve(metadata)

    def keep_fresh(self) -> bool:
        """Sign snapshot and timestamp again when the timestamp has used up half its life."""
        if self._timestamp is None or self._snapshot is None:
            return False
        if self._timestamp.signed.expires - datetime.now(UTC) > TIMESTAMP_LIFE / 2:
            return False
        self._write_online(self._snapshot.signed.meta["targets.json"])
        return True

    def accept_file(self, uploaded: Path, path: str, sha256: str) -> None:
        """Put a complete, durable upload where its metadata will look for it."""
        place = self.targets / stored_name(path, sha256)
        place.parent.mkdir(parents=True, exist_ok=True)
        uploaded.replace(place)
        sync_folder(place.parent)

    # Inside

    def _serve(self, metadata: Metadata[Targets]) -> None:
        names = [stored_name(path, file.hashes["sha256"]) for path, file in metadata.signed.targets.items()]
        self._served = {name: self.targets / name for name in names}
        self._targets = metadata

    def _write_online(self, targets: MetaFile) -> None:
        number = self._snapshot.signed.version + 1 if self._snapshot else 1
        snapshot = Metadata(
            Snapshot(number, signing.SPEC_VERSION, signing.in_future(SNAPSHOT_LIFE), {"targets.json": targets})
        )
        data = signing.sign(snapshot, [self._online])
        file = MetaFile(number, len(data), {"sha256": hashlib.sha256(data).hexdigest()})
        stamp = self._timestamp.signed.version + 1 if self._timestamp else 1
        timestamp = Metadata(Timestamp(stamp, signing.SPEC_VERSION, signing.in_future(TIMESTAMP_LIFE), file))
        stamped = signing.sign(timestamp, [self._online])
        write_atomically(self.metadata / f"{number}.snapshot.json", data)
        write_atomically(self.metadata / "timestamp.json", stamped)
        self._snapshot, self._timestamp = snapshot, timestamp

    def _check_file(self, path: str, file: TargetFile) -> None:
        try:
            check_custom(path, file.length, file.unrecognized_fields.get("custom"))
        except BadTarget as error:
            raise ApiError(400, "target_rules", str(error)) from error
        sha256 = file.hashes.get("sha256", "")
        if self._targets is not None and self._targets.signed.targets.get(path) == file:
            return  # published before, and hashed then
        if len(sha256) != 64 or not all(digit in "0123456789abcdef" for digit in sha256):
            raise ApiError(400, "target_rules", f"{path}: hashes.sha256 is missing")
        stored = self.targets / stored_name(path, sha256)
        if not stored.is_file():
            raise ApiError(409, "target_missing", f"{path} was not uploaded", "PUT the file first.")
        with stored.open("rb") as content:
            actual = hashlib.file_digest(content, "sha256").hexdigest()
        if stored.stat().st_size != file.length or actual != sha256:
            raise ApiError(409, "target_differs", f"{path} is not the file that the metadata describe", "PUT it again.")

    def _load_root(self) -> Metadata[Root]:
        current: Metadata[Root] | None = None
        for version in range(1, _MAX_ROOTS):
            path = self.metadata / f"{version}.root.json"
            if not path.exists():
                break
            root = self._parsed(path.name, Root)
            try:
                for verifier in (current or root, root):
                    verifier.signed.verify_delegate("root", root.signed_bytes, root.signatures)
            except (UnsignedMetadataError, ValueError) as error:
                raise self._broken(path.name, "its signatures do not meet the threshold") from error
            if root.signed.version != version:
                raise self._broken(path.name, "its version is another")
            current = root
        if current is None:
            raise self._broken("1.root.json", "it is missing")
        return current

    def _check_online_roles(self) -> None:
        keyid = self._online.public_key.keyid
        for name in ("snapshot", "timestamp"):
            role = self.root.signed.roles[name]
            if keyid not in role.keyids or role.threshold != 1:
                raise self._broken("root.json", f"its role {name} is not signed by this server's online key alone")

    def _verified(self, name: str, kind: type[T]) -> Metadata[T]:
        metadata = self._parsed(name, kind)
        try:
            self.root.signed.verify_delegate(kind.type, metadata.signed_bytes, metadata.signatures)
        except (UnsignedMetadataError, ValueError) as error:
            raise self._broken(name, "its signatures do not meet the threshold") from error
        return metadata

    def _parsed(self, name: str, kind: type[T]) -> Metadata[T]:
        try:
            metadata: Metadata[Any] = Metadata.from_bytes((self.metadata / name).read_bytes())
        except (DeserializationError, OSError) as error:
            raise self._broken(name, "it cannot be read") from error
        if metadata.signed.type != kind.type:
            raise self._broken(name, "it is metadata of another role")
        return metadata

    def _broken(self, name: str, why: str) -> StartError:
        return StartError(
            EXIT_CONFIG,
            f"the repository's {self.metadata / name} cannot be used",
            why,
            "Put the right file in its place (root metadata are made offline and name online.pub for snapshot and timestamp).",
        )
