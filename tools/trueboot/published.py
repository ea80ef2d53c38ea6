# SPDX-License-Identifier: MIT
"""What a repository has published, verified: the state that everything new is signed on top of.

`load` walks root chain, timestamp, snapshot, targets and every delegated role that the snapshot lists, as a client
would.  Rules kept: each file is signed by the role above it, has the version (and hash) that was announced, and is not
older than what was seen before on this machine, so that a server that was broken into cannot have old state signed
over; after the keys of timestamp or targets changed, versions that only the old keys vouched for no longer count (fast-
forward recovery).  A root that the timestamp does not name yet is a leftover of a cut and is not looked at.  `save`
keeps what was seen, the timestamp last.  Source: TUF specification 1.0, 5.3 to 5.6; expiry is the caller's question.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote

from .problem import Problem

if TYPE_CHECKING:
    from tuf.api.metadata import Metadata, MetaFile, Root, Targets

    from .api import Api

ROOT_CHAIN_MAX = 1024
Read = Callable[[str], bytes | None]  # of a metadata file by its name; None when there is none
T = TypeVar("T")


@dataclass
class Published:
    """Verified metadata, as bytes; `roots` are consecutive, by version."""

    roots: dict[int, bytes]
    timestamp: bytes | None = None
    snapshot: bytes | None = None
    targets: bytes | None = None
    roles: dict[str, bytes] = field(default_factory=dict)

    @property
    def root(self) -> Metadata[Root]:
        return parse(self.roots[max(self.roots)], "root")

    @property
    def files(self) -> dict[str, bytes]:
        """By the names that clients ask for."""
        found = {f"{version}.root.json": data for version, data in self.roots.items()}
        if self.snapshot is not None and self.timestamp is not None:
            found[file_name("snapshot", version_of(self.snapshot))] = self.snapshot
        if self.targets is not None:
            found[file_name("targets", version_of(self.targets))] = self.targets
        found |= {file_name(role, version_of(data)): data for role, data in self.roles.items()}
        if self.timestamp is not None:
            found["timestamp.json"] = self.timestamp
        return found

    def releases(self) -> dict[str, tuple[str, Any]]:
        """Target path -> (role, TargetFile)."""
        every = {"targets": self.targets, **self.roles}
        return {
            path: (role, file)
            for role, data in every.items()
            if data is not None
            for path, file in parse(data, "targets").signed.targets.items()
        }

    def check_fresh(self) -> None:
        """Problem when a role whose expiry hinders devices has expired."""
        now = datetime.now(UTC)
        for role, data in (
            ("timestamp", self.timestamp),
            ("snapshot", self.snapshot),
            ("root", self.roots[max(self.roots)]),
            ("targets", self.targets),
        ):
            if data is not None and (expires := parse(data).signed.expires) <= now:
                raise Problem(
                    "metadata_expired",
                    f"The {role} metadata expired on {expires:%Y-%m-%d}.",
                    "nobody signed them anew, an old state is being served, or this machine's clock is wrong",
                    "Sign them anew: trueboot keys renew."
                    if role in ("root", "targets")
                    else "Look at the server: it signs them by itself while it runs.",
                )

    def save(self, folder: Path) -> None:
        """Keep it in `folder`: what it names first, the timestamp last, then what nothing names any more goes."""
        from trueboot_server.state import write_atomically

        files = self.files
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(folder):
                for name, data in files.items():
                    path = folder / name
                    if not path.exists() or path.read_bytes() != data:
                        write_atomically(path, data, 0o600)
                for path in folder.glob("*.json"):
                    if path.name not in files and not path.name.endswith(".root.json"):
                        path.unlink()
        except OSError as error:
            raise Problem(
                "file_unusable",
                f"What was seen cannot be kept in {folder}.",
                error.strerror or str(error),
                "Use a folder of keys that can be written to: without a memory, an old state could be signed over.",
            ) from None


def load(read: Read, anchor: bytes | None, known: Published | None = None) -> Published:
    """What `read` gives, verified from `anchor` (a root; by default the first that `read` has) and against `known`."""
    first = anchor or read("1.root.json")
    if first is None:
        raise Problem("metadata_invalid", why="there is no 1.root.json")
    root_md = parse(first, "root")
    verify(root_md, "root", first)
    found = Published(dict(known.roots) if known else {root_md.signed.version: first})
    timestamp = read("timestamp.json")
    _walk_roots(read, found, _named_root(timestamp))
    root = found.root
    if timestamp is None:
        if known and known.timestamp is not None:
            raise _rollback("there are no timestamp metadata any more")
        return found
    verify(root, "timestamp", timestamp)
    named = _named_root(timestamp)
    if named is not None and named != root.signed.version:
        raise _rollback(f"the timestamp names root {named}, and root {root.signed.version} is known")
    if known and known.timestamp is not None and _vouched(root, "timestamp", known.timestamp):
        _not_older("timestamp", version_of(timestamp), known.timestamp)
    found.timestamp = timestamp
    meta = parse(timestamp, "timestamp").signed.snapshot_meta
    found.snapshot = _announced(read, "snapshot", meta, known.snapshot if known else None)
    verify(root, "snapshot", found.snapshot)
    if known and known.snapshot is not None and _vouched(root, "snapshot", known.snapshot):
        _not_older("snapshot", meta.version, known.snapshot)
    listed = parse(found.snapshot, "snapshot").signed.meta
    found.targets = _announced(read, "targets", listed["targets.json"], known.targets if known else None)
    verify(root, "targets", found.targets)
    if known and known.targets is not None and _vouched(root, "targets", known.targets):
        _not_older("targets", version_of(found.targets), known.targets)
    targets = parse(found.targets, "targets")
    before = known.roles if known else {}
    for role in delegated(targets, [name.removesuffix(".json") for name in listed]):
        data = _announced(read, role, listed[f"{role}.json"], before.get(role))
        verify(targets, role, data)
        found.roles[role] = data
    for role, data in before.items():
        if not _vouched(targets, role, data):
            continue
        if role not in found.roles:
            raise _rollback(f"{role} is gone, of which version {version_of(data)} was seen")
        _not_older(role, version_of(found.roles[role]), data)
    return found


def read_seen(folder: Path, anchor: bytes | None) -> Published | None:
    """What `save` kept; None when it never did.  Problem when it is damaged: it is not passed over in silence."""
    if not folder.is_dir() or not any(folder.glob("*.root.json")):
        return None
    try:
        with locked(folder):
            return load(read_folder(folder), anchor)
    except Problem as problem:
        raise Problem(
            "seen_damaged", f"The memory of what was seen, {folder}, cannot be used.", problem.reason or str(problem)
        ) from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Two commands at once: one writes while nobody reads."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def fetch(api: Api, name: str) -> bytes | None:
    try:
        return api.request("GET", f"/repo/metadata/{quote(name, safe='')}")
    except Problem as problem:
        if problem.code == "not_found":
            return None
        raise


def read_folder(folder: Path) -> Read:
    from .keyfolder import read_if_there

    return lambda name: read_if_there(folder / name)


def parse(data: bytes, kind: str = "") -> Any:
    """Metadata of a kind (`Metadata[...]`); delegated roles are of the kind "targets"."""
    from tuf.api.metadata import Metadata
    from tuf.api.serialization import DeserializationError

    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
    except (DeserializationError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Problem("metadata_invalid", why=f"not TUF {kind or 'metadata'}".strip()) from None
    if kind and metadata.signed.type != kind:
        raise Problem("metadata_invalid", why=f"{kind} metadata wanted, {metadata.signed.type} found")
    return metadata


def verify(delegator: Metadata[Any], role: str, data: bytes) -> None:
    from tuf.api.metadata import TOP_LEVEL_ROLE_NAMES

    metadata = parse(data, role if role in TOP_LEVEL_ROLE_NAMES else "targets")
    signed, lacking, threshold = signatures(delegator, role, metadata)
    if len(signed) < threshold:
        raise Problem(
            "metadata_invalid",
            why=f"{role} {metadata.signed.version} has {len(signed)} of {threshold} signatures that it needs",
        )


def signatures(delegator: Metadata[Any], role: str, metadata: Metadata[Any]) -> tuple[list[str], list[str], int]:
    """(key ids whose signatures are valid, the role's others, threshold)."""
    try:
        result = delegator.signed.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    except ValueError:
        raise Problem("metadata_invalid", why=f"nobody delegates to {role}") from None
    return list(result.signed), list(result.unsigned), result.threshold


def delegated(targets: Metadata[Targets], names: list[str]) -> list[str]:
    """Of the roles that a snapshot lists, those that targets delegates to."""
    delegations = targets.signed.delegations
    if delegations is None:
        return []
    if delegations.succinct_roles is not None:
        return [name for name in names if delegations.succinct_roles.is_delegated_role(name)]
    return [name for name in names if name in (delegations.roles or {})]


def version_of(data: bytes) -> int:
    return parse(data).signed.version


def file_name(role: str, version: int) -> str:
    return f"{version}.{quote(role, safe='')}.json"


def role_of(name: str) -> tuple[str, int]:
    """(role, version) of a file name; version 0 for timestamp.json.  Problem for other names."""
    number, _, rest = name.partition(".")
    if name == "timestamp.json":
        return "timestamp", 0
    if number.isascii() and number.isdigit() and len(number) < 10 and rest.endswith(".json"):
        return unquote(rest.removesuffix(".json")), int(number)
    raise Problem("usage", f"{name} is not called as metadata are.", "they are VERSION.ROLE.json, such as 2.root.json")


def _walk_roots(read: Read, found: Published, newest: int | None) -> None:
    root = found.root
    start = root.signed.version
    last = start + ROOT_CHAIN_MAX
    for number in range(start + 1, min(last, last if newest is None else newest) + 1):
        data = read(f"{number}.root.json")
        if data is None:
            return
        following = parse(data, "root")
        verify(root, "root", data)
        verify(following, "root", data)
        if following.signed.version != number:
            raise Problem("metadata_invalid", why=f"{number}.root.json says version {following.signed.version}")
        found.roots[number] = data
        root = following


def _named_root(timestamp: bytes | None) -> int | None:
    """The newest root's version, as the (not yet verified) timestamp says."""
    if timestamp is None:
        return None
    ours = parse(timestamp, "timestamp").signed.unrecognized_fields.get("trueboot")
    number = ours.get("root") if isinstance(ours, dict) else None
    return number if type(number) is int else None


def _announced(read: Read, role: str, meta: MetaFile, before: bytes | None) -> bytes:
    """The file that `meta` announces: the one known before if it is that, else a new one."""
    name = file_name(role, meta.version)
    if before is not None and _fits(before, meta):
        return before
    data = read(name)
    if data is None:
        raise Problem("metadata_invalid", why=f"there is no {name}")
    if not _fits(data, meta):
        raise Problem("metadata_invalid", why=f"{name} is not the file that was announced")
    return data


def _fits(data: bytes, meta: MetaFile) -> bool:
    sha256 = (meta.hashes or {}).get("sha256")
    return (
        meta.length in (None, len(data))
        and sha256 in (None, hashlib.sha256(data).hexdigest())
        and version_of(data) == meta.version
    )


def _vouched(delegator: Metadata[Any], role: str, data: bytes) -> bool:
    """Whether today's keys stand for what was seen; else its version says nothing."""
    try:
        verify(delegator, role, data)
    except Problem:
        return False
    return True


def _not_older(role: str, version: int, seen: bytes) -> None:
    if version < version_of(seen):
        raise _rollback(f"{role} is version {version}, and version {version_of(seen)} was seen")


def _rollback(why: str) -> Problem:
    return Problem("metadata_rollback", why=why)
