# SPDX-License-Identifier: MIT
"""From what is published to what is to be published: metadata that are made, signed in turn, and handed over as one set.

A stage is a folder, made offline or here, that can travel on a stick:

    metadata/VERSION.ROLE.json    new metadata, perhaps not yet with all the signatures that they need
    targets/PATH                  images of new releases

`Draft` lays a stage over what is published.  Rules kept: a staged file is changed, not followed, until it is published,
but a root that has all its signatures stays as it is; nothing is published that lacks a signature, or that something
newer has overtaken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from agent.trust.walk import LIMITS as DEVICE_TAKES

from . import published
from .keyfolder import KeyFolder, read_if_there
from .problem import Problem
from .published import Published, file_name, parse, role_of, version_of

if TYPE_CHECKING:
    from tuf.api.metadata import Metadata, Root, Targets

    from .api import Api


class Lack(NamedTuple):
    """Signatures that a staged file still needs: `threshold` of them, `signed` are there, `keyids` may give more."""

    name: str
    signed: int
    threshold: int
    keyids: list[str]


class Stage:
    def __init__(self, folder: Path):
        self.folder = folder
        self.metadata = folder / "metadata"
        self.targets = folder / "targets"

    def read(self) -> dict[str, bytes]:
        found = {}
        for path in sorted(self.metadata.glob("*.json")):
            role, version = role_of(path.name)
            data = read_if_there(path) or b""
            try:
                wrong = version_of(data) != version
            except Problem as problem:
                raise Problem("metadata_invalid", f"{path} cannot be used.", problem.reason) from None
            if wrong:
                raise Problem("metadata_invalid", f"{path} cannot be used.", "its name says another version")
            found[path.name] = data
        return found

    def write(self, files: dict[str, bytes]) -> None:
        """Exactly these metadata, and whatever images there are."""
        from trueboot_server.state import write_atomically

        try:
            self.metadata.mkdir(parents=True, exist_ok=True)
            for name, data in files.items():
                write_atomically(self.metadata / name, data)
            for path in self.metadata.glob("*.json"):
                if path.name not in files:
                    path.unlink()
        except OSError as error:
            raise Problem("file_unusable", f"{self.folder} cannot be written.", error.strerror or str(error)) from None

    def write_image(self, path: str, image: bytes) -> None:
        from .keyfiles import write_new

        place = self.targets / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Problem("file_unusable", f"{place} cannot be written.", error.strerror or str(error)) from None
        write_new(place, image, force=True)

    def drop(self) -> None:
        """After everything was published."""
        for path in self.metadata.glob("*.json"):
            path.unlink(missing_ok=True)
        for folder in (self.metadata, self.folder):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


class Draft:
    """What is published with what is staged on top.  `base` has no targets while nothing was ever published."""

    def __init__(self, base: Published, staged: dict[str, bytes]):
        self.base = base
        self.roots: dict[int, bytes] = {}
        self.roles: dict[str, bytes] = {}  # "targets" among them
        for name, data in sorted(staged.items(), key=lambda item: role_of(item[0])[1]):
            role, version = role_of(name)
            if role in ("timestamp", "snapshot"):
                raise Problem("metadata_invalid", f"{name} is not for a stage.", "the server signs it")
            if role == "root":
                if version in base.roots and base.roots[version] != data or version <= min(base.roots):
                    raise _stale(name, max(base.roots))
                if version not in base.roots:
                    self.roots[version] = data
                continue
            before = self.published(role)
            if before == data:
                continue
            if before is not None and version_of(before) >= version:
                raise _stale(name, version_of(before))
            self.roles[role] = data
        if sorted(self.roots) != list(range(max(base.roots) + 1, max(base.roots) + 1 + len(self.roots))):
            raise Problem("metadata_invalid", why="a root between the published and the staged one is missing")

    def published(self, role: str) -> bytes | None:
        return self.base.targets if role == "targets" else self.base.roles.get(role)

    def newest(self, role: str) -> bytes | None:
        return self.roles.get(role) or self.published(role)

    @property
    def root(self) -> Metadata[Root]:
        every = {**self.base.roots, **self.roots}
        return parse(every[max(every)], "root")

    @property
    def targets(self) -> Metadata[Targets]:
        data = self.newest("targets")
        if data is None:
            raise Problem("targets_missing")
        return parse(data, "targets")

    @property
    def bins(self) -> dict[str, bytes]:
        """All delegated roles."""
        return self.base.roles | {role: data for role, data in self.roles.items() if role != "targets"}

    @property
    def files(self) -> dict[str, bytes]:
        """What is to be published: roots in order, targets, delegated roles."""
        found = {file_name("root", version): data for version, data in sorted(self.roots.items())}
        for role in sorted(self.roles, key=lambda role: (role != "targets", role)):
            found[file_name(role, version_of(self.roles[role]))] = self.roles[role]
        return found

    def next_root(self, life: timedelta) -> tuple[Metadata[Root], Metadata[Root]]:
        """(the root to sign next, the one before it)."""
        from trueboot_server.repo import signing

        every = {**self.base.roots, **self.roots}
        last = max(every)
        following = parse(every[last], "root")
        if last not in self.roots or not any(lack.name == file_name("root", last) for lack in self.lacking()):
            following.signed.version = last + 1
        before = parse(every[following.signed.version - 1], "root")
        following.signed.expires = signing.in_future(life)
        return following, before

    def next(self, role: str, life: timedelta) -> Metadata[Targets]:
        """Targets or a delegated role as it is to be signed next."""
        from tuf.api.metadata import Metadata, Targets

        from trueboot_server.repo import signing

        data, before = self.newest(role), self.published(role)
        metadata = parse(data, "targets") if data else Metadata(Targets(1, signing.SPEC_VERSION))
        metadata.signed.version = (version_of(before) if before else 0) + 1
        metadata.signed.expires = signing.in_future(life)
        return metadata

    def sign(self, role: str, metadata: Metadata[Any], signers: list[Any]) -> None:
        """Take it into the draft, signed by these alone."""
        from trueboot_server.repo import signing

        data = signing.sign(metadata, signers)
        if len(data) > DEVICE_TAKES.get(role, DEVICE_TAKES["targets"]):
            raise Problem(
                "metadata_too_large",
                f"{file_name(role, metadata.signed.version)} would be too large for devices.",
                f"it has {len(data)} bytes, of {DEVICE_TAKES.get(role, DEVICE_TAKES['targets'])} that they take",
            )
        if role == "root":
            self.roots[metadata.signed.version] = data
        else:
            self.roles[role] = data

    def delegator(self, role: str) -> Metadata[Any]:
        return self.root if role == "targets" else self.targets

    def keyids(self, role: str) -> list[str]:
        """Of those who may sign targets or a delegated role."""
        return keyids_of(self.delegator(role), role)

    def lacking(self) -> list[Lack]:
        lacks = []
        every = {**self.base.roots, **self.roots}
        if self.base.targets is None:  # nothing was published: perhaps not even the first root is signed by all
            first = every[min(every)]
            lacks.append(_lack(parse(first, "root"), "root", first))
        for version, data in sorted(self.roots.items()):
            for judge in (every[version - 1], data):
                lacks.append(_lack(parse(judge, "root"), "root", data))
        for role, data in self.roles.items():
            lacks.append(_lack(self.delegator(role), role, data))
        # A change of keys may also leave published metadata without a signature that counts.
        for role, before in {"targets": self.base.targets, **self.base.roles}.items():
            if before is not None and role not in self.roles:
                lacks.append(_lack(self.delegator(role), role, before))
        return [lack for lack in lacks if lack is not None]


def draft_of(base: Published, keys: KeyFolder | None, stage: Stage | None = None) -> Draft:
    """`base` under the folder's first targets, what is staged in it, and `stage`."""
    staged: dict[str, bytes] = {}
    if keys is not None:
        first = keys.read("1.targets.json")
        if first is not None and base.targets is None:
            staged["1.targets.json"] = first
        staged |= Stage(keys.staged).read()
    if stage is not None and (keys is None or stage.folder != keys.staged):
        staged |= stage.read()
    return Draft(base, staged)


