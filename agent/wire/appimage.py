# SPDX-License-Identifier: MIT
"""The application image: an index of files, then their contents.

    trueboot-app 1\\n
    <sha256 in hex> <length> <path>\\n      for each file, paths strictly ascending
    \\n
    <contents of the first file><contents of the second> ...

`Index` reads the first part piece by piece, as it arrives, and tells where each
file lies; whoever stores the contents compares their lengths and hashes.  It
refuses every path that could leave the slot's folder or collide in it.
`build` makes an image.  One set of files has exactly one image.
"""

import hashlib
from binascii import hexlify, unhexlify

from agent.errors import AgentError, MisuseError, RefusedError

MAGIC = b"trueboot-app 1"
MAX_INDEX_BYTES = 64 * 1024
MAX_FILES = 512
MAX_PATH_CHARS = 128
MAX_DEPTH = 8
MAX_LENGTH_DIGITS = 10

_FIRST = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
_LATER = _FIRST + b".-"
_MAX_LINE_BYTES = 64 + 1 + MAX_LENGTH_DIGITS + 1 + MAX_PATH_CHARS


class Index:
    """An index being read.

    files: list of (path, start, length, sha256): `start` counts from the image's first byte, sha256 has 32 bytes
    size: the whole image's bytes, as soon as `complete`
    """

    def __init__(self):
        self.complete = False
        self.files = []
        self.size = 0
        self._line = bytearray()
        self._index_bytes = 0
        self._has_magic = False

    def feed(self, data: bytes) -> int:
        """Read on; returns how many of `data` belong to the index: all of them until it is complete.

        RefusedError("image_index"); the index is of no use after that.
        """
        used = 0
        while used < len(data) and not self.complete:
            end = data.find(b"\n", used)
            stop = len(data) if end < 0 else end
            if len(self._line) + stop - used > _MAX_LINE_BYTES:
                raise _refused("a line of more than %d bytes" % _MAX_LINE_BYTES)
            self._line.extend(data[used:stop])
            taken = stop - used + (end >= 0)
            self._index_bytes += taken
            if self._index_bytes > MAX_INDEX_BYTES:
                raise _refused("more than %d bytes" % MAX_INDEX_BYTES)
            used += taken
            if end >= 0:
                self._end_of_line(bytes(self._line))
                self._line = bytearray()
        return used

    def find(self, offset: int) -> int:
        """The number of the file that holds the image's byte at `offset`; -1 within the index, len(files) at the end.

        Files without contents hold no byte and are never found.
        """
        low, high = 0, len(self.files)
        while low < high:
            middle = (low + high) // 2
            _, start, length, _ = self.files[middle]
            if start + length <= offset:
                low = middle + 1
            else:
                high = middle
        return -1 if offset < self._index_bytes else low

    def _end_of_line(self, line: bytes) -> None:
        if not self._has_magic:
            if line != MAGIC:
                raise _refused("not an application image of format 1")
            self._has_magic = True
        elif line:
            self._add(line)
        else:
            self._finish()

    def _add(self, line: bytes) -> None:
        words = line.split(b" ")
        if len(words) != 3:
            raise _refused("a line is not <sha256> <length> <path>")
        digest, length, path = words
        if len(digest) != 64 or hexlify(_from_hex(digest)) != digest:
            raise _refused("a hash is not 64 hexadecimal digits in lower case")
        if not 0 < len(length) <= MAX_LENGTH_DIGITS or (length[0] == 48 and len(length) > 1):
            raise _refused("a length is too long or padded")
        for digit in length:
            if not 48 <= digit <= 57:
                raise _refused("a length is no number")
        check_path(path)
        if len(self.files) == MAX_FILES:
            raise _refused("more than %d files" % MAX_FILES)
        name = path.decode()
        if self.files and self.files[-1][0] >= name:
            raise _refused("paths are not strictly ascending")
        self._check_folders(name)
        self.files.append((name, self.size, int(length), _from_hex(digest)))
        self.size += int(length)

    def _check_folders(self, name: str) -> None:
        """No folder of `name` may be a file.  Ascending order makes sure that such a file was listed before."""
        at = name.find("/")
        while at >= 0:
            folder = name[:at]
            for file in self.files:
                if file[0] == folder:
                    raise _refused("%s is both a file and a folder" % folder)
            at = name.find("/", at + 1)

    def _finish(self) -> None:
        if not self.files:
            raise _refused("no files")
        head = self._index_bytes
        for i in range(len(self.files)):
            path, start, length, digest = self.files[i]
            self.files[i] = (path, start + head, length, digest)
        self.size += head
        self.complete = True


def check_path(path: bytes) -> None:
    """RefusedError("image_index") unless `path` is a plain relative path within the limits."""
    parts = path.split(b"/")
    if len(path) > MAX_PATH_CHARS or len(parts) > MAX_DEPTH:
        raise _refused("a path is too long or too deep")
    for part in parts:
        if not part or part[0] not in _FIRST:
            raise _refused("a part of a path begins with neither letter, digit nor _")
        for byte in part:
            if byte not in _LATER:
                raise _refused("a path has a character that is not allowed")


def build(files: dict) -> bytes:
    """The image of `files`, path to contents.  MisuseError("image_index") for what no device would take."""
    paths = sorted(files)
    lines = [MAGIC]
    for path in paths:
        lines.append(b"%s %d %s" % (hexlify(hashlib.sha256(files[path]).digest()), len(files[path]), path.encode()))
    index = b"\n".join(lines) + b"\n\n"
    try:
        Index().feed(index)
    except AgentError as error:
        raise MisuseError("image_index", error.detail)
    return index + b"".join([bytes(files[path]) for path in paths])


def _from_hex(digits: bytes) -> bytes:
    try:
        return unhexlify(digits)
    except ValueError:
        raise _refused("a hash is not hexadecimal")


def _refused(detail: str) -> RefusedError:
    return RefusedError("image_index", detail)
