# SPDX-License-Identifier: MIT
"""Repositories, good and attacked, made with python-tuf; each case says what a device must decide."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

ROLES = ("root", "targets", "snapshot", "timestamp")
NOW = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
PAST = datetime.fromtimestamp(NOW, UTC) - timedelta(seconds=1)
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
        self.visits: list[dict[str, Any]] = []  # of a device, before its last one
        self.late = 0  # seconds by which that is later
        self.pinned = self.sign(self.root, "root")

    def sign(self, signed, role, signers=None, serializer=COMPACT) -> bytes:
        metadata = Metadata(copy.deepcopy(signed))
        for signer in signers or self.signers[role]:
            metadata.sign(signer, append=True)
        return metadata.to_bytes(serializer)

    def sign_anew(self, data: bytes, role: str, change: Callable[[dict], Any]) -> bytes:
        """Bend what is signed beyond what python-tuf lets pass, and sign it again by the right keys."""
        document = json.loads(data)
        change(document["signed"])
        form = encode_canonical(document["signed"]).encode()
        document["signatures"] = [signer.sign(form).to_dict() for signer in self.signers[role]]
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    def announce(self, role: str, version: int) -> None:
        self.snapshot.meta[role + ".json"] = MetaFile(version)

    def publish(self) -> Repository:
        self.announce("targets", self.targets.version)
        self.timestamp.snapshot_meta.version = self.snapshot.version
        return self.write()

    def write(self) -> Repository:
        self.files["%d.targets.json" % self.targets.version] = self.sign(self.targets, "targets")
        self.files["%d.snapshot.json" % self.snapshot.version] = self.sign(self.snapshot, "snapshot")
        self.files["timestamp.json"] = self.sign(self.timestamp, "timestamp")
        return self

    def pin(self) -> Repository:
        """The root as it is now is the device's first."""
        self.pinned = self.sign(self.root, "root")
        return self.publish()

    def bump(self, *roles: str) -> Repository:
        for role in roles:
            getattr(self, role).version += 1
        return self.publish()

    def visit(self, code: str = "") -> Repository:
        """The device comes by, and trusts what there is now."""
        self.visits.append({"files": dict(self.files), "code": code})
        return self

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


def edit(data: bytes, change) -> bytes:
    """Bend a file after it was signed."""
    document = json.loads(data)
    change(document)
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


class Case:
    """`code` is what the last visit must end with: "" with the target found, "none" without; `asked`: how many files for."""

    def __init__(self, repository, code, asked):
        self.repository = repository
        self.code = code
        self.asked = asked

    def visits(self) -> list[dict[str, Any]]:
        last = {"files": self.repository.files, "code": self.code}
        if self.asked is not None:
            last["asked"] = self.asked
        return [*self.repository.visits, last]


def build() -> dict[str, Case]:
    cases: dict[str, Case] = {}

    def case(name, code="", repository=None, asked=None):
        if name in cases:
            raise ValueError("two cases are called " + name)
        repository = repository or Repository().publish()
        cases[name] = Case(repository, code, asked)
        return repository

    import delegations

    _good(case)
    _signatures(case)
    _keys(case)
    _versions(case)
    _damage(case)
    delegations.build(case)
    return cases


def _good(case) -> None:
    case("good", asked=4)
    r = case("good: indented by the reference implementation")
    for name, signed, role in (("1.targets.json", r.targets, "targets"), ("timestamp.json", r.timestamp, "timestamp")):
        r.files[name] = r.sign(signed, role, serializer=JSONSerializer())
    r = case("good: three root rotations while offline")
    for _ in range(3):
        r.rotate("root")
    r.rotate("targets")
    r.publish()
    r = case("good: text that needs escapes, and beyond the basic plane")
    r.targets.targets[PATH].unrecognized_fields["custom"]["note"] = 'a "quoted" \\ \n \t \u00e9 \U0001f600'
    r.publish()
    r = case("good: members that nobody knows")
    r.root.unrecognized_fields["x"] = {"y": [1, None, True, -5, ""]}
    r.root.roles["targets"].unrecognized_fields["x"] = 1
    r.timestamp.unrecognized_fields["x"] = "y"
    r.pin()
    r = case("good: lengths and hashes of files")
    for hashes in (["sha256"], ["sha512"], ["sha512", "sha256"]):
        r.publish()
        data = r.sign(r.targets, "targets")
        r.files["1.targets.json"] = data
        r.snapshot.meta["targets.json"] = MetaFile.from_data(1, data, hashes)
        r.files["1.snapshot.json"] = data = r.sign(r.snapshot, "snapshot")
        r.timestamp.snapshot_meta = MetaFile.from_data(1, data, hashes)
        r.files["timestamp.json"] = r.sign(r.timestamp, "timestamp")
        r.visit()
        r.targets.version = r.snapshot.version = 1


