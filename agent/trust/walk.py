# SPDX-License-Identifier: MIT
"""The walk through a TUF repository: which file next, and what it must agree with.

Sans-IO: `wanted()` names a file and its size limit, `feed(data)` takes its
bytes, or None when the repository has no such file.  When `wanted()` is None
all is up to date; `seek(path)` then looks for a target and may want delegated
roles.  `take()` gives what is to be stored, in the order in which to store it.

Source: TUF specification 1.0.x, 5.3 to 5.6; clauses in brackets.  Kept here: the
root chain, thresholds, expiry, rollback of every role and of every statement of
the snapshot, length and hash of announced files, order and bounds of delegations.

Stored copies are opaque: a mark, then the bytes as received.  The mark names the
keys that vouched for the copy; one that does not fit the keys of the root is as
good as absent, which is the recovery from fast-forward attacks [5.3.11] at any
power cut, because the root is stored first.  One that fits is not verified again.

A timestamp may say {"trueboot": {"issued", "root"}}, signed like the rest.  Who
has a stored one that does asks for the timestamp first: when it verifies and
names the root at hand, there is no newer root to ask for.  That is no weaker:
who can forge a timestamp and its delivery can withhold a root as well.
"""

import hashlib

from agent.errors import MisuseError, RefusedError
from agent.trust import canonical, delegation
from agent.trust.artifact import agrees, chosen
from agent.trust.metadata import Keyring, Metadata, check_rollback, listed, older, seconds
from agent.wire.url import quote

LIMITS = {"root": 16384, "timestamp": 4096, "snapshot": 16384, "targets": 32768}  # bytes; delegated roles as targets
MAX_ROTATIONS = 32
MAX_ROLES = 32  # delegated ones that are visited for one target
MAX_DEPTH = 8  # of delegations
_ROLES = ("root", "timestamp", "snapshot", "targets")
# A mark: 12 bytes of the keys, 12 of the root under which it was stored, 8 over these and the copy.
_KEYS, _ROOT, _MARK = 12, 24, 32


