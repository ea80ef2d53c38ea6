# SPDX-License-Identifier: MIT
"""Releases: what `trueboot release add` signs, and how it gets to the server.

Decides what a target is called and what its `custom` data say, and signs the next `targets.json` on this machine with
the developer's keys (python-tuf).  Rules kept: nothing is signed on top of metadata that do not verify; a path never
names two images; the keys stay here.  What the server checks again, and what devices accept, is theirs.
Source: TUF specification 1.0, sections 4.5 (targets), 5.3 to 5.6 (order of checks).
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .api import Api
from .problem import Problem

if TYPE_CHECKING:
    from tuf.api.metadata import Metadata, Root, Targets

ROOT_CHAIN_MAX = 64
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")
# Semantic Versioning 2.0.0; build metadata do not order releases and are left out.
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?\Z")


class Release(NamedTuple):
    kind: str
    hardware: str
    version: str
    image: bytes
    security: int = 0

    @property
    def path(self) -> str:
        return f"{self.kind}/{self.hardware}/{self.version}/app.img"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.image).hexdigest()

    def custom(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "version": self.version,
            "hardware": [self.hardware],
            "security": self.security,
            "size": len(self.image),
        }

    def note(self) -> dict[str, Any]:
        """What lies beside the image in its slot; the factory writes it for the first image, the agent for later ones."""
        return self.custom() | {"sha256": self.sha256, "length": len(self.image), "target": self.path}


def make(source: Path, kind: str, hardware: str, version: str, security: int = 0) -> Release:
    from .images import load

    for name, value in (("--kind", kind), ("--hardware", hardware)):
        if not NAME.match(value):
            raise Problem("usage", f"{name} {value}: letters, digits, '.', '_' and '-' only, at most 64.")
    if not VERSION.match(version):
        raise Problem("usage", f"--version {version}: not a semantic version such as 1.1.0.")
    if security < 0:
        raise Problem("usage", "--security: the floor is not negative.")
    return Release(kind, hardware, version, load(source), security)


def add(api: Api, release: Release, keys_dir: Path) -> dict[str, Any]:
    """Upload, sign, publish.  Returns {"target", "version", "sha256", "length", "targets_version"}."""
    from trueboot_server.repo import paths, signing

    signers = load_signers(keys_dir)
    root, targets = current(api)
    allowed = [signer for signer in signers if signer.public_key.keyid in root.signed.roles["targets"].keyids]
    if len(allowed) < root.signed.roles["targets"].threshold:
        raise Problem(
            "key_not_authorised", why=f"{keys_dir} holds {len(allowed)} of the keys that the targets role needs"
        )
    known = targets.signed.targets.get(release.path)
    if known is not None:
        if known.hashes.get("sha256") != release.sha256:
            raise Problem("release_exists", f"{release.path} is signed already, for another image.")
        return _summary(release, targets.signed.version)
    try:
        data = signing.add_target(
            signing.to_bytes(targets), release.path, len(release.image), release.sha256, release.custom(), allowed
        )
    except paths.BadTarget as error:
        raise Problem("usage", "This release cannot be described.", str(error)) from None

    api.request("PUT", f"/api/v1/repo/targets/{release.path}", body=release.image)
    api.request("POST", "/api/v1/repo/metadata", body=data, headers={"Content-Type": "application/json"})
    return _summary(release, signing.read_targets(data).signed.version)


def _summary(release: Release, targets_version: int) -> dict[str, Any]:
    return {
        "target": release.path,
        "version": release.version,
        "sha256": release.sha256,
        "length": len(release.image),
        "targets_version": targets_version,
    }


def load_signers(keys_dir: Path) -> list[Any]:
    """Every private key in the folder."""
    from trueboot_server.repo import signing

    try:
        private = [path for path in sorted(keys_dir.glob("*.pem")) if b"PRIVATE KEY" in path.read_bytes()]
        signers = [signing.load_signer(path) for path in private]
    except (OSError, signing.SigningError) as error:
        raise Problem("keys_missing", f"A key in {keys_dir} cannot be read.", str(error)) from None
    if not signers:
        raise Problem("keys_missing", f"There is no signing key in {keys_dir}.")
    return signers


def current(api: Api) -> tuple[Metadata[Root], Metadata[Targets]]:
    """The newest root and targets, each verified by the one before; unsigned and empty targets when none were published."""
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata, Snapshot, Targets, Timestamp

    try:
        root = _newest_root(api)
        timestamp_data = fetch(api, "timestamp.json")
        if timestamp_data is None:
            return root, Metadata(Targets())
        timestamp = Metadata[Timestamp].from_bytes(timestamp_data)
        _check(root, "timestamp", timestamp)
        number = timestamp.signed.snapshot_meta.version
        snapshot = Metadata[Snapshot].from_bytes(_wanted(api, f"{number}.snapshot.json"))
        _check(root, "snapshot", snapshot)
        number = snapshot.signed.meta["targets.json"].version
        targets = Metadata[Targets].from_bytes(_wanted(api, f"{number}.targets.json"))
        _check(root, "targets", targets)
        if targets.signed.version != number:
            raise Problem(
                "metadata_invalid", why=f"snapshot names targets {number}, the file says {targets.signed.version}"
            )
        return root, targets
    except (RepositoryError, KeyError, ValueError) as error:
        raise Problem("metadata_invalid", why=" ".join(str(error).split())[:200]) from None


def _newest_root(api: Api) -> Metadata[Root]:
    """From the root file at hand (or the server's first, over verified TLS), up the chain that the server publishes."""
    from tuf.api.metadata import Metadata, Root

    local = Path(api.server.root_file) if api.server.root_file else None
    data = local.read_bytes() if local and local.is_file() else _wanted(api, "1.root.json")
    root = Metadata[Root].from_bytes(data)
    _check(root, "root", root)
    for number in range(root.signed.version + 1, root.signed.version + ROOT_CHAIN_MAX):
        next_data = fetch(api, f"{number}.root.json")
        if next_data is None:
            return root
        following = Metadata[Root].from_bytes(next_data)
        _check(root, "root", following)
        _check(following, "root", following)
        if following.signed.version != number:
            raise Problem("metadata_invalid", why=f"{number}.root.json says version {following.signed.version}")
        root = following
    return root


def _check(root: Metadata[Root], role: str, metadata: Metadata) -> None:
    if metadata.signed.type != role:
        raise Problem("metadata_invalid", why=f"{role} metadata wanted, {metadata.signed.type} found")
    root.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)


def fetch(api: Api, name: str) -> bytes | None:
    try:
        return api.request("GET", f"/repo/metadata/{name}")
    except Problem as problem:
        if problem.code == "not_found":
            return None
        raise


def _wanted(api: Api, name: str) -> bytes:
    data = fetch(api, name)
    if data is None:
        raise Problem("metadata_invalid", why=f"the server has no {name}")
    return data


def write_factory_slot(slot: Path, release: Release) -> None:
    """Put an image into a slot folder as a factory would: files, then `.release`, then `.index`, which makes it whole."""
    from .images import split

    index, contents = split(release.image)
    for path, data in contents.items():
        target = slot / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    (slot / ".release").write_text(json.dumps(release.note(), separators=(",", ":"), sort_keys=True))
    (slot / ".index").write_bytes(index)