def _signatures(case) -> None:
    r = case("arbitrary software: targets signed by a stranger", "metadata_signature")
    r.files["1.targets.json"] = r.sign(r.targets, "targets", [CryptoSigner.generate_ecdsa()])
    r = case("arbitrary software: targets that nobody signed", "metadata_signature")
    r.files["1.targets.json"] = edit(r.files["1.targets.json"], lambda d: d.update(signatures=[]))
    r = case("arbitrary software: a stranger's signature under the right key id", "metadata_signature")
    by_stranger = json.loads(r.sign(r.targets, "targets", [CryptoSigner.generate_ecdsa()]))["signatures"][0]["sig"]
    r.files["1.targets.json"] = edit(r.files["1.targets.json"], lambda d: d["signatures"][0].update(sig=by_stranger))
    r = case("a changed hash", "metadata_signature")
    r.files["1.targets.json"] = edit(
        r.files["1.targets.json"], lambda d: d["signed"]["targets"][PATH]["hashes"].update(sha256="cd" * 32)
    )
    for role, signer in (
        ("targets", "timestamp"),
        ("snapshot", "timestamp"),
        ("timestamp", "snapshot"),
        ("targets", "root"),
    ):
        r = case("%s signed by the %s key" % (role, signer), "metadata_signature")
        name = "timestamp.json" if role == "timestamp" else "1.%s.json" % role
        r.files[name] = r.sign(getattr(r, role), role, r.signers[signer])
    r = case("snapshot in the place of targets", "metadata_type")
    r.files["1.targets.json"] = r.files["1.snapshot.json"]
    r = case("a timestamp in the place of the snapshot, both by one key", "metadata_type")
    r.signers["snapshot"] = r.signers["timestamp"]
    r.root.roles["snapshot"].keyids = r.root.roles["timestamp"].keyids
    r.pin()
    r.files["1.snapshot.json"] = r.files["timestamp.json"]

    r = case("good: a threshold of two, met by two keys")
    _two_of_two(r)
    r.pin()
    r = case("threshold of two, one signature", "metadata_signature")
    _two_of_two(r)
    r.pin()
    r.files["1.targets.json"] = r.sign(r.targets, "targets", r.signers["targets"][:1])
    r = case("threshold of two, one key twice", "metadata_field")
    _two_of_two(r)
    r.pin()
    one = r.sign(r.targets, "targets", r.signers["targets"][:1])
    r.files["1.targets.json"] = edit(one, lambda d: d["signatures"].append(d["signatures"][0]))
    r = case("one key id twice, though the threshold is met", "metadata_field")
    r.files["1.targets.json"] = edit(r.files["1.targets.json"], lambda d: d["signatures"].append(d["signatures"][0]))
    r = case("threshold of two, one key under two ids", "metadata_signature")
    _two_ids_of_one_key(r)
    r = case("threshold of two, the second key revoked", "metadata_signature")
    _two_of_two(r)
    r.pin()
    r.root.revoke_key(r.signers["targets"][1].public_key.keyid, "targets")
    r.root.add_key(CryptoSigner.generate_ecdsa().public_key, "targets")
    r.root.version = 2
    r.files["2.root.json"] = r.sign(r.root, "root")
    for threshold in (0, -1, True, "1", None):
        r = case("a threshold of %r" % threshold, "metadata_field")
        r.pinned = r.sign_anew(r.pinned, "root", lambda d, t=threshold: d["roles"]["targets"].update(threshold=t))
    r = case("more signatures than are looked at", "metadata_field")
    r.files["timestamp.json"] = edit(
        r.files["timestamp.json"],
        lambda d: d["signatures"].extend({"keyid": "%064x" % n, "sig": "00"} for n in range(20)),
    )
    r = case("good: bad signatures beside a good one")
    r.files["timestamp.json"] = edit(r.files["timestamp.json"], _with_bad_signatures)


def _with_bad_signatures(document) -> None:
    odd = (
        {"keyid": "a", "sig": "zz"},
        {"keyid": "b", "sig": ""},
        {"keyid": "c"},
        {"sig": "00"},
        {"keyid": "d", "sig": 5},
        "x",
        None,
    )
    document["signatures"][:0] = odd


