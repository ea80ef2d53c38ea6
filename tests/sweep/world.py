# SPDX-License-Identifier: MIT
"""The release that the sweep installs, signed by python-tuf, as a file that both interpreters read.

repository  an offer that names a target; metadata and image come from the repository
rotated     the same, after the online keys were stolen and replaced: what the device trusted by the old
            ones, fast-forwarded versions and a clock in the far future, must become void
bundle      an offer with nothing but a URL, of a bundle that carries a new root too
file        no offer: the bundle lies in a file, and the request for it in the device's store
"""

from __future__ import annotations

import copy
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from agent.crypto.verify import verify
from agent.trust.walk import Walk
from agent.wire import appimage

ONLINE = ("timestamp", "snapshot")
SECURITY = 2
PATH = "%s/sim/1.1.0/image"
NOW = datetime(2026, 12, 1, tzinfo=UTC)
ISSUED = datetime(2026, 11, 30, tzinfo=UTC)
EXPIRES = datetime(2027, 6, 1, tzinfo=UTC)
FAR = datetime(2040, 1, 1, tzinfo=UTC)
URL = "https://cloud:1/files/fw.bin"
COMPACT = JSONSerializer(compact=True)


def kind() -> str:
    """Of the images that are built: a test may put another builder in the place of `appimage`."""
    return getattr(appimage, "KIND", "app")


class Repository:
    """Targets delegates all to hash bins, which the release key signs."""

    def __init__(self, image: bytes):
        self.keys = {
            role: CryptoSigner.generate_ecdsa() for role in ("root", "timestamp", "snapshot", "targets", "release")
        }
        self.root = Root(expires=EXPIRES, consistent_snapshot=True)
        for role in ("root", "timestamp", "snapshot", "targets"):
            self.root.add_key(self.keys[role].public_key, role)
        key = self.keys["release"].public_key
        self.path = PATH % kind()
        bins = SuccinctRoles([key.keyid], 1, 5, "bin")
        self.targets = Targets(expires=EXPIRES, delegations=Delegations({key.keyid: key}, succinct_roles=bins))
        self.bin = bins.get_role_for_target(self.path)
        custom = {"kind": kind(), "version": "1.1.0", "hardware": ["sim"], "security": SECURITY, "size": len(image)}
        custom |= {"requires": ">=1.0.0 <1.1.0", "prerequisite": "1.0.0"}
        self.releases = Targets(expires=EXPIRES)
        sha256 = hashlib.sha256(image).hexdigest()
        self.releases.targets[self.path] = TargetFile(len(image), {"sha256": sha256}, self.path, {"custom": custom})
        self.snapshot = Snapshot(expires=EXPIRES)
        self.timestamp = Timestamp(expires=EXPIRES)
        self.files: dict[str, bytes] = {}
        self.pinned = self.sign(self.root, "root")

    def sign(self, signed, *roles) -> bytes:
        metadata = Metadata(copy.deepcopy(signed))
        for role in roles:
            metadata.sign(self.keys[role], append=True)
        return metadata.to_bytes(COMPACT)

    def publish(self, version: int = 1, issued: datetime = ISSUED, expires: datetime = EXPIRES) -> None:
        for signed in (self.targets, self.releases, self.snapshot, self.timestamp):
            signed.version = version
        self.snapshot.meta = {"targets.json": MetaFile(version), self.bin + ".json": MetaFile(version)}
        self.timestamp.snapshot_meta = MetaFile(version)
        self.timestamp.expires = expires
        said = {"issued": issued.strftime("%Y-%m-%dT%H:%M:%SZ"), "root": self.root.version}
        self.timestamp.unrecognized_fields["trueboot"] = said
        self.files["%d.targets.json" % version] = self.sign(self.targets, "targets")
        self.files["%d.%s.json" % (version, self.bin)] = self.sign(self.releases, "release")
        self.files["%d.snapshot.json" % version] = self.sign(self.snapshot, "snapshot")
        self.files["timestamp.json"] = self.sign(self.timestamp, "timestamp")

    def replace_online_keys(self) -> None:
        for role in ONLINE:
            self.root.revoke_key(self.keys[role].public_key.keyid, role)
            self.keys[role] = CryptoSigner.generate_ecdsa()
            self.root.add_key(self.keys[role].public_key, role)
        self.root.version += 1
        self.files["%d.root.json" % self.root.version] = self.sign(self.root, "root")

    def bundle(self, image: bytes) -> bytes:
        names = ["%d.root.json" % n for n in range(2, self.root.version + 1)]
        names += ["timestamp.json", "1.snapshot.json", "1.targets.json", "1.%s.json" % self.bin]
        parts = [b"trueboot-bundle 1\n"]
        parts += [b"%d %s\n" % (len(self.files[name]), name.encode()) + self.files[name] for name in names]
        return b"".join(parts) + b"%d target:%s\n" % (len(image), self.path.encode()) + image


def write(folder: Path, kind: str) -> Path:
    """The world's file in `folder`."""
    image = appimage.build({"main.py": b"version = 2\n" * 300, "lib/a.py": b"x = 1\n"})
    factory = appimage.build({"main.py": b"version = 1\n"})
    repository = Repository(image)
    trust = _fast_forwarded(repository) if kind == "rotated" else {}
    if kind != "repository":
        repository.replace_online_keys()
    repository.publish()
    bundle = repository.bundle(image)
    world = {
        "kind": kind,
        "files": {} if kind in ("bundle", "file") else {name: data.hex() for name, data in repository.files.items()},
        "root": repository.pinned.hex(),
        "newest": repository.files.get("2.root.json", b"").hex(),
        "image": image.hex(),
        "factory": factory.hex(),
        "version": "1.1.0",
        "security": SECURITY,
        "target": repository.path,
        "now": int(NOW.timestamp()),
        "issued": int(ISSUED.timestamp()),
        "trust": {name: data.hex() for name, data in trust.items()},
        "clock": int(FAR.timestamp()) - 1 if trust else 0,
        "bundle": bundle.hex() if kind == "bundle" else "",
        "url": URL,
    }
    if kind == "file":
        (folder / "fw.bundle").write_bytes(bundle)
        world["path"] = str(folder / "fw.bundle")
    path = folder / (kind + ".json")
    path.write_text(json.dumps(world))
    return path


def _fast_forwarded(repository: Repository) -> dict[str, bytes]:
    """What a device has stored that saw version 9 of everything, of the far future."""
    repository.publish(9, FAR, FAR)
    walk = Walk({"root": repository.pinned}, int(NOW.timestamp()), verify)
    while wanted := walk.wanted():
        walk.feed(repository.files.get(wanted[0]))
    repository.files.clear()
    return dict(walk.take())