class Walk:
    """role: the one that is wanted now, None when nothing is      target: {"length", "hashes", "custom"} or None
    issued: seconds that a durable clock may rise to, or None      rekeyed: whether that clock is to be reset first
    """

    def __init__(self, trusted, now, verify, fresh=True, base=None, limits=LIMITS):
        """`trusted`: {"root": bytes} and what `take` gave under "timestamp", "snapshot", "targets".

        now: seconds since 1970      base: the same by the clock that was never raised by `issued`
        verify: the port      fresh=False: a bundle; its timestamp and snapshot may be expired and old
        RefusedError when the root is unusable.
        """
        self.role = "root"
        self.target = self.issued = None
        self.rekeyed = False
        self._stored = {role: trusted.get(role) for role in _ROLES[1:]}
        self._now = now
        self._base = now if base is None else base
        self._verify = verify
        self._fresh = fresh
        self._limits = limits
        self._rotations = 0
        self._news = {}
        self._first = False  # the timestamp is asked for before the root
        self._held = None  # such a timestamp, while it waits for the root
        self._old = None  # the stored snapshot, while its statements count
        self._is_old = False  # a bundle's timestamp that is older than the stored one
        self._root = root = Metadata(trusted.get("root") or b"", "root")
        self._rings = _rings(root)
        old = self._recall("timestamp")
        if old is None or trusted["timestamp"][_KEYS:_ROOT] != self._mark("timestamp")[_KEYS:_ROOT]:
            self._rings["root"].check(root, verify)
        root.shed()
        if old and fresh and old.find("trueboot") is not None:
            self._first = True
            self.role = "timestamp"

    def wanted(self):
        """(file name, most bytes) of the file to feed next, or None."""
        role = self.role
        if role is None:
            return None
        limit = self._limits.get(role, self._limits["targets"])
        if role == "root":
            return "%d.root.json" % (self._root.version + 1), limit
        if role == "timestamp":
            return "timestamp.json", limit
        name = quote(role) + ".json"
        if self._root.consistent:  # [6.2]
            name = "%d.%s" % (self._expect["version"], name)
        return name, self._expect.get("length", limit)

    def feed(self, data):
        """Take the wanted file's bytes, None when there is no such file.  RefusedError leaves what was trusted before."""
        role = self.role
        if role is None:
            raise MisuseError("walk", "nothing is wanted")
        if data is not None and len(data) > self.wanted()[1]:
            raise RefusedError("metadata_limit", role + " has more bytes than are taken")
        if role == "root":
            self._feed_root(data)
        elif data is None:
            raise RefusedError("metadata_missing", role)
        elif role == "timestamp":
            self._feed_timestamp(data)
        else:
            self._accept(data)

    def offer(self, data):
        """Like `feed`, with a copy that was kept: True if it is exactly what is wanted; else nothing has changed."""
        if self.role in _ROLES[:2]:
            return False
        try:
            self._accept(data)
        except RefusedError:
            return False
        return True

    def take(self):
        """[(name, bytes)] to store in this order: "root", "timestamp", "snapshot", "targets", "role:NAME" (verbatim)."""
        news, self._news = self._news, {}
        found = []
        for role in _ROLES:
            data = news.pop(role, None)
            if data is not None:
                found.append((role, data if role == "root" else self._mark(role, data) + data))
        return found + list(news.items())

    def seek(self, path):
        """Look for a target; what the delegations need is wanted next.  MisuseError before the walk is over."""
        if self.role in _ROLES:
            raise MisuseError("walk", "not yet over")
        self.target = None
        self._path = path
        self._seen = []
        self._pending = []
        self._search(self._targets, 0)

    def file(self, path):
        """The sought target's address below that of all targets [6.2]."""
        folder, slash, name = path.rpartition("/")
        if self._root.consistent:
            name = chosen(self.target["hashes"])[1] + "." + name
        return quote(folder + slash, "/") + quote(name)

    # -- root [5.3]

    def _feed_root(self, data):
        root = self._root
        if data is None:
            root.check_expiry(self._now)  # [5.3.10]
            self.role = "timestamp"
            if self._held is not None:
                self._feed_timestamp(self._held)
            return
        self._rotations += 1
        if self._rotations > MAX_ROTATIONS:
            raise RefusedError("metadata_limit", "more than %d new roots" % MAX_ROTATIONS)
        new = Metadata(data, "root")
        if new.version != root.version + 1:
            raise RefusedError("metadata_version", "root %d after %d" % (new.version, root.version))
        self._rings["root"].check(new, self._verify)
        rings = _rings(new)
        if rings["root"].mark != self._rings["root"].mark:
            rings["root"].check(new, self._verify)
        before = self._mark("timestamp")
        self._root, self._rings = new, rings
        new.shed()
        if self._mark("timestamp")[:_KEYS] != before[:_KEYS]:
            self._rekey()
        self._news["root"] = data

    def _rekey(self):
        self.rekeyed, self._now = True, self._base

    # -- timestamp [5.4]

    def _feed_timestamp(self, data):
        first, self._first = self._first, False
        try:
            new, issued = self._judge(data)
            if first and new.get("trueboot", "root") != self._root.version:
                raise RefusedError("metadata_version", "a newer root is named")
        except RefusedError:
            if not first:
                raise
            self._held = data  # under another root it may be good
            self.role = "root"
            return
        self._held = None
        self.issued = issued
        self._keep("timestamp", new)
        self._old = self._recall("snapshot")
        self._want("snapshot", new)

    def _judge(self, data):
        """(the timestamp to go by: this one, or the stored one if this is no newer; when it was issued)."""
        new = Metadata(data, "timestamp")
        old = self._recall("timestamp")
        self._is_old = False
        self._root.check_expiry(self._now)
        if old and self._fresh and new.version == old.version:
            new = old  # [5.4.3.1]
        else:
            self._rings["timestamp"].check(new, self._verify)
            if old:
                self._is_old = new.version < old.version
                if self._is_old and self._fresh:
                    older("timestamp", new.version, old.version)
                version, known = listed(new, "snapshot")["version"], listed(old, "snapshot")["version"]
                if version < known and not self._is_old:
                    older("snapshot", version, known)
        if self._fresh:
            new.check_expiry(self._now)
        said = new.get("trueboot")
        if said is None:
            return new, None
        if not isinstance(said, dict) or type(said.get("root")) is not int:
            new.refuse("names no root")
        if said["root"] > self._root.version:
            raise RefusedError("metadata_missing", "root %d, which the timestamp names" % said["root"])
        return new, min(seconds(said.get("issued")), new.expires)

    # -- snapshot, targets and delegated roles [5.5, 5.6]

    def _want(self, role, source, ring=None):
        """What `source` announces of `role` comes next: the stored copy when it is that very file, else it is asked for."""
        self._expect = entry = listed(source, role)
        if entry.get("length", 0) > self._limits.get(role, self._limits["targets"]):
            raise RefusedError("metadata_limit", role + " has more bytes than are taken")
        old = self._old
        if old and role != "snapshot" and canonical.find(old.text, old.find("meta"), role + ".json"):
            known = listed(old, role)["version"]
            if entry["version"] < known:
                older(role, entry["version"], known)
        elif old and role == "snapshot" and entry["version"] < old.version and not self._is_old:
            older(role, entry["version"], old.version)
        self.role = role
        self._ring = ring or self._rings[role]
        if self._fresh and role in _ROLES:
            copy = old if role == "snapshot" else self._recall(role)
            if copy and agrees(entry, copy.data) and copy.version == entry["version"]:
                self._accepted(copy)

    def _accept(self, data):
        role = self.role
        if not agrees(self._expect, data):
            raise RefusedError("metadata_hash", role + " is not the announced file")
        new = Metadata(data, role if role in _ROLES else "targets", role)
        if new.version != self._expect["version"]:
            raise RefusedError("metadata_version", role + " is not the announced version")
        self._ring.check(new, self._verify)
        self._accepted(new)

    def _accepted(self, new):
        role = self.role
        if role == "snapshot":
            if self._old and not self._is_old:
                if new is not self._old:
                    check_rollback(self._old, new)
                self._old = None
            if self._fresh:
                new.check_expiry(self._now)
            self._keep(role, new)
            self._snapshot = new
            self._want("targets", new)
            return
        new.check_expiry(self._now)
        if role == "targets":
            self._keep(role, new)
            self._targets = new
            self.role = None
        else:
            self._news["role:" + role] = new.data
            self._search(new, self._depth)

    # -- the search for a target [5.6.7]: pre-order, depth first

    def _search(self, source, depth):
        at = source.find("targets", self._path)
        if at is not None:
            entry = canonical.load(source.text, at)
            if not isinstance(entry, dict) or type(entry.get("length")) is not int or entry["length"] < 0:
                source.refuse("has a target without a length")
            chosen(entry.get("hashes"))
            self.target, self.role = entry, None
            return
        found = []
        for name, ring, ends, is_bin in delegation.roles(source, self._path):
            if ends:
                self._pending = []
            # Bins are made when they are needed; any other delegated role must be there.
            if not is_bin or self._snapshot.find("meta", name + ".json") is not None:
                found.append((name, ring, depth + 1))
            if len(found) > MAX_ROLES:
                break
        found.reverse()
        self._pending = (self._pending + found)[-MAX_ROLES - 1 :]
        while self._pending:
            name, ring, depth = self._pending.pop()
            if name in self._seen:
                continue
            if depth > MAX_DEPTH or len(self._seen) >= MAX_ROLES:
                raise RefusedError("metadata_limit", "delegated too often or too deep")
            self._seen.append(name)
            self._depth = depth
            self._want(name, self._snapshot, ring)
            return
        self.role = None

    # -- stored copies

    def _mark(self, role, data=b""):
        rings = self._rings
        keys = rings["targets"].mark if role == "targets" else rings["timestamp"].mark + rings["snapshot"].mark
        mark = _digest(keys)[:_KEYS] + self._root.whole[: _ROOT - _KEYS]
        return mark + _digest(mark, data)[: _MARK - _ROOT]

    def _recall(self, role):
        """The stored copy that the keys of this root vouch for, or None."""
        stored = self._stored.get(role)
        if not stored or stored[_ROOT:_MARK] != _digest(stored[:_ROOT], stored[_MARK:])[: _MARK - _ROOT]:
            return None  # absent or spoilt
        if stored[:_KEYS] != self._mark(role)[:_KEYS]:
            if role == "timestamp" and not self.rekeyed:
                self._rekey()  # that root was stored, and then the power went
            return None
        try:
            return Metadata(stored[_MARK:], role)
        except RefusedError:
            return None  # an older agent took it

    def _keep(self, role, new):
        stored = self._stored.get(role)
        same = stored and stored[_MARK:] == new.data and stored[:_ROOT] == self._mark(role)[:_ROOT]
        if not same and not self._is_old:
            self._news[role] = new.data


def _digest(*parts):
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(part)
    return hasher.digest()


def _rings(root):
    root.whole = _digest(root.data)
    keys = root.find("keys")
    return {role: Keyring(root, keys, root.find("roles", role), role) for role in _ROLES}
