# SPDX-License-Identifier: MIT
"""Releases: what `trueboot release add` signs, and how it gets to the server.

Decides what a target is called and what its `custom` data say, and signs the next version of the
role that it falls into, on this machine with the developer's keys (python-tuf).  Rules kept: nothing is signed on top of metadata that do not verify; a path never
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
    from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets

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
    """Upload, sign, publish.  Returns {"target", "version", "sha256", "length", "role", "role_version"}."""
    from trueboot_server.repo import paths, published, signing

    signers = load_signers(keys_dir)
    repository = current(api, keys_dir)
    try:
        role = signing.role_for(repository.targets, release.path)
    except signing.SigningError as error:
        raise Problem("key_not_authorised", why=str(error)) from None
    data, keyids, threshold = repository.role(role)
    allowed = [signer for signer in signers if signer.public_key.keyid in keyids]
    if len(allowed) < threshold:
        raise Problem("key_not_authorised", why=f"{keys_dir} holds {len(allowed)} of the keys that {role} needs")
    signed = signing.read_targets(data).signed if data else None
    known = signed.targets.get(release.path) if signed else None
    if signed is not None and known is not None:
        if known.hashes.get("sha256") != release.sha256:
            raise Problem("release_exists", f"{release.path} is signed already, for another image.")
        return _summary(release, role, signed.version)
    try:
        data = signing.add_target(data, release.path, len(release.image), release.sha256, release.custom(), allowed)
    except paths.BadTarget as error:
        raise Problem("usage", "This release cannot be described.", str(error)) from None

    version = signing.read_targets(data).signed.version
    api.request("PUT", f"/api/v1/repo/targets/{release.path}", body=release.image)
    publish(api, repository.unpublished | {published.file_name(version, role): data})
    return _summary(release, role, version)


def publish(api: Api, files: dict[str, bytes]) -> None:
    body = json.dumps({"files": {name: data.decode() for name, data in files.items()}}).encode()
    api.request("POST", "/api/v1/repo/metadata", body=body, headers={"Content-Type": "application/json"})


def _summary(release: Release, role: str, role_version: int) -> dict[str, Any]:
    return {
        "target": release.path,
        "version": release.version,
        "sha256": release.sha256,
        "length": len(release.image),
        "role": role,
        "role_version": role_version,
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


class Current:
    """What the server publishes, verified: the newest root, the targets metadata, and other roles when asked for."""

    def __init__(self, api: Api, root: Metadata[Root], snapshot: Metadata[Snapshot] | None, targets: bytes):
        self._api = api
        self._snapshot = snapshot
        self.unpublished = {} if snapshot else {"1.targets.json": targets}  # the first publication takes it along
        self.root = root
        self.targets = targets

    def role(self, name: str) -> tuple[bytes | None, list[str], int]:
        """(metadata or None when there are none yet, key ids, threshold) of a role."""
        from tuf.api.metadata import Metadata, Targets

        delegator = self.root.signed if name == "targets" else Metadata[Targets].from_bytes(self.targets).signed
        role = delegator.get_delegated_role(name)
        listed = self._snapshot.signed.meta.get(f"{name}.json") if self._snapshot else None
        data = _listed(self._api, name, listed, delegator) if listed else None
        return data, role.keyids, role.threshold


def current(api: Api, keys_dir: Path) -> Current:
    """The newest root, snapshot and targets, each verified by the one before; a new server's targets are among the keys."""
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata, Snapshot, Timestamp

    try:
        root = _newest_root(api)
        stamp = fetch(api, "timestamp.json")
        if stamp is None:
            return Current(api, root, None, _first_targets(keys_dir, root))
        timestamp = Metadata[Timestamp].from_bytes(stamp)
        _check(root, "timestamp", timestamp)
        meta = timestamp.signed.snapshot_meta
        snapshot = Metadata[Snapshot].from_bytes(_wanted(api, f"{meta.version}.snapshot.json"))
        _check(root, "snapshot", snapshot)
        targets = _listed(api, "targets", snapshot.signed.meta["targets.json"], root.signed)
        return Current(api, root, snapshot, targets)
    except (RepositoryError, KeyError, ValueError) as error:
        raise Problem("metadata_invalid", why=" ".join(str(error).split())[:200]) from None


def _first_targets(keys_dir: Path, root: Metadata[Root]) -> bytes:
    from tuf.api.metadata import Metadata, Targets

    try:
        data = (keys_dir / "1.targets.json").read_bytes()
    except OSError as error:
        raise Problem("keys_missing", why=f"1.targets.json in {keys_dir} cannot be read: {error.strerror}") from None
    _check(root, "targets", Metadata[Targets].from_bytes(data))
    return data


def _listed(api: Api, name: str, meta: MetaFile, delegator: Root | Targets) -> bytes:
    """A role's file as the snapshot lists it, signed as its delegator says."""
    from tuf.api.metadata import Metadata, Targets

    from trueboot_server.repo.published import file_name

    data = _wanted(api, file_name(meta.version, name))
    metadata = Metadata[Targets].from_bytes(data)
    delegator.verify_delegate(name, metadata.signed_bytes, metadata.signatures)
    if metadata.signed.version != meta.version:
        raise Problem(
            "metadata_invalid", why=f"snapshot names {name} {meta.version}, the file says {metadata.signed.version}"
        )
    return data


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
