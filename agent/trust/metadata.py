# SPDX-License-Identifier: MIT
"""The rules of one TUF metadata file: who signed it, for which role, how new it is, until when.

Source: The Update Framework specification 1.0.x, sections 4 and 5.  A file is
bytes in, a `Metadata` out, or RefusedError with the rule that it breaks:
metadata_json, metadata_type, metadata_signature, metadata_version,
metadata_expired, metadata_field.  Which file comes next is `walk`'s business.

The time is an input.  Signatures are checked over the canonical form of the
very bytes that are read afterwards.
"""

import binascii
import hashlib

from agent.errors import RefusedError
from agent.trust import canonical
from agent.trust.keys import public
from agent.wire.url import decimal

MAX_SIGNATURES = 16
MAX_KEYS = 16
MAX_VERSION = 1 << 53


class Metadata:
    """A well-formed file; as the port `verify` takes messages, it is its `signed` part."""

    def __init__(self, data, kind, name=None):
        self.data = data  # as received: what is announced by length and hash, and stored
        self.name = name or kind
        self.text = text = canonical.ordered(data)
        self._digest = None
        self._signatures = canonical.find(text, 0, "signatures")
        self._signed = canonical.find(text, 0, "signed")
        if self._signed is None or self._signatures is None:
            self.refuse("has no signed or no signatures part")
        if self.get("_type") != kind:
            raise RefusedError("metadata_type", "not a %s file" % kind)
        spec = self.get("spec_version")
        if not isinstance(spec, str) or not spec.startswith("1."):
            self.refuse("follows another specification")
        self.version = self.get("version")
        if type(self.version) is not int or not 0 < self.version < MAX_VERSION:
            self.refuse("has a bad version")
        self.expires = seconds(self.get("expires"))

    def refuse(self, what):
        raise RefusedError("metadata_field", "%s %s" % (self.name, what))

    def find(self, *path):
        """Position in `text` of a member of `signed`, or None."""
        return canonical.find(self.text, self._signed, *path)

    def get(self, *path):
        """A member of `signed` as a Python object, or None."""
        at = self.find(*path)
        return None if at is None else canonical.load(self.text, at)

    def emit(self, update):
        canonical.skip(self.text, self._signed, update)

    def sha256(self):
        if self._digest is None:
            hasher = hashlib.sha256()
            self.emit(hasher.update)
            self._digest = hasher.digest()
        return self._digest

    def signatures(self):
        """{key id: signature}; unreadable signatures are empty."""
        found = {}
        for _, at in canonical.items(self.text, self._signatures, canonical.ARRAY):
            entry = canonical.load(self.text, at)
            try:
                keyid = entry["keyid"]
                if keyid in found or len(found) >= MAX_SIGNATURES:
                    self.refuse("is signed too often, or twice by one key id")  # [4.2.1]
                found[keyid] = b""
                found[keyid] = binascii.unhexlify(entry["sig"])
            except (KeyError, TypeError, ValueError):
                continue
        return found

    def shed(self):
        """Let go of a root's bytes: its version, its expiry and one member are all that is asked for afterwards."""
        self.consistent = self.get("consistent_snapshot") is True
        self.data = self.text = None

    def check_expiry(self, now):
        if now >= self.expires:
            raise RefusedError("metadata_expired", "%s version %d" % (self.name, self.version))


class Keyring:
    """The keys and the threshold that root, or a delegation, gives one role."""

    def __init__(self, source, keys_at, role_at, name):
        """Positions in `source`: of all keys, and of the role that names some by their ids."""
        text = source.text
        role = {}
        for field, at in canonical.items(text, role_at):
            if field in ("keyids", "threshold"):
                role[field] = canonical.load(text, at)
        self._threshold = role.get("threshold")
        ids = role.get("keyids")
        if type(self._threshold) is not int or self._threshold < 1 or not isinstance(ids, list) or len(ids) > MAX_KEYS:
            source.refuse("has no usable role " + name)
        self._keys = {}  # id -> (key type, scheme, public key)
        for keyid in ids:
            if not isinstance(keyid, str) or keyid in self._keys:
                source.refuse("repeats a key id in role " + name)
            at = keys_at and canonical.find(text, keys_at, keyid)
            key = canonical.load(text, at) if at else None
            self._keys[keyid] = (key["keytype"], key.get("scheme"), public(key)) if public(key) else None
        known = sorted([key[2] for key in self._keys.values() if key])
        # Two keyrings with one mark ask for the same: by it a change of keys is noticed.
        self.mark = hashlib.sha256(b"%d " % self._threshold + b"".join(known)).digest()

    def check(self, metadata, verify):
        """RefusedError unless `threshold` different keys of this role signed `metadata`.

        A key counts once, whatever ids it has.  Unknown key types count as nothing [4.2].
        """
        good = set()
        for keyid, signature in metadata.signatures().items():
            key = self._keys.get(keyid)
            if key and key[2] not in good and verify(key[0], key[1], key[2], metadata, signature):
                good.add(key[2])
                if len(good) >= self._threshold:
                    return
        raise RefusedError(
            "metadata_signature",
            "%s version %d: %d of %d signatures" % (metadata.name, metadata.version, len(good), self._threshold),
        )


def older(name, version, known):
    """Refuse a file for its version."""
    raise RefusedError("metadata_version", "%s %d is older than %d" % (name, version, known))


def listed(source, role):
    """What a timestamp or snapshot says of a role: {"version"} and perhaps "length", "hashes"."""
    at = source.find("meta", role + ".json")
    if at is None:
        raise RefusedError("metadata_missing", "%s does not list %s" % (source.name, role))
    return _entry(source, at)


def _entry(source, at):
    entry = canonical.load(source.text, at)
    if not isinstance(entry, dict) or type(entry.get("version")) is not int or entry["version"] < 1:
        source.refuse("announces a file without a version")
    length = entry.get("length", 1)
    if type(length) is not int or length < 1:
        source.refuse("announces a file with a bad length")
    return entry


def check_rollback(old, new):
    """Every file that the old snapshot lists is listed still, and no older [5.5.5]."""
    there = canonical.items(new.text, new.find("meta"))
    for name, at in canonical.items(old.text, old.find("meta")):
        key = ""
        for key, where in there:  # both ascend
            if key >= name:
                version, known = _entry(new, where)["version"], _entry(old, at)["version"]
                break
        if key != name:
            raise RefusedError("metadata_version", "snapshot has lost " + name)
        if version < known:
            older(name, version, known)


def seconds(text):
    """Seconds since 1970 of a TUF date, "2030-01-01T00:00:00Z"."""
    if not isinstance(text, str) or len(text) != 20 or text[10] != "T" or text[19] != "Z":
        raise RefusedError("metadata_field", "a bad date")
    parts = [decimal(text[at : at + 2]) for at in (5, 8, 11, 14, 17)]
    year = decimal(text[:4])
    if None in parts or not year or year < 1970 or not 1 <= parts[0] <= 12 or not 1 <= parts[1] <= 31:
        raise RefusedError("metadata_field", "a bad date")
    month, day, hour, minute, second = parts
    # Days since 1970-01-01 in the proleptic Gregorian calendar, counting years from March.
    year -= month < 3
    era_day = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = year * 365 + year // 4 - year // 100 + year // 400 + era_day - 719468
    return ((days * 24 + hour) * 60 + minute) * 60 + second
