# SPDX-License-Identifier: MIT
"""Releases: what `trueboot release add` signs, and how it gets to the server.

Decides what a target is called and what its `custom` data say, and signs the next version of the hash bin that it falls
into, on this machine, with the developer's release key (python-tuf).  Rules kept: nothing is signed on top of metadata
that do not verify, or are older than what was seen; a path never names two images; the keys stay here.  What the server
checks again, and what devices accept, is theirs.  Source: TUF specification 1.0, section 4.5 (targets); TAP 15 (bins).
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from . import images, staging
from .api import Api
from .keyfolder import KeyFolder
from .problem import Problem
from .published import Published, version_of
from .staging import Draft, Stage

CONFLICT_TRIES = 3
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")
# Semantic Versioning 2.0.0; build metadata do not order releases and are left out.
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?\Z")


class Release(NamedTuple):
    kind: str
    hardware: str
    version: str
    image: bytes
    security: int = 0
    requires: str = ""  # a range that the running version must lie in
    prerequisite: str = ""  # a version that must run before

    @property
    def path(self) -> str:
        return f"{self.kind}/{self.hardware}/{self.version}/{images.FILE_NAMES[self.kind]}"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.image).hexdigest()

    def custom(self) -> dict[str, Any]:
        custom: dict[str, Any] = {
            "kind": self.kind,
            "version": self.version,
            "hardware": [self.hardware],
            "security": self.security,
            "size": len(self.image),
        }
        if self.requires:
            custom["requires"] = self.requires
        if self.prerequisite:
            custom["prerequisite"] = self.prerequisite
        return custom

    def note(self) -> dict[str, Any]:
        """What lies beside the image in its slot; the factory writes it for the first image, the agent for later ones."""
        return self.custom() | {"sha256": self.sha256, "length": len(self.image), "target": self.path}


def make(
    source: Path,
    kind: str,
    hardware: str,
    version: str,
    security: int = 0,
    requires: str = "",
    prerequisite: str = "",
) -> Release:
    from agent import version as versions
    from agent.errors import RefusedError

    if kind not in images.FILE_NAMES:
        raise Problem("usage", f"--kind {kind}: one of {', '.join(images.FILE_NAMES)}.")
    if not NAME.match(hardware):
        raise Problem("usage", f"--hardware {hardware}: letters, digits, '.', '_' and '-' only, at most 64.")
    if not VERSION.match(version):
        raise Problem("usage", f"--version {version}: not a semantic version such as 1.1.0.")
    if security < 0:
        raise Problem("usage", "--security: the floor is not negative.")
    for name, value, reader in (
        ("--requires", requires, lambda text: versions.satisfies("0.0.0", text)),
        ("--prerequisite", prerequisite, versions.parse),
    ):
        try:
            if value:
                reader(value)
        except RefusedError as error:
            todo = 'A range is such as ">=1.0.0 <2.0.0", a version such as 1.0.0.'
            raise Problem("usage", f"{name} {value} cannot be read.", error.detail, todo) from None
    return Release(kind, hardware, version, images.load(source, kind), security, requires, prerequisite)


def add(api: Api, release: Release, keys_dir: Path, keys: KeyFolder | None = None) -> dict[str, Any]:
    """Upload, sign, publish.  Returns {"target", "version", "sha256", "length", "role", "role_version"}."""
    keys = keys or KeyFolder(keys_dir)
    for tries_left in reversed(range(CONFLICT_TRIES)):
        now = staging.current(api, keys)
        now.check_fresh()
        draft = staging.Draft(now, _first_targets(now, keys))
        role = _sign(draft, release, keys, need_all=True)
        try:
            if role is not None:
                now = staging.publish(api, draft, keys, {release.path: release.image})
            return _summary(release, now)
        except Problem as problem:
            # Somebody else published in between: what they signed is verified, and this signed on top of it.
            if problem.server_code != "metadata_version" or not tries_left:
                raise
    raise AssertionError("unreachable")


def stage(base: Published, release: Release, keys: KeyFolder | None, folder: Path) -> dict[str, Any]:
    """Into a folder that travels: the image, and its metadata with the signatures that the keys here can give."""
    there = Stage(folder)
    draft = staging.draft_of(base, keys, there)
    mine = set(there.read())
    role = _sign(draft, release, keys, need_all=False)
    there.write_image(release.path, release.image)
    if role is not None:
        wanted = {name for name in draft.files if name in mine or staging.role_of(name)[0] in (role, "targets")}
        there.write({name: data for name, data in draft.files.items() if name in wanted})
    lacks = draft.lacking()
    return _summary_of(release, draft) | {"stage": str(folder), "lacking": [lack._asdict() for lack in lacks]}


def find(now: Published, name: str) -> tuple[str, str]:
    """(target path, role) of a published release by its path, or by a version that only one has."""
    signed = now.releases()
    found = [
        path for path, (_, file) in signed.items() if name in (path, file.unrecognized_fields["custom"]["version"])
    ]
    if not found:
        raise Problem("release_unknown", f"No signed release is called {name}.")
    if len(found) > 1:
        told = "they are " + ", ".join(sorted(found))
        raise Problem("usage", f"{name} is more than one release.", told, "Name its target path.")
    return found[0], signed[found[0]][0]


def revoke(api: Api, keys: KeyFolder, now: Published, path: str) -> dict[str, Any]:
    """Sign the next version of its role without it, and publish that."""
    from datetime import timedelta

    draft = Draft(now, {})
    role = now.releases()[path][0]
    metadata = draft.next(role, timedelta(days=365))
    del metadata.signed.targets[path]
    draft.sign(role, metadata, _signers(draft, role, keys, need_all=True))
    staging.publish(api, draft, keys)
    return {"target": path, "role": role, "role_version": metadata.signed.version}


def _sign(draft: Draft, release: Release, keys: KeyFolder | None, need_all: bool) -> str | None:
    """The release in its role of the draft; None when it is signed already.  Gives the role."""
    from trueboot_server.repo import paths, signing

    targets = draft.newest("targets")
    if targets is None:
        raise Problem("targets_missing")
    role = signing.role_for(targets, release.path)
    known = None
    before = draft.newest(role)
    if before is not None:
        known = signing.read_targets(before).signed.targets.get(release.path)
    if known is not None and known.hashes.get("sha256") != release.sha256:
        raise Problem("release_exists", f"{release.path} is signed already, for another image.")
    if known is not None and known.unrecognized_fields.get("custom") != release.custom():
        raise Problem("release_exists", f"{release.path} is signed already, with other rules.")
    if known is not None:
        return None
    signers = _signers(draft, role, keys, need_all)
    try:
        paths.check_custom(release.path, len(release.image), release.custom())
        added = signing.add_target(None, release.path, len(release.image), release.sha256, release.custom(), ())
    except paths.BadTarget as error:
        raise Problem("usage", "This release cannot be described.", str(error)) from None
    metadata = draft.next(role, signing.TARGETS_LIFE)
    metadata.signed.targets |= signing.read_targets(added).signed.targets
    draft.sign(role, metadata, signers)
    return role


def _signers(draft: Draft, role: str, keys: KeyFolder | None, need_all: bool) -> list[Any]:
    wanted = draft.keyids(role)
    threshold = draft.delegator(role).signed.get_delegated_role(role).threshold
    signers = keys.signers(wanted) if keys else []
    if not need_all:
        return signers
    if not signers:
        raise Problem(
            "key_not_authorised", why=f"{keys.path if keys else 'nothing'} holds none of the {role} role's keys"
        )
    if len(signers) < threshold:
        raise Problem(
            "signatures_missing",
            f"{threshold} keys must sign a release, and {len(signers)} of them are here.",
            f"that is the threshold of the {role} role",
            "Sign in turn: trueboot release add --stage DIR, release sign, release publish DIR.",
        )
    return signers


def _first_targets(now: Published, keys: KeyFolder) -> dict[str, bytes]:
    first = keys.read("1.targets.json") if now.targets is None else None
    return {"1.targets.json": first} if first else {}


def _summary(release: Release, now: Published) -> dict[str, Any]:
    return _summary_of(release, Draft(now, {}))


def _summary_of(release: Release, draft: Draft) -> dict[str, Any]:
    from trueboot_server.repo import signing

    targets = draft.newest("targets")
    role = signing.role_for(targets, release.path) if targets else ""
    data = draft.newest(role)
    if data is None or release.path not in signing.read_targets(data).signed.targets:
        raise Problem("metadata_invalid", why=f"the server took {release.path} and does not serve it")
    return {
        "target": release.path,
        "version": release.version,
        "sha256": release.sha256,
        "length": len(release.image),
        "role": role,
        "role_version": version_of(data),
    }


def write_factory_slot(slot: Path, release: Release) -> None:
    """Put an image into a slot folder as a factory would: files, our own three, `.index` last, which makes it whole."""
    index, contents = images.split(release.image)
    for path, data in contents.items():
        target = slot / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    (slot / ".release").write_text(json.dumps(release.note(), separators=(",", ":"), sort_keys=True))
    size = struct.pack(">Q", len(release.image))  # all of it is there: the way back needs no download
    (slot / ".progress").write_bytes(size + struct.pack(">I", zlib.crc32(size)))
    (slot / ".index").write_bytes(index)
