# SPDX-License-Identifier: MIT
"""A bundle: one file that carries published metadata and then the image, read up to where the image begins.

    trueboot-bundle 1\\n
    <length> <name>\\n<length bytes>            for each metadata file, in the order of the walk
    <length> target:<path>\\n<length bytes>     the image, which ends the file

Sans-IO, one pass: `feed` takes the file's bytes as they come and hands the walk
each file that it asks for.  Strict and bounded: the metadata part has at most
MAX_METADATA_BYTES, its order is root chain, timestamp, snapshot, targets, then
delegated roles; nothing is kept that nobody asked for.  Whatever is wrong with
the file itself is RefusedError("bundle_format") or ("bundle_length"), what is
wrong with what it carries is the walk's to say.

A delegated role comes before the path that asks for it, so those few are held
until the image's header, within MAX_HELD_BYTES.
"""

from agent.errors import RefusedError

MAGIC = b"trueboot-bundle 1\n"
MAX_METADATA_BYTES = 64 * 1024  # of all metadata files
MAX_HELD_BYTES = 32 * 1024  # of delegated roles
MAX_NAME_BYTES = 160
MAX_DIGITS = 10
_MAX_HEADER_BYTES = MAX_DIGITS + 1 + MAX_NAME_BYTES + 1
_TARGET = "target:"
_ORDER = ("root", "timestamp", "snapshot", "targets")  # delegated roles come next
_DELEGATED = 4


class Bundle:
    """`walk`: a fresh agent.trust.walk.Walk(fresh=False).  Once `feed` gave True:

    path: the target's path; length: the image's bytes; prefix: bytes before the image.
    """

    def __init__(self, walk):
        self.path = None
        self.length = 0
        self.prefix = 0
        self._walk = walk
        self._line = bytearray()
        self._left = 0  # bytes of the entry being read that are yet to come
        self._entry = None  # its bytes; None while they are passed over
        self._name = None
        self._last = (-1, 0)  # rank of the last entry
        self._held = {}
        self._metadata = 0
        self._room = MAX_HELD_BYTES

    def feed(self, data):
        """Take the file's next bytes; True when the image is reached: what `data` holds of it is not looked at."""
        at = 0
        while at < len(data):
            if self._left:
                end = min(len(data), at + self._left)
                if self._entry is not None:
                    self._entry.extend(data[at:end])
                self.prefix += end - at
                self._left -= end - at
                at = end
                if not self._left:
                    self._done()
                continue
            end = data.find(b"\n", at) + 1 or len(data)
            self._line.extend(data[at:end])
            self.prefix += end - at
            at = end
            line = bytes(self._line)
            if self._name is None and MAGIC[: len(line)] != line:
                raise RefusedError("no_bundle", "it does not begin as a bundle does")
            if len(line) > _MAX_HEADER_BYTES:
                raise _bad("a header of more than %d bytes" % _MAX_HEADER_BYTES)
            if line[-1:] == b"\n":
                self._line = bytearray()
                if self._name is None:
                    self._name = ""
                elif self._header(line[:-1]):
                    return True
        return False

    def ended(self):
        """The file ends here, though `feed` never gave True: RefusedError that says so."""
        if self._name is None:
            raise RefusedError("no_bundle", "it is too short for a bundle")
        raise RefusedError("bundle_length", "the file ends before its image begins")

    def _header(self, line):
        try:
            digits, _, self._name = str(line, "utf-8").partition(" ")
        except ValueError:  # UnicodeError is one, on both interpreters
            raise _bad("a header is not UTF-8")
        length = _number(digits)
        if not 0 < len(self._name) <= MAX_NAME_BYTES:
            raise _bad("a header without a usable name")
        if self._name.startswith(_TARGET):
            self._image(self._name[len(_TARGET) :], length)
            return True
        self._metadata += length
        if self._metadata > MAX_METADATA_BYTES:
            raise RefusedError("metadata_limit", "more than %d bytes of metadata" % MAX_METADATA_BYTES)
        self._left = length
        self._entry = bytearray() if self._is_wanted(length) else None
        return False

    def _is_wanted(self, length):
        """Whether the entry that begins is of use.  The walk is told of files that cannot come any more."""
        name, walk = self._name, self._walk
        rank = _rank(name)
        if rank < self._last or (rank == self._last and rank[0] < _DELEGATED) or name in self._held:
            raise _bad("%s is not where it belongs" % name)
        self._last = rank
        wanted = walk.wanted()
        if rank[0]:  # a root that is not asked for is one that is known
            while wanted and wanted[0] != name:
                walk.feed(None)
                wanted = walk.wanted()
        if wanted and wanted[0] == name:
            if length > wanted[1]:
                raise RefusedError("metadata_limit", "%s has more than %d bytes" % (name, wanted[1]))
            return True
        if rank[0] == _DELEGATED:
            self._room -= length
            if self._room < 0:
                raise RefusedError("metadata_limit", "more than %d bytes of delegated roles" % MAX_HELD_BYTES)
            return True
        return False

    def _done(self):
        if self._entry is None:
            return
        data, self._entry = bytes(self._entry), None
        if self._last[0] == _DELEGATED:
            self._held[self._name] = data
        else:
            self._walk.feed(data)

    def _image(self, path, length):
        walk = self._walk
        wanted = walk.wanted()
        while wanted:
            walk.feed(None)
            wanted = walk.wanted()
        walk.seek(path)
        wanted = walk.wanted()
        while wanted:
            data = self._held.pop(wanted[0], None)
            if data is not None and len(data) > wanted[1]:
                raise RefusedError("metadata_limit", "%s has more than %d bytes" % wanted)
            walk.feed(data)
            wanted = walk.wanted()
        if walk.target is None:
            raise RefusedError("not_signed", "no signed metadata for " + path)
        if walk.target["length"] != length:
            raise RefusedError(
                "bundle_length", "its image has %d bytes, not the signed %s" % (length, walk.target["length"])
            )
        self.path, self.length = path, length
        self._held = {}


def _rank(name):
    """(place in the order, the root's number)."""
    if not name.endswith(".json") or [c for c in name if not "!" <= c <= "~"]:
        raise _bad("%s is no metadata file" % name)
    number, _, role = name[:-5].partition(".")
    if "root" in (role, number):
        return 0, _number(number)
    for place in range(1, _DELEGATED):
        if _ORDER[place] in (role, number):  # without consistent snapshots, names bear no number
            return place, 0
    return _DELEGATED, 0


def _number(digits):
    if not 0 < len(digits) <= MAX_DIGITS or digits[0] == "0" or [d for d in digits if d not in "0123456789"]:
        raise _bad("%s is no number from 1 up" % digits[:MAX_DIGITS])
    return int(digits)


def _bad(what):
    return RefusedError("bundle_format", what)
