# SPDX-License-Identifier: MIT
"""What is published, as one value that never changes: whoever takes it sees no half of a publication.

Decides which files a client would find (TUF 5.6.7: targets first, then its delegations in order, a terminating
one ends the search), and which metadata file names exist for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from urllib.parse import quote, unquote

from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from .paths import stored_name

_NUMBERED = re.compile(r"([1-9][0-9]{0,8})\.(.{1,80})\.json\Z", re.ASCII | re.DOTALL)
_MAX_NAME_BYTES = 200


def file_name(version: int, role: str) -> str:
    return f"{version}.{quote(role, safe='')}.json"


def split_name(name: str) -> tuple[int, str] | None:
    """(version, role) of "4.bin-0f.json", the role unquoted as it stands; None for any other name."""
    found = _NUMBERED.match(name)
    if found is None or len(quote(name, safe="", errors="replace")) > _MAX_NAME_BYTES:
        return None
    return int(found[1]), found[2]


def parse_file_name(name: str) -> tuple[int, str] | None:
    """(version, role) of a file's name as `file_name` makes it; None for any other."""
    found = split_name(unquote(name))
    return found if found is not None and file_name(*found) == name else None


class Published:
    """`roles`: "targets" and every delegated role that the snapshot lists, by name.  `stamp`: timestamp.json, verbatim."""

    def __init__(
        self,
        root: Metadata[Root],
        roles: dict[str, Metadata[Targets]] | None = None,
        snapshot: Metadata[Snapshot] | None = None,
        timestamp: Metadata[Timestamp] | None = None,
        stamp: bytes = b"",
    ):
        self.root = root
        self.roles = roles or {}
        self.snapshot = snapshot
        self.timestamp = timestamp
        self.stamp = stamp
        self.files = dict(_found(self.roles))
        self.images = {
            file.hashes["sha256"]: stored_name(path, file.hashes["sha256"]) for path, file in self.files.items()
        }
        # A client asks for a target by any one of its hashes (TUF 6.2.1); it lies under its SHA-256.
        self.served = {
            stored_name(path, digest): stored_name(path, file.hashes["sha256"])
            for path, file in self.files.items()
            for digest in file.hashes.values()
        }

    def version(self, role: str) -> int:
        """The published version of any role; 0 when there is none."""
        if role == Root.type:
            return self.root.signed.version
        if role == Timestamp.type:
            return self.timestamp.signed.version if self.timestamp else 0
        if role == Snapshot.type:
            return self.snapshot.signed.version if self.snapshot else 0
        meta = self.snapshot.signed.meta.get(f"{role}.json") if self.snapshot else None
        return meta.version if meta else 0

    def exists(self, version: int, role: str) -> bool:
        """Whether this version was ever published: what is newer is the leftover of a cut."""
        return role != Timestamp.type and 1 <= version <= self.version(role)

    def delegated(self) -> list[str]:
        """The roles that count: "targets" and those that it still delegates to."""
        if "targets" not in self.roles:
            return []
        return ["targets", *(name for name in sorted(self.roles) if name != "targets" and delegates(self.roles, name))]

    def expires(self) -> dict[str, datetime]:
        online = {"snapshot": self.snapshot, "timestamp": self.timestamp}
        return (
            {"root": self.root.signed.expires}
            | {name: metadata.signed.expires for name, metadata in online.items() if metadata}
            | {name: self.roles[name].signed.expires for name in self.delegated()}
        )


def delegates(roles: dict[str, Metadata[Targets]], name: str) -> bool:
    """Whether `targets` delegates to the role `name`."""
    try:
        roles["targets"].signed.get_delegated_role(name)
    except ValueError:
        return False
    return True


def responsible(targets: Targets, path: str) -> Iterator[str]:
    """The delegated roles that a client asks for `path`, in order."""
    if targets.delegations is None:
        return
    for name, terminating in targets.delegations.get_roles_for_target(path):
        yield name
        if terminating:
            return


def _found(roles: dict[str, Metadata[Targets]]) -> Iterator[tuple[str, TargetFile]]:
    if "targets" not in roles:
        return
    top = roles["targets"].signed
    yield from top.targets.items()
    for name, metadata in roles.items():
        for path, file in metadata.signed.targets.items():
            if name == "targets" or path in top.targets:
                continue
            holders = (role for role in responsible(top, path) if role in roles)
            if next((role for role in holders if path in roles[role].signed.targets), None) == name:
                yield path, file
