# SPDX-License-Identifier: MIT
"""A TUF repository in RAM, signed with our own P-256, for tests that run on both interpreters.

Laid out as `trueboot release add` does: targets delegates all paths to 32 hash
bins, which the release key signs and which exist only once they list something.
Every file can be bent before it is signed, or after.  The sweep's world comes
from python-tuf instead, so that the two do not share their mistakes.
"""

import binascii
import hashlib

from agent.crypto import p256_sign as p256
from agent.wire import ecdsa

NOW = 1_796_000_000  # 2026-11-30
YEAR = "2027-11-22T00:00:00Z"
PAST = "2026-11-23T00:00:00Z"
ISSUED = "2026-11-29T00:00:00Z"
ISSUED_S = 1_795_910_400
SPEC = "1.0.31"
BITS = 5
_SPKI = b"0Y0\x13\x06\x07*\x86H\xce=\x02\x01\x06\x08*\x86H\xce=\x03\x01\x07\x03B\x00"


def canonical(value):
    """Canonical JSON (OLPC), compact."""
    if isinstance(value, dict):
        return "{%s}" % ",".join([canonical(key) + ":" + canonical(value[key]) for key in sorted(value)])
    if isinstance(value, (list, tuple)):
        return "[%s]" % ",".join([canonical(item) for item in value])
    if isinstance(value, str):
        return '"%s"' % value.replace("\\", "\\\\").replace('"', '\\"')
    for known, text in ((True, "true"), (False, "false"), (None, "null")):
        if value is known:
            return text
    return str(value)


class Key:
    """A key from a seed, so that runs are alike."""

    def __init__(self, seed):
        self._secret = hashlib.sha256(b"key" + seed.encode()).digest()
        point = p256.public(self._secret)
        text = binascii.b2a_base64(_SPKI + point).decode().strip()
        lines = [text[at : at + 64] for at in range(0, len(text), 64)]
        pem = "-----BEGIN PUBLIC KEY-----\n%s\n-----END PUBLIC KEY-----\n" % "\n".join(lines)
        self.public = {"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": pem}}
        self.id = digest(canonical(self.public).encode())

    def sign(self, signed):
        raw = p256.sign(self._secret, hashlib.sha256(signed).digest())
        return {"keyid": self.id, "sig": binascii.hexlify(ecdsa.signature_to_der(raw)).decode()}


def digest(data):
    return binascii.hexlify(hashlib.sha256(data).digest()).decode()


def bin_of(path):
    number = int.from_bytes(hashlib.sha256(path.encode()).digest()[:4], "big") >> (32 - BITS)
    return "bin-%02x" % number


def release(image, version="1.1.0", **custom):
    """The entry of a target."""
    said = {"kind": "app", "version": version, "hardware": ["sim"], "security": 0, "size": len(image)}
    said.update(custom)
    return {"length": len(image), "hashes": {"sha256": digest(image)}, "custom": said}


class Repo:
    def __init__(self, seed=""):
        self.keys = {role: Key(seed + role) for role in ("root", "timestamp", "snapshot", "targets", "release")}
        self.versions = {"root": 1, "timestamp": 0, "snapshot": 0, "targets": 1}
        self.expires = {}  # role -> date, where it is not YEAR
        self.issued = ISSUED
        self.bins = {}  # role -> {path: entry}
        self.files = {}  # published: name -> bytes
        self.images = {}  # path -> bytes
        self.root = self._root()
        self._targets()

    def add(self, path, image, **custom):
        """Put a release into its bin and publish."""
        role = bin_of(path)
        self.bins.setdefault(role, {})[path] = release(image, **custom)
        self.images[path] = image
        self._bin(role)
        return self.publish()

    def publish(self):
        """Sign the next snapshot and timestamp."""
        meta = {"targets.json": {"version": self.versions["targets"]}}
        for role in self.bins:
            meta[role + ".json"] = {"version": self.versions[role]}
        self.versions["snapshot"] += 1
        name = "%d.snapshot.json" % self.versions["snapshot"]
        data = self.files[name] = self.signed("snapshot", {"meta": meta})
        self.versions["timestamp"] += 1
        meta = {"version": self.versions["snapshot"], "length": len(data), "hashes": {"sha256": digest(data)}}
        more = {"trueboot": {"issued": self.issued, "root": self.versions["root"]}, "meta": {"snapshot.json": meta}}
        self.files["timestamp.json"] = self.signed("timestamp", more)
        return self

    def rotate(self, *roles):
        """A next root with new keys for `roles`."""
        signers = [self.keys["root"]]
        for role in roles:
            self.keys[role] = Key(role + str(self.versions["root"]))
        if "root" in roles:
            signers.append(self.keys["root"])
        self.versions["root"] += 1
        self._root(signers)
        if "targets" in roles or "release" in roles:
            self.versions["targets"] += 1
            self._targets()
            for role in self.bins:
                self._bin(role)

    def resign(self, role, more=None):
        """The next version of targets or of a bin, say with another expiry or entry."""
        if role == "targets":
            self.versions["targets"] += 1
            self._targets()
        else:
            self._bin(role)
        return self.publish()

    def signed(self, role, more, signers=None):
        """The file of a role at its present version."""
        kind = role if role in ("root", "timestamp", "snapshot") else "targets"
        body = {"_type": kind, "spec_version": SPEC, "version": self.versions[role]}
        body["expires"] = self.expires.get(role, YEAR)
        body.update(more)
        text = canonical(body)
        signers = signers or [self.keys[role if role in self.keys else "release"]]
        signatures = canonical([signer.sign(text.encode()) for signer in signers])
        return ('{"signatures":%s,"signed":%s}' % (signatures, text)).encode()

    def bundle(self, path, names=None):
        """The bundle of a target, of all published roots and what is newest; or of the files `names`."""
        if names is None:
            names = ["%d.root.json" % n for n in range(2, self.versions["root"] + 1)] + ["timestamp.json"]
            names += ["%d.%s.json" % (self.versions[role], role) for role in ("snapshot", "targets", bin_of(path))]
        return bundle([(name, self.files[name]) for name in names], path, self.images[path])

    def _root(self, signers=None):
        roles = {}
        keys = {}
        for role in ("root", "timestamp", "snapshot", "targets"):
            key = self.keys[role]
            keys[key.id] = key.public
            roles[role] = {"keyids": [key.id], "threshold": 1}
        more = {"consistent_snapshot": True, "keys": keys, "roles": roles}
        data = self.files["%d.root.json" % self.versions["root"]] = self.signed("root", more, signers)
        return data

    def _targets(self):
        key = self.keys["release"]
        bins = {"keyids": [key.id], "threshold": 1, "bit_length": BITS, "name_prefix": "bin"}
        more = {"targets": {}, "delegations": {"keys": {key.id: key.public}, "succinct_roles": bins}}
        self.files["%d.targets.json" % self.versions["targets"]] = self.signed("targets", more)

    def _bin(self, role):
        self.versions[role] = self.versions.get(role, 0) + 1
        self.files["%d.%s.json" % (self.versions[role], role)] = self.signed(role, {"targets": self.bins[role]})


def bundle(entries, path, image):
    """The bytes of a bundle: `entries` are (name, data)."""
    parts = [b"trueboot-bundle 1\n"]
    for name, data in entries:
        parts.append(b"%d %s\n" % (len(data), name.encode()))
        parts.append(data)
    if path is not None:
        parts.append(b"%d target:%s\n" % (len(image), path.encode()))
        parts.append(image)
    return b"".join(parts)
