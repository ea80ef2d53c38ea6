# SPDX-License-Identifier: MIT
"""Follows an app image's bytes as they come, in memory that does not grow with the image.

Decides where the index ends and which file a byte belongs to.  Leaves to
others where bytes go, and the contents: the agent hashes the whole image, as
it comes and again from the slot, against the signed hash.  The index itself is
checked by `agent.wire.appimage`; afterwards its lines are read again, one at a
time, from wherever the caller put it.
"""

import binascii

from agent.errors import RefusedError

INDEX = "index"  # (INDEX, bytes): the next piece of the index
WHOLE = "whole"  # (WHOLE, index's bytes, image's bytes): the index is whole and good
OPEN = "open"  # (OPEN, path, bytes): the next file begins
DATA = "data"  # (DATA, bytes): its next piece
DONE = "done"  # (DONE, path): it is whole


def entries(file):
    """Yields (path, bytes, sha256) from a whole index, opened at its start."""
    file.readline()
    while True:
        line = file.readline()
        if line in (b"", b"\n"):
            return
        digest, length, path = line[:-1].split(b" ", 2)
        yield path.decode(), int(length), binascii.unhexlify(digest)


def _index():
    from agent.wire import appimage  # a board that only reads a slot goes without

    return appimage.Index()


class Walk:
    """One pass over an image.  `lines()` opens the index that was handed out by INDEX steps."""

    def __init__(self, lines):
        self.offset = 0
        self.size = None
        self.path = None
        self.position = 0  # in the file `path`
        self._left = 0
        self._index = _index()
        self._lines = lines
        self._entries = None

    def inside(self, size):
        """Whether `size` more bytes end within the open file, and then they are taken: a DATA step that costs no object."""
        if self.path is None or size >= self._left:
            return False
        self._take(size)
        return True

    def feed(self, data):
        """Yields the steps that `data` make; each is to be carried out before the next is asked for."""
        if self._entries is None:
            data = bytes(data)  # it may be a view
            used = self._index.feed(data)
            self.offset += used
            if used:
                yield INDEX, data[:used]
            if not self._index.complete:
                return
            data = data[used:]
            self.size = self._index.size
            yield WHOLE, self.offset, self.size
            self._begin_files()
            yield from self._next_files()
        data = memoryview(data)
        while len(data):
            if self.path is None:
                raise RefusedError("image_size", "the image is longer than its index says")
            piece = data[: self._left]
            data = data[len(piece) :]
            self._take(len(piece))
            yield DATA, piece
            if not self._left:
                yield DONE, self.path
                yield from self._next_files()

    def complete(self):
        return self._entries is not None and self.path is None

    def resume(self, offset):
        """Go to `offset`, at or behind the index's end."""
        with self._lines() as file:
            self._index = _index()
            while not self._index.complete:
                line = file.readline()
                self.offset += self._index.feed(line)
                if not line:
                    raise RefusedError("image_index", "ends early")
        self.size = self._index.size
        self._begin_files()
        for _ in self._next_files():
            pass
        while self.path is not None and offset - self.offset >= self._left:
            self.offset += self._left
            self._left = 0
            for _ in self._next_files():
                pass
        if self.path is not None:
            self._take(offset - self.offset)

    def close(self):
        if self._entries is not None:
            self._file.close()

    def _begin_files(self):
        self._index = None
        self._file = self._lines()
        self._entries = entries(self._file)
        self._left = 0

    def _next_files(self):
        """Yields OPEN for the next file; files without contents are done at once."""
        while True:
            self.path, self._left, _ = next(self._entries, (None, 0, b""))
            self.position = 0
            if self.path is None:
                return
            yield OPEN, self.path, self._left
            if self._left:
                return
            yield DONE, self.path

    def _take(self, size):
        self.position += size
        self.offset += size
        self._left -= size
