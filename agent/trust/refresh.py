# SPDX-License-Identifier: MIT
"""The walk through a TUF repository: which file next, and what it must agree with.

Sans-IO: `wanted()` names a file and its size limit, `feed(data)` takes its
bytes, or None when the repository has no such file.  When `wanted()` is None
the walk is over, and `target(path)` gives what the signed metadata say.

Source: TUF specification 1.0.x, 5.3 to 5.6, top-level targets role.  Kept here:
the root rotation chain, thresholds, expiry, rollback of every role and of the
snapshot's own statements, the hash and length a file is announced with.

Trusted state is a dict {"root": bytes, "timestamp": n, "snapshot": n, "targets": n};
`trusted` is what should be stored once the walk is over.  A root with other
online keys forgets the online versions (fast-forward recovery, 5.3.11).
"""

import binascii
import hashlib

from agent.errors import RefusedError
from agent.trust.metadata import Keyring, Metadata

MAX_ROOT_BYTES = 8192
MAX_TIMESTAMP_BYTES = 2048
MAX_SNAPSHOT_BYTES = 4096
MAX_TARGETS_BYTES = 32768
MAX_ROTATIONS = 32


class Refresh:
    def __init__(self, trusted, now, verify):
        """`now`: seconds since 1970; `verify(key type, scheme, public, message, signature)` -> bool."""
        self.trusted = dict(trusted)
        self._now = now
        self._verify = verify
        self._root = Metadata(trusted["root"], "root")
        self._rotations = 0
        self._stage = "root"
        self._expect = None
        self._targets = None

    def wanted(self):
        """(file name, most bytes) of the next file, or None when the walk is over."""
        if self._stage == "root":
            return "%d.root.json" % (self._root.version + 1), MAX_ROOT_BYTES
        if self._stage == "timestamp":
            return "timestamp.json", MAX_TIMESTAMP_BYTES
        if self._stage == "snapshot":
            return self._name("snapshot"), self._limit(MAX_SNAPSHOT_BYTES)
        if self._stage == "targets":
            return self._name("targets"), self._limit(MAX_TARGETS_BYTES)
        return None

    def feed(self, data):
        """Take the wanted file's bytes; None means that the repository has no such file."""
        if self._stage == "root":
            self._feed_root(data)
        elif data is None:
            raise RefusedError("metadata_missing", self._stage)
        elif self._stage == "timestamp":
            self._feed_timestamp(data)
        elif self._stage == "snapshot":
            self._feed_snapshot(data)
        else:
            self._feed_targets(data)

    def target(self, path):
        """{"length", "hashes", "custom"} of a target, or None."""
        return self._targets.field("targets", path)

    def _name(self, role):
        # Without consistent snapshots the names carry no version (TUF 1.0.x, 6.2).
        if self._root.field("consistent_snapshot"):
            return "%d.%s.json" % (self._expect["version"], role)
        return role + ".json"

    def _limit(self, most):
        length = self._expect.get("length", most)
        if type(length) is not int or not 0 < length <= most:
            raise RefusedError("metadata_field", self._stage + " is announced too large")
        return length

    def _feed_root(self, data):
        if data is None:
            self._root.check_expiry(self._now)
            self._stage = "timestamp"
            return
        self._rotations += 1
        if self._rotations > MAX_ROTATIONS:
            raise RefusedError("metadata_version", "more than %d new roots" % MAX_ROTATIONS)
        new = Metadata(data, "root")
        Keyring(self._root, "root").check(new, self._verify)
        Keyring(new, "root").check(new, self._verify)
        if new.version != self._root.version + 1:
            raise RefusedError("metadata_version", "root %d after %d" % (new.version, self._root.version))
        for role in ("timestamp", "snapshot"):
            if Keyring(new, role).ids() != Keyring(self._root, role).ids():
                self.trusted.update({"timestamp": 0, "snapshot": 0, "targets": 0})
        self._root = new
        self.trusted["root"] = data

    def _feed_timestamp(self, data):
        timestamp = self._signed(data, "timestamp")
        self._not_older(timestamp.version, "timestamp")
        self._expect = _announced(timestamp, "snapshot")
        self._not_older(self._expect["version"], "snapshot")
        timestamp.check_expiry(self._now)
        self.trusted["timestamp"] = timestamp.version
        self._stage = "snapshot"

    def _feed_snapshot(self, data):
        self._check_announced(data)
        snapshot = self._signed(data, "snapshot")
        self._check_version(snapshot)
        expect = _announced(snapshot, "targets")
        self._not_older(expect["version"], "targets")
        snapshot.check_expiry(self._now)
        self._expect = expect
        self.trusted["snapshot"] = snapshot.version
        self._stage = "targets"

    def _feed_targets(self, data):
        self._check_announced(data)
        targets = self._signed(data, "targets")
        self._check_version(targets)
        targets.check_expiry(self._now)
        self.trusted["targets"] = targets.version
        self._targets = targets
        self._stage = "done"

    def _signed(self, data, role):
        metadata = Metadata(data, role)
        Keyring(self._root, role).check(metadata, self._verify)
        return metadata

    def _not_older(self, version, role):
        if version < self.trusted.get(role, 0):
            raise RefusedError("metadata_version", "%s %d is older than %d" % (role, version, self.trusted[role]))

    def _check_version(self, metadata):
        if metadata.version != self._expect["version"]:
            raise RefusedError("metadata_version", "%s is not the announced version" % metadata.role)

    def _check_announced(self, data):
        if "length" in self._expect and len(data) != self._expect["length"]:
            raise RefusedError("metadata_hash", self._stage + " has another length")
        hashes = self._expect.get("hashes")
        if hashes is not None:
            want = hashes.get("sha256") if isinstance(hashes, dict) else None
            if want is not None and binascii.hexlify(hashlib.sha256(data).digest()).decode() != want:
                raise RefusedError("metadata_hash", self._stage + " has another hash")


def _announced(metadata, role):
    entry = metadata.field("meta", role + ".json")
    if not isinstance(entry, dict) or type(entry.get("version")) is not int or entry["version"] < 1:
        raise RefusedError("metadata_field", "%s names no %s" % (metadata.role, role))
    return entry
