# SPDX-License-Identifier: MIT
"""May these files be published together?  Asked of the result as a client would ask it.

Rules: the root chain has no gap and each step is signed by the root before and by itself; the last root has not
expired and names an online key of this server; `targets` is signed as that root says, every delegated role as that
`targets` says, also those that do not change; each role with a path pattern is there; each new file has a higher version than the one that it replaces and
has not expired; no file is longer than devices take; a target lies in a role that it is delegated to, keeps the rules of `paths`, and was uploaded.
Roles are delegated one level deep: boards look no further.  Source: TUF specification 1.0, 5.3, 5.6 and 6.1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tuf.api.exceptions import LengthOrHashMismatchError, UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from agent.trust.walk import LIMITS

from ..errors import ApiError
from . import signing
from .paths import BadTarget, check_custom
from .published import Published, file_name, parse_file_name, responsible

_HASHES = {"sha256", "sha512"}
_NEWEST_FIRST = "Fetch the newest metadata first, and sign the next version."


@dataclass(frozen=True)
class Publication:
    """Checked: `roots` and `changed` are to be written, `root` and `roles` are what counts afterwards."""

    roots: tuple[tuple[Metadata[Root], bytes], ...]
    changed: dict[str, tuple[Metadata[Targets], bytes]]
    root: Metadata[Root]
    roles: dict[str, Metadata[Targets]]


@dataclass(frozen=True)
class Surroundings:
    """What a check needs to know of the server."""

    now: datetime
    holds_online_key: Callable[[Root], bool]
    stored: Callable[[str, str], Path]  # (target path, sha256) -> where an upload lies


def check(current: Published, files: dict[str, bytes], around: Surroundings) -> Publication:
    """`files`: name -> bytes, none of them published yet.  ApiError says why not.  Hashes targets: run it in a thread."""
    named = sorted(_named(files))
    roots = tuple(_roots(current.root, [(v, data) for role, v, data in named if role == Root.type], around.now))
    root = roots[-1][0] if roots else current.root
    if roots and not around.holds_online_key(root.signed):
        raise ApiError(
            409,
            "online_key",
            f"{file_name(root.signed.version, 'root')} does not name this server's online key for snapshot and timestamp",
            "Name the key in online.pub, or ask for a new one first: POST /api/v1/repo/online-key.",
        )
    if root.signed.is_expired(around.now):
        raise ApiError(409, "root_expired", "the root metadata have expired", "Publish a new root.")
    changed = {role: (_role(current, role, v, data, around.now), data) for role, v, data in named if role != Root.type}
    roles = current.roles | {role: metadata for role, (metadata, _) in changed.items()}
    if "targets" not in roles:
        raise ApiError(409, "metadata_incomplete", "there are no targets metadata yet", "Publish 1.targets.json too.")
    _vouch(root, roles, changed)
    if roles["targets"].signed.is_expired(around.now):
        raise ApiError(400, "metadata_expired", "targets.json has expired", "Sign it again, and publish it too.")
    for role, (metadata, _) in changed.items():
        for path, file in metadata.signed.targets.items():
            _check_place(roles["targets"].signed, role, path)
            if current.files.get(path) != file:  # else it was published before, and hashed then
                _check_file(path, file, around.stored)
    return Publication(roots, changed, root, roles)


def _named(files: dict[str, bytes]) -> Iterator[tuple[str, int, bytes]]:
    for name, data in files.items():
        found = parse_file_name(name)
        if found is None:
            raise ApiError(
                400, "metadata_name", f"{name[:80]!r} is no name of a metadata file", "It is <version>.<role>.json."
            )
        version, role = found
        if role in ("snapshot", "timestamp"):
            raise ApiError(400, "metadata_role", f"{role} is signed by the server itself", "Leave it out.")
        yield role, version, data


def _roots(
    trusted: Metadata[Root], offered: list[tuple[int, bytes]], now: datetime
) -> Iterator[tuple[Metadata[Root], bytes]]:
    for version, data in offered:
        root = _parsed(data, Root, file_name(version, "root"), version)
        if version != trusted.signed.version + 1:
            raise ApiError(
                409, "metadata_version", f"root {version} does not follow {trusted.signed.version}", _NEWEST_FIRST
            )
        if not root.signed.consistent_snapshot:
            raise ApiError(400, "metadata_form", "the root is not for consistent snapshots", "Set consistent_snapshot.")
        try:
            verified = root.signed.get_root_verification_result(trusted.signed, root.signed_bytes, root.signatures)
        except ValueError:
            verified = None
        if not verified:
            raise _untrusted(
                file_name(version, "root"), "the root before it and by itself", "Both thresholds must be met."
            )
        yield root, data
        trusted = root


def _role(current: Published, role: str, version: int, data: bytes, now: datetime) -> Metadata[Targets]:
    name = file_name(version, role)
    metadata = _parsed(data, Targets, name, version)
    if version <= current.version(role):
        raise ApiError(
            409, "metadata_version", f"{role} {version} does not follow {current.version(role)}", _NEWEST_FIRST
        )
    if metadata.signed.is_expired(now):
        raise ApiError(400, "metadata_expired", f"{name} has expired", "Sign it again.")
    if role != "targets" and metadata.signed.delegations is not None:
        raise ApiError(400, "metadata_delegations", f"{name} delegates further", "Only targets.json may delegate.")
    return metadata


def check_length(name: str, role: str, length: int) -> None:
    """ApiError for a file that devices would not take."""
    most = LIMITS.get(role, LIMITS["targets"])
    if length > most:
        raise ApiError(
            413,
            "metadata_too_long",
            f"{name} would have {length} bytes, and devices take {most}",
            "Withdraw old releases, or delegate to more bins; but the snapshot grows with each.",
        )


def _parsed(data: bytes, kind: Any, name: str, version: int) -> Metadata[Any]:
    check_length(name, kind.type, len(data))
    try:
        metadata: Metadata[Any] = signing.read(data, kind)
    except signing.SigningError as error:
        raise ApiError(400, "metadata_unreadable", f"{name}: {error}") from error
    if signing.to_bytes(metadata) != data or json.loads(data) != metadata.to_dict():
        raise ApiError(
            400,
            "metadata_form",
            f"{name} is not compact JSON with sorted keys",
            "Write it with trueboot's signing tools.",
        )
    if metadata.signed.version != version:
        raise ApiError(400, "metadata_name", f"{name} holds version {metadata.signed.version}")
    return metadata


def _vouch(root: Metadata[Root], roles: dict[str, Metadata[Targets]], changed: dict[str, Any]) -> None:
    """Every role is signed as its delegator says, the unchanged ones too: they may have lost their delegator's keys."""
    targets = roles["targets"]
    for role, metadata in sorted(roles.items()):
        delegator: Root | Targets = root.signed if role == "targets" else targets.signed
        said = "the root" if role == "targets" else "targets.json"
        name = file_name(metadata.signed.version, role)
        try:
            delegator.get_delegated_role(role)
        except ValueError:
            if role not in changed:
                continue  # delegated no more: it stays in the snapshot, and nobody asks for it
            raise ApiError(
                400, "metadata_role", f"targets.json does not delegate to {role!r}", "See GET /api/v1/repo."
            ) from None
        try:
            delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        except (UnsignedMetadataError, ValueError) as error:
            hint = (
                "Sign with the keys that it names." if role in changed else "Sign its next version, and publish it too."
            )
            raise _untrusted(name, f"the keys that {said} names", hint) from error

    for role in targets.signed.delegations.roles or () if targets.signed.delegations else ():
        if role not in roles:  # only a bin may be missing until something falls into it
            raise ApiError(
                409, "metadata_incomplete", f"targets.json delegates to {role!r}, which is not there", "Publish it too."
            )