def offline_base(keys: KeyFolder, strict: bool = True) -> Published:
    """What was last seen; before anything was published, the first root, which must be signed if `strict`."""
    anchor = keys.read("1.root.json")
    seen = published.read_seen(keys.seen, anchor)
    if seen is not None:
        return seen
    if anchor is None:
        raise Problem("root_missing", f"{keys.path} holds no root metadata.")
    root = parse(anchor, "root")
    lack = _lack(root, "root", anchor)
    if lack is not None and strict:
        raise _unsigned([lack])
    return Published({root.signed.version: anchor})


def current(api: Api, keys: KeyFolder | None) -> Published:
    """What the server has published, verified from the root at hand, not older than what was seen; remembered."""
    anchor = keys.read("1.root.json") if keys else None
    known = published.read_seen(keys.seen, anchor) if keys else None
    if anchor is None and known is None and api.server.root_file:
        anchor = read_if_there(Path(api.server.root_file))
    if anchor is not None and known is None:
        served = published.fetch(api, file_name("root", version_of(anchor)))
        if served is not None and served != anchor:
            raise Problem(
                "key_not_authorised",
                why="the server's root metadata are not those of this folder of keys",
                todo="Name the folder of keys whose 1.root.json the server was started with.",
            )
    found = published.load(lambda name: published.fetch(api, name), anchor, known)
    if keys is not None:
        found.save(keys.seen)
    return found