def _keys(case) -> None:
    r = case("a stolen release key after the root was rotated", "metadata_signature")
    stolen = r.signers["targets"]
    r.rotate("targets")
    r.files["1.targets.json"] = r.sign(r.targets, "targets", stolen)
    r = case("a stolen release key, met after three rotations by a device that was offline", "metadata_signature")
    r.visit()
    stolen = r.signers["targets"]
    for role in ("targets", "root", "timestamp"):
        r.rotate(role)
    r.targets.version = 2
    r.bump("snapshot", "timestamp")
    r.files["2.targets.json"] = r.sign(r.targets, "targets", stolen)
    r = case("a next root that the old one did not sign", "metadata_signature")
    r.rotate("root", sign_with=[CryptoSigner.generate_ecdsa()])
    r = case("a next root that only its own keys signed", "metadata_signature")
    r.rotate("root")
    r.files["2.root.json"] = r.sign(r.root, "root")
    r = case("a next root that its own keys did not sign", "metadata_signature")
    r.rotate("root", sign_with=r.signers["root"])
    r = case("a next root that skips a version", "metadata_version")
    r.root.version = 3
    r.files["2.root.json"] = r.sign(r.root, "root")
    r = case("rollback of the root", "metadata_version")
    r.rotate("targets")
    r.publish().visit()
    r.files["3.root.json"] = r.pinned
    r = case("a root without a role", "metadata_field")
    r.root.version = 2
    r.files["2.root.json"] = r.sign_anew(r.sign(r.root, "root"), "root", lambda d: d["roles"].pop("snapshot"))
    r = case("a first root that is not signed", "metadata_signature")
    r.pinned = edit(r.pinned, lambda d: d.update(signatures=[]))

    for kind in ("ed25519", "rsa"):
        r = case("good: keys of type " + kind)
        _rekey(r, getattr(CryptoSigner, "generate_" + kind)())
        r = case("a stranger's signature by a key of type " + kind, "metadata_signature")
        _rekey(r, getattr(CryptoSigner, "generate_" + kind)())
        r.files["1.targets.json"] = r.sign(r.targets, "targets", [getattr(CryptoSigner, "generate_" + kind)()])
        r.files["1.targets.json"] = edit(
            r.files["1.targets.json"],
            lambda d, r=r: d["signatures"][0].update(keyid=r.signers["targets"][0].public_key.keyid),
        )
    r = case("good: the legacy name of P-256 keys")
    for key in r.root.keys.values():
        key.keytype = "ecdsa-sha2-nistp256"
    r.pin()
    for what, change in {
        "a key type that nobody knows": {"keytype": "sphincs"},
        "a scheme that nobody knows": {"scheme": "ecdsa-sha2-nistp384"},
        "a key of another type than its scheme": {"keytype": "ed25519"},
        "a key that is no PEM": {"keyval": {"public": "00" * 65}},
        "a key that is a number": {"keyval": {"public": 5}},
        "a key without a value": {"keyval": None},
        "a key type that is a list": {"keytype": []},
    }.items():
        r = case("the only key is " + what, "metadata_signature")
        keyid = r.signers["targets"][0].public_key.keyid
        r.pinned = r.sign_anew(r.pinned, "root", lambda d, k=keyid, c=change: d["keys"][k].update(c))
        r = case("good: beside the right key lies " + what)
        r.root.add_key(CryptoSigner.generate_ecdsa().public_key, "targets")
        keyid = r.root.roles["targets"].keyids[1]
        r.pin()
        r.pinned = r.sign_anew(r.pinned, "root", lambda d, k=keyid, c=change: d["keys"][k].update(c))
    r = case("a role names one key twice", "metadata_field")
    r.pinned = r.sign_anew(
        r.pinned, "root", lambda d: d["roles"]["targets"].update(keyids=d["roles"]["targets"]["keyids"] * 2)
    )


def _rekey(r, signer) -> None:
    r.root.revoke_key(r.signers["targets"][0].public_key.keyid, "targets")
    r.signers["targets"] = [signer]
    r.root.add_key(signer.public_key, "targets")
    r.pin()


