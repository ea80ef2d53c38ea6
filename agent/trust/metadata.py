# SPDX-License-Identifier: MIT
"""The rules of one TUF metadata file: who signed it, for which role, how new it is, until when.

Source: The Update Framework specification 1.0.x, sections 4 and 5.  A file is
bytes in, a `Metadata` out, or RefusedError with the rule that it breaks:
metadata_json, metadata_type, metadata_signature, metadata_version,
metadata_expired, metadata_field.  Which file comes next is `refresh`'s business.

The time is an input.  Signatures are checked over the canonical form of the
very bytes that are read afterwards.
"""

import binascii
import hashlib

from agent.errors import RefusedError
from agent.trust import canonical

MAX_SIGNATURES = 16
MAX_KEYS = 16
MAX_VERSION = 1 << 53
# SubjectPublicKeyInfo of an uncompressed P-256 point: everything before its 65 bytes (RFC 5480, 2.1.1).
_SPKI = b"0Y0\x13\x06\x07*\x86H\xce=\x02\x01\x06\x08*\x86H\xce=\x03\x01\x07\x03B\x00"


class Metadata:
    """A verified file: its bytes, where its `signed` part begins, its version and expiry."""

    def __init__(self, data, role):
        canonical.check(data)
        self.data = data
        self.role = role
        self._sha256 = None
        self._signatures = canonical.find(data, 0, "signatures")
        signed = canonical.find(data, 0, "signed")
        if signed is None or self._signatures is None:
            raise RefusedError("metadata_field", role + " has no signed or no signatures part")
        self.signed = signed
        if self.field("_type") != role:
            raise RefusedError("metadata_type", "not a %s file" % role)
        spec = self.field("spec_version")
        if not isinstance(spec, str) or not spec.startswith("1."):
            raise RefusedError("metadata_field", role + " follows another specification")
        self.version = self.field("version")
        if type(self.version) is not int or not 0 < self.version < MAX_VERSION:
            raise RefusedError("metadata_field", role + " has a bad version")
        self.expires = seconds(self.field("expires"))

    def field(self, *path):
        """A member of `signed` as a Python object, or None."""
        at = canonical.find(self.data, self.signed, *path)
        return None if at is None else canonical.load(self.data, at)

    def emit(self, update):
        """Give the canonical form of `signed` to `update`, in pieces: what the signatures are of."""
        canonical.skip(self.data, self.signed, update)

    def sha256(self):
        """The digest of the same, computed once."""
        if self._sha256 is None:
            hasher = hashlib.sha256()
            self.emit(hasher.update)
            self._sha256 = hasher.digest()
        return self._sha256

    def signatures(self):
        """[(key id, signature bytes)]; entries with an unreadable signature are left out."""
        found = []
        for at in canonical.elements(self.data, self._signatures):
            if len(found) >= MAX_SIGNATURES:
                raise RefusedError("metadata_field", "more than %d signatures" % MAX_SIGNATURES)
            entry = canonical.load(self.data, at)
            try:
                found.append((entry["keyid"], binascii.unhexlify(entry["sig"])))
            except (KeyError, TypeError, ValueError):
                continue
        return found

    def check_expiry(self, now):
        if now >= self.expires:
            raise RefusedError("metadata_expired", "%s version %d" % (self.role, self.version))


class Keyring:
    """The keys and the threshold that a root gives one role."""

    def __init__(self, root, role):
        self.role = role
        self.threshold = root.field("roles", role, "threshold")
        ids = root.field("roles", role, "keyids")
        if type(self.threshold) is not int or self.threshold < 1 or not isinstance(ids, list) or len(ids) > MAX_KEYS:
            raise RefusedError("metadata_field", "root has no usable role " + role)
        self._keys = {}
        for keyid in ids:
            if not isinstance(keyid, str) or keyid in self._keys:
                raise RefusedError("metadata_field", "a key id is repeated in role " + role)
            key = root.field("keys", keyid)
            if isinstance(key, dict):
                self._keys[keyid] = key

    def ids(self):
        return sorted(self._keys)

    def check(self, metadata, verify):
        """RefusedError unless `threshold` different keys of this role signed `metadata`.

        A key counts once, whatever ids it has.  Unknown key types count as nothing (TUF 1.0.x, 4.2.1).
        """
        good = set()
        tried = set()
        for keyid, signature in metadata.signatures():
            key = self._keys.get(keyid)
            if key is None or keyid in tried:
                continue
            tried.add(keyid)
            try:
                public = point(key["keyval"]["public"])
                kind, scheme = key["keytype"], key["scheme"]
            except (KeyError, TypeError, ValueError):
                continue
            if public not in good and verify(kind, scheme, public, metadata, signature):
                good.add(public)
                if len(good) >= self.threshold:
                    return
        raise RefusedError(
            "metadata_signature",
            "%s version %d: %d of %d signatures" % (metadata.role, metadata.version, len(good), self.threshold),
        )


def point(pem):
    """The uncompressed point of a P-256 public key in PEM.  ValueError for anything else."""
    lines = pem.strip().split("\n")
    if lines[0].strip() != "-----BEGIN PUBLIC KEY-----" or len(lines) > 8:
        raise ValueError("not a public key")
    der = binascii.a2b_base64("".join([line.strip() for line in lines[1:-1]]))
    if len(der) != 91 or der[:26] != _SPKI or der[26] != 4:
        raise ValueError("not a P-256 key")
    return der[26:]


def seconds(text):
    """Seconds since 1970 of a TUF date, "2030-01-01T00:00:00Z"."""
    if not isinstance(text, str) or len(text) != 20 or text[10] != "T" or text[19] != "Z":
        raise RefusedError("metadata_field", "a bad date")
    try:
        year, month, day = int(text[0:4]), int(text[5:7]), int(text[8:10])
        hour, minute, second = int(text[11:13]), int(text[14:16]), int(text[17:19])
    except ValueError:
        year = 0
    if not (1970 <= year and 1 <= month <= 12 and 1 <= day <= 31):
        raise RefusedError("metadata_field", "a bad date")
    # Days since 1970-01-01 in the proleptic Gregorian calendar, counting years from March.
    year -= month < 3
    era_day = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = year * 365 + year // 4 - year // 100 + year // 400 + era_day - 719468
    return ((days * 24 + hour) * 60 + minute) * 60 + second