def publish(
    api: Api, draft: Draft, keys: KeyFolder | None, images: Mapping[str, Path | bytes] | None = None
) -> Published:
    """Upload images, hand over the metadata, all or nothing, and see that they are served."""
    lacks = draft.lacking()
    if lacks:
        raise _unsigned(lacks)
    signed = {
        path: file for data in draft.bins.values() for path, file in parse(data, "targets").signed.targets.items()
    }
    signed |= draft.targets.signed.targets
    for path, source in (images or {}).items():
        image = source if isinstance(source, bytes) else read_if_there(source) or b""
        if path not in signed:
            raise Problem("metadata_invalid", why=f"the image {path} is staged, and no metadata name it")
        if signed[path].hashes.get("sha256") != hashlib.sha256(image).hexdigest():
            raise Problem("metadata_invalid", why=f"the staged image {path} is not the one that was signed")
        api.request("PUT", f"/api/v1/repo/targets/{path}", body=image)
    files = draft.files
    if files:
        api.post("/api/v1/repo/metadata", {"files": {name: data.decode() for name, data in files.items()}})
    served = current(api, keys)
    for name, data in files.items():
        role, version = role_of(name)
        if role == "root" and served.roots.get(version) != data:
            raise Problem("metadata_invalid", why=f"the server took {name} and serves another")
    return served


def keyids_of(delegator: Metadata[Any], role: str) -> list[str]:
    try:
        return list(delegator.signed.get_delegated_role(role).keyids)
    except ValueError:
        raise Problem("metadata_invalid", why=f"nobody delegates to {role}") from None


def _lack(delegator: Metadata[Any], role: str, data: bytes) -> Lack | None:
    metadata = parse(data)
    signed, lacking, threshold = published.signatures(delegator, role, metadata)
    if len(signed) >= threshold:
        return None
    return Lack(file_name(role, metadata.signed.version), len(signed), threshold, lacking)


def _unsigned(lacks: list[Lack]) -> Problem:
    told = "; ".join(dict.fromkeys(f"{lack.name} has {lack.signed} of {lack.threshold}" for lack in lacks))
    return Problem("signatures_missing", why=told)


def _stale(name: str, version: int) -> Problem:
    return Problem("stage_stale", why=f"{name} is staged, and version {version} is published")