def _versions(case) -> None:
    r = case("rollback of the timestamp", "metadata_version", asked=2)
    r.timestamp.version = 2
    r.publish().visit()
    r.timestamp.version = 1
    r.publish()
    r = case("rollback of the snapshot", "metadata_version", asked=2)
    r.snapshot.version = 2
    r.publish().visit()
    r.snapshot.version = 1
    r.bump("timestamp")
    r = case("rollback of the targets", "metadata_version", asked=3)
    r.targets.version = 2
    r.publish().visit()
    r.targets.version = 1
    r.bump("snapshot", "timestamp")
    r = case("mix and match: a snapshot of another version", "metadata_version")
    r.timestamp.snapshot_meta.version = 2
    r.files["timestamp.json"] = r.sign(r.timestamp, "timestamp")
    r.files["2.snapshot.json"] = r.files["1.snapshot.json"]
    r = case("mix and match: targets of another version", "metadata_version")
    r.announce("targets", 2)
    r.write()
    r.files["2.targets.json"] = r.files["1.targets.json"]
    for algorithm in ("sha256", "sha512", "md5"):
        r = case("mix and match: another snapshot than the announced %s" % algorithm, "metadata_hash")
        r.timestamp.snapshot_meta.hashes = {algorithm: "00" * 32}
        r.files["timestamp.json"] = r.sign(r.timestamp, "timestamp")
    r = case("mix and match: targets of another length", "metadata_hash")
    r.snapshot.meta["targets.json"].length = 5000
    r.files["1.snapshot.json"] = r.sign(r.snapshot, "snapshot")

    r = case("fast-forward, and no new keys", "metadata_version")
    _fast_forward(r)
    for role in ("timestamp", "snapshot"):
        r = case("good: recovery from a fast-forward by a new %s key" % role)
        _fast_forward(r)
        r.rotate(role)
        r.publish()
    r = case("fast-forward of the root", "metadata_version", asked=1)
    r.root.version = 99
    r.files["2.root.json"] = r.sign(r.root, "root")

    for role in ("timestamp", "snapshot", "targets"):
        r = case("freeze: an expired " + role, "metadata_expired")
        getattr(r, role).expires = PAST
        r.publish()
        r = case("freeze: a %s that expires while the device has it" % role, "metadata_expired")
        getattr(r, role).expires = datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=1)
        r.publish().visit()
        r.visits[0]["now"] = NOW
        r.late = 1
    r = case("an expired root", "metadata_expired", asked=1)
    r.root.expires = PAST
    r.pin()
    r = case("good: an expired root is led on by the next")
    r.root.expires = PAST
    r.pin()
    r.root.expires = r.expires
    r.rotate("targets")
    r.publish()


def _fast_forward(r) -> None:
    for role in ("timestamp", "snapshot", "targets"):
        getattr(r, role).version = 1 << 50
    r.publish().visit()
    for role in ("timestamp", "snapshot", "targets"):
        getattr(r, role).version = 1
    r.publish()


def _damage(case) -> None:
    for name in ("timestamp.json", "1.snapshot.json", "1.targets.json"):
        r = case("missing " + name, "metadata_missing")
        del r.files[name]
        r = case("endless " + name, "metadata_limit")
        r.files[name] += b" " * 40000
    for name, bad in GARBAGE.items():
        for file in ("timestamp.json", "1.targets.json", "2.root.json"):
            r = case("garbage as %s: %s" % (file, name), "utf8" if "UTF-8" in name else "metadata_json")
            r.files[file] = bad
    r = case("duplicate keys", "metadata_json")
    r.files["timestamp.json"] = r.files["timestamp.json"].replace(b'"version":1}}', b'"version":1,"version":1}}')
    r = case("duplicate keys, far apart in an unordered file", "metadata_json")
    r.files["timestamp.json"] = r.files["timestamp.json"].replace(b'"_type"', b'"version":1,"_type"')
    for what, change in {
        "a version that is no integer": {"version": "1"},
        "a version of none": {"version": 0},
        "a version that is true": {"version": True},
        "a huge version": {"version": 1 << 53},
        "another major version of the specification": {"spec_version": "2.0.0"},
        "a date that is none": {"expires": "tomorrow"},
        "a date with a blank": {"expires": "2027- 1-01T00:00:00Z"},
        "a date that is a number": {"expires": 1},
        "no announced files": {"meta": {}},
        "announced files that are a list": {"meta": []},
        "an announced version that is a text": {"meta": {"snapshot.json": {"version": "1"}}},
        "an announced version alone": {"meta": {"snapshot.json": 1}},
    }.items():
        r = case(what, "metadata_missing" if change == {"meta": {}} else "metadata_field")
        r.files["timestamp.json"] = r.sign_anew(r.files["timestamp.json"], "timestamp", lambda d, c=change: d.update(c))
    for what, change in {
        "a target without a length": {"length": None},
        "a target of a negative length": {"length": -1},
        "a target without hashes": {"hashes": {}},
        "a target with hashes that nobody knows": {"hashes": {"md5": "00"}},
        "a target whose hash is a number": {"hashes": {"sha256": 1}},
    }.items():
        r = case(what, "metadata_field")
        r.files["1.targets.json"] = r.sign_anew(
            r.files["1.targets.json"], "targets", lambda d, c=change: d["targets"][PATH].update(c)
        )


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

    r.files["1.targets.json"] = edit(one, twice)