def _untrusted(name: str, keys: str, hint: str) -> ApiError:
    return ApiError(403, "metadata_untrusted", f"{name} is not signed by {keys}: the threshold is not met", hint)


def _check_place(targets: Targets, role: str, path: str) -> None:
    if role != "targets" and role not in responsible(targets, path):
        right = next(responsible(targets, path), "no role")
        raise ApiError(400, "target_role", f"{path[:200]} does not belong to {role}, but to {right}")


def _check_file(path: str, file: TargetFile, stored: Callable[[str, str], Path]) -> None:
    try:
        check_custom(path, file.length, file.unrecognized_fields.get("custom"))
    except BadTarget as error:
        raise ApiError(400, "target_rules", str(error)) from error
    sha256 = file.hashes.get("sha256", "")
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef") or set(file.hashes) - _HASHES:
        raise ApiError(400, "target_rules", f"{path}: hashes needs sha256, may hold sha512, and nothing else")
    place = stored(path, sha256)
    if not place.is_file():
        raise ApiError(409, "target_missing", f"{path} was not uploaded", "PUT the file first.")
    try:
        with place.open("rb") as content:
            file.verify_length_and_hashes(content)
    except LengthOrHashMismatchError as error:
        raise ApiError(
            409, "target_differs", f"{path} is not the file that the metadata describe", "PUT it again."
        ) from error
