# SPDX-License-Identifier: MIT
"""The repository on disk: publishes what was checked, all of it or nothing, and keeps it fresh.

The server holds the online roles only (snapshot, timestamp).  Everything else comes from outside, signed, and the
received bytes are stored verbatim.  `timestamp.json` is the commit point, of a new root too: all other files are
durable before it is replaced, and whatever a cut leaves behind is newer than what it names, so that it is neither
served nor kept.  Readers see `published`, one value that is replaced as a whole.

Source: TUF specification 1.0, 6.2 (consistent snapshots).  The timestamp's extra member `trueboot` tells when it was
signed and which root is the newest, so that a device with nothing to do needs one request.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from ..clock import Clock, now_ms
from ..errors import StartError
from ..state import sync_folder, write_atomically
from . import signing
from .checking import Publication, Surroundings, check, check_length
from .online import OnlineKeys
from .paths import stored_name
from .published import Published, file_name, parse_file_name
from .reading import Reader, newest_root

SNAPSHOT_LIFE = timedelta(days=30)
TIMESTAMP_LIFE = timedelta(days=2)
KEPT = timedelta(days=1)  # files that nothing names: uploads before they are signed for, and what was withdrawn
WARN_BEFORE = timedelta(days=30)


class _Online(NamedTuple):
    """What the online key has signed."""

    snapshot: Metadata[Snapshot]
    snapshot_data: bytes  # empty when the published one stays
    timestamp: Metadata[Timestamp]
    stamp: bytes


class Repository:
    def __init__(
        self,
        folder: Path,
        keys: OnlineKeys,
        clock: Clock = now_ms,
        chance: Callable[[], float] = random.random,
    ):
        """`chance`: 0 to 1; spreads the moments at which servers sign again."""
        self.metadata = folder / "metadata"
        self.targets = folder / "targets"
        self.incoming = folder / "incoming"
        self.keys = keys
        self._clock = clock
        self._early = 0.5 + 0.1 * chance()
        self._writing = threading.Lock()
        self._published: Published | None = None
        for path in (self.metadata, self.targets, self.incoming):
            path.mkdir(parents=True, exist_ok=True)

    def load(self) -> None:
        """Read and verify what is on disk, and drop what a cut left.  StartError when it does not hold together."""
        self._published = Reader(self.metadata, self._holds).read()
        self.keys.settle(self.published.root.signed)
        for leftover in self.incoming.iterdir():
            leftover.unlink()
        self._drop_leftovers()

    @property
    def published(self) -> Published:
        if self._published is None:
            raise RuntimeError("the repository is not loaded")
        return self._published

    @property
    def root_file(self) -> Path:
        return self.metadata / "1.root.json"

    # For readers

    def metadata_file(self, version: int, role: str) -> Path | None:
        """A numbered file that was published and is still kept."""
        path = self.metadata / file_name(version, role)
        return path if self.published.exists(version, role) and path.is_file() else None

    def target_file(self, stored: str) -> Path | None:
        """A published target by its stored name; what is uploaded and not signed for, or withdrawn, is not served."""
        place = self.published.served.get(stored)
        path = self.targets / place if place else None
        return path if path is not None and path.is_file() else None

    def image_file(self, sha256: str) -> Path | None:
        """A published target by its hash."""
        place = self.published.images.get(sha256)
        path = self.targets / place if place else None
        return path if path is not None and path.is_file() else None

    def kept_file(self, sha256: str) -> Path | None:
        """The same, or one that was withdrawn and is still here.  `sha256` has been checked.  Looks into all folders."""
        return self.image_file(sha256) or next(self.targets.rglob(f"{sha256}.*"), None)

    def expiring(self) -> dict[str, datetime]:
        """The roles that somebody has to sign again within 30 days (the online ones the server signs itself)."""
        limit = self._now() + WARN_BEFORE
        expires = self.published.expires()
        return {role: at for role, at in expires.items() if role not in ("snapshot", "timestamp") and at <= limit}

    def unsigned(self) -> list[tuple[str, int, int]]:
        """(path below `targets`, length, ms since 1970) of images that no published metadata name."""
        named = set(self.published.served.values())
        found = []
        for path in sorted(self.targets.rglob("*")):
            stored = str(path.relative_to(self.targets))
            if stored not in named and path.is_file():
                about = path.stat()
                found.append((stored, about.st_size, about.st_mtime_ns // 1_000_000))
        return found

    # For writers; each may take long: run it in a thread

    def publish(self, files: dict[str, bytes]) -> bool:
        """Check the files together and make them the current ones; False when they were already.  ApiError says why not."""
        with self._writing:
            current = self.published
            news = {name: data for name, data in files.items() if not self._is_published(current, name, data)}
            if not news:
                return False
            around = Surroundings(
                self._now(), self._holds, lambda path, sha256: self.targets / stored_name(path, sha256)
            )
            publication = check(current, news, around)
            try:
                self._write(current, publication)
            except OSError:
                self._recover()
                raise
            self.keys.settle(publication.root.signed)
            self._retire(current)
            return True

    def make_next_online_key(self) -> tuple[str, bytes]:
        with self._writing:
            return self.keys.make_next()

    def keep_fresh(self) -> bool:
        """Sign timestamp, and the snapshot too when it is due, once they have used up some half of their life."""
        if not self._writing.acquire(blocking=False):
            return False  # a publication signs them anyway
        try:
            current = self.published
            if current.timestamp is None or current.snapshot is None:
                return False
            stale = newest_root(current.timestamp.signed) != current.root.signed.version
            renew = stale or self._is_due(current.snapshot.signed.expires, SNAPSHOT_LIFE)
            if not renew and not self._is_due(current.timestamp.signed.expires, TIMESTAMP_LIFE):
                return False
            meta = current.snapshot.signed.meta if renew else None
            self._write_online(self._signed(current, current.root, meta), current.root, current.roles)
            self._retire(current)
            return True
        finally:
            self._writing.release()

    def accept_file(self, uploaded: Path, path: str, sha256: str) -> None:
        """Put a complete, durable upload where its metadata will look for it."""
        place = self.targets / stored_name(path, sha256)
        with self._writing:
            place.parent.mkdir(parents=True, exist_ok=True)
            uploaded.replace(place)
            sync_folder(place.parent)

    def drop_unsigned(self, stored: str) -> bool:
        """Remove one of `unsigned` at once, by its path below `targets`; False when it is none of them (any more)."""
        with self._writing:
            if stored not in (known for known, _, _ in self.unsigned()):
                return False
            path = self.targets / stored
            path.unlink()
            _drop_empty(path.parent, self.targets)
            return True

    def collect(self) -> int:
        """Remove what nothing names for a day: superseded metadata, withdrawn targets, uploads never signed for."""
        if not self._writing.acquire(blocking=False):
            return 0
        try:
            oldest = (self._now() - KEPT).timestamp()
            targets = [path for path in self.targets.rglob("*") if path.is_file()]
            named = set(self.published.served.values())
            unnamed = [path for path in targets if str(path.relative_to(self.targets)) not in named]
            old = [path for path in [*unnamed, *self._superseded()] if path.stat().st_mtime < oldest]
            for path in old:
                path.unlink()
                if path.is_relative_to(self.targets):
                    _drop_empty(path.parent, self.targets)
            return len(old)
        finally:
            self._writing.release()

    # Inside

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock() / 1000, UTC)

    def _holds(self, root: Root) -> bool:
        return self.keys.signer_for(root) is not None

    def _is_due(self, expires: datetime, life: timedelta) -> bool:
        return expires - self._now() <= life * self._early

    def _is_published(self, current: Published, name: str, data: bytes) -> bool:
        found = parse_file_name(name)
        if found is None:
            return False
        version, role = found
        counts = current.exists(version, role) if role == Root.type else current.version(role) == version
        path = self.metadata / file_name(version, role)
        return counts and path.is_file() and path.read_bytes() == data

    def _write(self, current: Published, publication: Publication) -> None:
        meta = dict(current.snapshot.signed.meta) if current.snapshot else {}
        for role, (metadata, data) in publication.changed.items():
            meta[f"{role}.json"] = _meta(metadata.signed.version, data)
        online = self._signed(current, publication.root, meta)
        for root, data in publication.roots:
            write_atomically(self.metadata / file_name(root.signed.version, "root"), data)
        for role, (metadata, data) in publication.changed.items():
            write_atomically(self.metadata / file_name(metadata.signed.version, role), data)
        self._write_online(online, publication.root, publication.roles)

    def _signed(self, current: Published, root: Metadata[Root], meta: dict[str, MetaFile] | None) -> _Online:
        """The next timestamp, and the next snapshot with `meta` unless that is None."""
        signer = self.keys.signer_for(root.signed)
        if signer is None:
            raise RuntimeError("a root without an online key of ours was accepted")
        snapshot, data = current.snapshot, b""
        if meta is not None or snapshot is None or current.timestamp is None:
            number = current.version("snapshot") + 1
            snapshot = Metadata(Snapshot(number, signing.SPEC_VERSION, self._expiry(SNAPSHOT_LIFE), meta or {}))
            data = signing.sign(snapshot, [signer])
            check_length(file_name(number, "snapshot"), "snapshot", len(data))
            file = _meta(number, data)
        else:
            file = current.timestamp.signed.snapshot_meta
        timestamp = self._timestamp(current, root, file)
        return _Online(snapshot, data, timestamp, signing.sign(timestamp, [signer]))

    def _write_online(self, online: _Online, root: Metadata[Root], roles: dict[str, Metadata[Targets]]) -> None:
        if online.snapshot_data:
            name = file_name(online.snapshot.signed.version, "snapshot")
            write_atomically(self.metadata / name, online.snapshot_data)
        write_atomically(self.metadata / "timestamp.json", online.stamp)
        self._published = Published(root, roles, online.snapshot, online.timestamp, online.stamp)

    def _timestamp(self, current: Published, root: Metadata[Root], file: MetaFile) -> Metadata[Timestamp]:
        number = current.timestamp.signed.version + 1 if current.timestamp else 1
        issued = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        extra = {"trueboot": {"issued": issued, "root": root.signed.version}}
        return Metadata(Timestamp(number, signing.SPEC_VERSION, self._expiry(TIMESTAMP_LIFE), file, extra))

    def _expiry(self, life: timedelta) -> datetime:
        return (self._now() + life).replace(microsecond=0)

    def _recover(self) -> None:
        """A write failed: what counts is what the disk says, for the commit point may have been passed."""
        try:
            self._published = Reader(self.metadata, self._holds).read()
            self._drop_leftovers()
        except (StartError, OSError):
            pass  # the disk is in trouble; the last good state is served on, and the next start looks again

    def _drop_leftovers(self) -> None:
        for path in self.metadata.iterdir():
            found = parse_file_name(path.name)
            if path.name.endswith(".tmp") or (found is not None and not self.published.exists(*found)):
                path.unlink()

    def _superseded(self) -> Iterable[Path]:
        for path in self.metadata.iterdir():
            found = parse_file_name(path.name)
            if found is not None and found[1] != Root.type and found[0] < self.published.version(found[1]):
                yield path

    def _retire(self, before: Published) -> None:
        """What nothing names any more is kept for a while from now on, for those who are reading it."""
        served = self.published.served.values()
        gone = [self.targets / stored for stored in set(before.served.values()).difference(served)]
        for path in [*gone, *self._just_superseded(before)]:
            try:
                os.utime(path, (self._now().timestamp(),) * 2)
            except OSError:
                pass  # collected earlier, then

    def _just_superseded(self, before: Published) -> Iterable[Path]:
        for role in ("snapshot", *before.roles):
            if 0 < before.version(role) < self.published.version(role):
                yield self.metadata / file_name(before.version(role), role)


def _meta(version: int, data: bytes) -> MetaFile:
    return MetaFile(version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})


def _drop_empty(folder: Path, top: Path) -> None:
    while folder != top and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
