# SPDX-License-Identifier: MIT
"""Repositories, good and attacked, made with python-tuf; each case says what a device must decide."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

ROLES = ("root", "targets", "snapshot", "timestamp")
NOW = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
PATH = "app/sim/1.1.0/app.img"
COMPACT = JSONSerializer(compact=True)


class Repository:
    """A TUF repository in RAM whose every file can be bent before it is signed, or after."""

    def __init__(self):
        self.expires = datetime(2027, 1, 1, tzinfo=UTC)
        self.signers = {role: [CryptoSigner.generate_ecdsa()] for role in ROLES}
        self.root = Root(expires=self.expires, consistent_snapshot=True)
        for role, signers in self.signers.items():
            self.root.add_key(signers[0].public_key, role)
        self.targets = Targets(expires=self.expires)
        custom = {"kind": "app", "version": "1.1.0", "hardware": ["sim"], "security": 0}
        self.targets.targets[PATH] = TargetFile(9, {"sha256": "ab" * 32}, PATH, {"custom": custom})
        self.snapshot = Snapshot(expires=self.expires)
        self.timestamp = Timestamp(expires=self.expires)
        self.files: dict[str, bytes] = {}
        self.seen: list[dict[str, bytes]] = []  # what a device met on earlier visits
        self.pinned = self.sign(self.root, "root")

    def sign(self, signed, role, signers=None, serializer=COMPACT) -> bytes:
        metadata = Metadata(copy.deepcopy(signed))
        for signer in signers or self.signers[role]:
            metadata.sign(signer, append=True)
        return metadata.to_bytes(serializer)

    def publish(self) -> Repository:
        self.snapshot.meta["targets.json"].version = self.targets.version
        self.timestamp.snapshot_meta.version = self.snapshot.version
        self.files["%d.targets.json" % self.targets.version] = self.sign(self.targets, "targets")
        self.files["%d.snapshot.json" % self.snapshot.version] = self.sign(self.snapshot, "snapshot")
        self.files["timestamp.json"] = self.sign(self.timestamp, "timestamp")
        return self

    def visit(self) -> None:
        """A device comes by, and trusts what there is now."""
        self.seen.append(dict(self.files))

    def visits(self) -> list[dict[str, bytes]]:
        return [*self.seen, self.files]

    def rotate(self, role="targets", sign_with=None) -> None:
        """A next root with a new key for `role`."""
        old = self.signers[role]
        new = CryptoSigner.generate_ecdsa()
        self.root.revoke_key(old[0].public_key.keyid, role)
        self.root.add_key(new.public_key, role)
        self.root.version += 1
        both = (old + [new]) if role == "root" else self.signers["root"]
        self.signers[role] = [new]
        self.files["%d.root.json" % self.root.version] = self.sign(self.root, "root", sign_with or both)


def _edit(data: bytes, change) -> bytes:
    """Bend a file after it was signed."""
    document = json.loads(data)
    change(document)
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def build() -> dict[str, tuple[Repository, str]]:
    """name -> (repository, "" or the code of the error that the device must give)."""
    cases: dict[str, tuple[Repository, str]] = {}

    def case(name, code=""):
        repository = Repository().publish()
        cases[name] = (repository, code)
        return repository

    case("good")
    r = case("good: indented by the reference implementation")
    for name, signed, role in (("1.targets.json", r.targets, "targets"), ("timestamp.json", r.timestamp, "timestamp")):
        r.files[name] = r.sign(signed, role, serializer=JSONSerializer())
    r = case("good: three root rotations while offline")
    for _ in range(3):
        r.rotate("root")
    r.rotate("targets")
    r.publish()
    r = case("good: text that needs escapes, and beyond the basic plane")
    r.targets.targets[PATH].unrecognized_fields["custom"]["note"] = 'a "quoted" \\ \n \u00e9 \U0001f600'
    r.publish()
    r = case("good: a threshold of two, met by two keys")
    _two_of_two(r)
    r.pinned = r.sign(r.root, "root")
    r.publish()

    r = case("threshold of two, one signature", "metadata_signature")
    _two_of_two(r)
    r.pinned = r.sign(r.root, "root")
    r.publish()
    r.files["1.targets.json"] = r.sign(r.targets, "targets", r.signers["targets"][:1])
    r = case("threshold of two, one key twice", "metadata_field")
    _two_of_two(r)
    r.pinned = r.sign(r.root, "root")
    r.publish()
    one = r.sign(r.targets, "targets", r.signers["targets"][:1])
    r.files["1.targets.json"] = _edit(one, lambda d: d["signatures"].append(d["signatures"][0]))
    r = case("threshold of two, one key under two ids", "metadata_signature")
    _two_ids_of_one_key(r)

    r = case("a stolen release key after the root was rotated", "metadata_signature")
    stolen = r.signers["targets"]
    r.rotate("targets")
    r.files["1.targets.json"] = r.sign(r.targets, "targets", stolen)
    r = case("a next root that the old one did not sign", "metadata_signature")
    r.rotate("root", sign_with=[CryptoSigner.generate_ecdsa()])
    r = case("a next root that skips a version", "metadata_version")
    r.root.version = 3
    r.files["2.root.json"] = r.sign(r.root, "root")

    r = case("a changed hash", "metadata_signature")
    r.files["1.targets.json"] = _edit(
        r.files["1.targets.json"], lambda d: d["signed"]["targets"][PATH]["hashes"].update(sha256="cd" * 32)
    )
    r = case("targets signed by the timestamp key", "metadata_signature")
    r.files["1.targets.json"] = r.sign(r.targets, "targets", r.signers["timestamp"])
    r = case("snapshot in the place of targets", "metadata_type")
    r.files["1.targets.json"] = r.files["1.snapshot.json"]

    for role in ("timestamp", "snapshot", "targets"):
        r = case("rollback of the " + role, "metadata_version")
        getattr(r, role).version = 2
        r.publish().visit()
        getattr(r, role).version = 1
        r.timestamp.version += role != "timestamp"
        r.snapshot.version += role == "targets"
        r.publish()
    r = case("mix and match: a snapshot of another version", "metadata_version")
    r.timestamp.snapshot_meta.version = 2
    r.files["timestamp.json"] = r.sign(r.timestamp, "timestamp")
    r.files["2.snapshot.json"] = r.files["1.snapshot.json"]
    r = case("another snapshot than the announced hash", "metadata_hash")
    r.timestamp.snapshot_meta.hashes = {"sha256": "00" * 32}
    r.files["timestamp.json"] = r.sign(r.timestamp, "timestamp")

    for role in ("timestamp", "snapshot", "targets"):
        r = case("freeze: an expired " + role, "metadata_expired")
        getattr(r, role).expires = datetime.fromtimestamp(NOW, UTC) - timedelta(seconds=1)
        r.publish()
    r = case("an expired root", "metadata_expired")
    r.root.expires = datetime(2026, 5, 1, tzinfo=UTC)
    r.pinned = r.sign(r.root, "root")

    for name in ("timestamp.json", "1.snapshot.json", "1.targets.json"):
        r = case("missing " + name, "metadata_missing")
        del r.files[name]
    for name, bad in GARBAGE.items():
        r = case("garbage: " + name, "utf8" if "UTF-8" in name else "metadata_json")
        r.files["timestamp.json"] = bad
    r = case("duplicate keys", "metadata_json")
    r.files["timestamp.json"] = r.files["timestamp.json"].replace(b'"version":1}}', b'"version":1,"version":1}}')
    r = case("a version that is no integer", "metadata_field")
    r.files["timestamp.json"] = _edit(r.files["timestamp.json"], lambda d: d["signed"].update(version="1"))
    r = case("another major version of the specification", "metadata_field")
    r.files["timestamp.json"] = _edit(r.files["timestamp.json"], lambda d: d["signed"].update(spec_version="2.0.0"))
    r = case("a huge version", "metadata_field")
    r.files["timestamp.json"] = _edit(r.files["timestamp.json"], lambda d: d["signed"].update(version=1 << 53))
    return cases


GARBAGE = {
    "empty": b"",
    "not UTF-8": b'{"signatures":[],"signed":"\xff\xfe"}',
    "truncated": b'{"signatures":[],"signed":{"_type":"time',
    "deeply nested": b'{"signatures":' + b"[" * 500 + b"]" * 500 + b',"signed":{}}',
    "a float": b'{"signatures":[],"signed":{"version":1.5}}',
    "a huge integer": b'{"signatures":[],"signed":{"version":' + b"9" * 400 + b"}}",
    "half a surrogate pair": b'{"signatures":[],"signed":"\\ud83d"}',
    "a comma too many": b'{"signatures":[],"signed":{},}',
}


def _two_of_two(r: Repository) -> None:
    second = CryptoSigner.generate_ecdsa()
    r.signers["targets"].append(second)
    r.root.add_key(second.public_key, "targets")
    r.root.roles["targets"].threshold = 2


def _two_ids_of_one_key(r: Repository) -> None:
    key = r.signers["targets"][0].public_key
    other = copy.deepcopy(key)
    other.keyid = "f" * 64
    r.root.keys[other.keyid] = other
    r.root.roles["targets"].keyids.append(other.keyid)
    r.root.roles["targets"].threshold = 2
    r.pinned = r.sign(r.root, "root")
    r.publish()
    one = r.sign(r.targets, "targets")

    def twice(document):
        document["signatures"].append(dict(document["signatures"][0], keyid=other.keyid))

    r.files["1.targets.json"] = _edit(one, twice)
