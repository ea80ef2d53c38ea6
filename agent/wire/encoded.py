# SPDX-License-Identifier: MIT
"""Encoded images: the bytes of a download in, the bytes of the image out, in pieces.

    <length: 2 bytes, big-endian, 1 to 4096> <that many bytes: one whole raw deflate stream, window 1 KiB>     and so on

Frames, since a board cannot inflate what has not come yet, and has no room for what is to come: a frame is kept,
inflated and forgotten.  Together they inflate to the image, or to a patch (`agent.wire.patch`) that makes it.

Decides what is well-formed, and that no more is made than the image has left.  Whether it is the image, its hash
tells; which encoding to ask for, and what to do after a refusal, is the caller's.  Memory: a frame, the window,
three pieces, whatever the image's size.  Source of the streams: RFC 1951.
"""

import io
import sys

from agent.errors import RefusedError

DEFLATE = "application/vnd.trueboot.deflate"
PATCH = "application/vnd.trueboot.patch"

MAX_FRAME_BYTES = 4096
MAX_INFLATED_BYTES = 64 * 1024  # of one frame
PIECE_BYTES = 1024
_WINDOW_BITS = 10


def decoder(content_type: str, base_read, base_length: int, left: int):
    """Reads a body of `content_type` that makes `left` bytes: DEFLATE, or PATCH against a base.

    base_read(offset, size) -> bytes: of the running slot, at most PIECE_BYTES at a time; None where there is no base
    """
    if content_type == DEFLATE:
        return Decoder(_Plain(left), left)
    if content_type == PATCH and base_read:
        from agent.wire.patch import Patch

        return Decoder(Patch(base_read, base_length, left), left)
    raise _refused("an encoding that was not asked for")


class Decoder:
    """A body being read.  After an error it is of no use, nor after a `feed` that was not read to its end."""

    def __init__(self, applied, left: int):
        self._applied = applied
        self._inflate = _Board() if sys.implementation.name == "micropython" else _Host()
        self._budget = 2 * left + 64  # of the body: a frame costs less than what it saves, or it is stored
        self._head = 0
        self._head_bytes = 0
        self._missing = 0  # of the frame being read

    def feed(self, data):
        """Yields the image's bytes that `data` complete, each piece of at most PIECE_BYTES.

        RefusedError("encoded") for what is malformed or makes more than the image has left.
        """
        at, end = 0, len(data)
        self._budget -= end
        if self._budget < 0:
            raise _refused("the body is longer than any encoding of it")
        while at < end:
            if self._missing:
                count = min(self._missing, end - at)
                self._inflate.add(data[at : at + count])
                at += count
                self._missing -= count
                if not self._missing:
                    yield from self._pieces()
                continue
            self._head = self._head << 8 | data[at]
            self._head_bytes += 1
            at += 1
            if self._head_bytes == 2:
                if not 0 < self._head <= MAX_FRAME_BYTES:
                    raise _refused("a frame of %d bytes" % self._head)
                self._missing = self._head
                self._head = self._head_bytes = 0

    def end(self) -> None:
        """The body is over.  RefusedError("encoded") unless it was whole."""
        if self._missing or self._head_bytes or not self._applied.is_whole():
            raise _refused("it ends too early")

    def _pieces(self):
        total = 0
        self._inflate.begin()
        while True:
            size = self._inflate.read()
            if not size:
                break
            total += size
            if total > MAX_INFLATED_BYTES:
                raise _refused("a frame of more than %d bytes" % MAX_INFLATED_BYTES)
            yield from self._applied.take(self._inflate.piece, size)
        if not total:
            raise _refused("an empty frame")


class _Plain:
    """What the frames hold is the image."""

    def __init__(self, left: int):
        self.left = left

    def take(self, data, size: int):
        if size > self.left:
            raise _refused("more bytes than the image has")
        self.left -= size
        yield bytes(data) if size == len(data) else bytes(memoryview(data)[:size])

    def is_whole(self) -> bool:
        return not self.left


class _Board:
    """Inflates a frame with MicroPython's `deflate`.  The frame's memory is used again for the next."""

    def __init__(self):
        self._frame = io.BytesIO(bytearray(MAX_FRAME_BYTES))
        self._length = 0
        self._stream = None
        self.piece = bytearray(PIECE_BYTES)

    def add(self, data) -> None:
        if not self._length:
            self._frame.seek(0)
        self._frame.write(data)
        self._length += len(data)

    def begin(self) -> None:
        import deflate

        self._frame.seek(0)
        self._stream = deflate.DeflateIO(self._frame, deflate.RAW, _WINDOW_BITS)

    def read(self) -> int:
        """How many bytes there now are in `piece`; 0 at the end of the frame."""
        try:
            size = self._stream.readinto(self.piece)
        except (OSError, EOFError):
            raise _refused("a frame that is no deflate stream")
        if not size:
            if self._frame.tell() != self._length:  # or it went on into an older frame's bytes
                raise _refused("a frame that is longer or shorter than its stream")
            self._length = 0
            self._stream = None
        return size


class _Host:
    """The same with CPython's `zlib`."""

    def __init__(self):
        self._frame = bytearray()
        self._stream = None
        self._malformed = None
        self.piece = b""

    def add(self, data) -> None:
        self._frame.extend(data)

    def begin(self) -> None:
        import zlib

        self._malformed = zlib.error
        self._stream = zlib.decompressobj(-_WINDOW_BITS)

    def read(self) -> int:
        stream = self._stream
        if stream.eof:
            if stream.unused_data:
                raise _refused("a frame that is longer or shorter than its stream")
            return 0
        try:
            self.piece = stream.decompress(self._frame, PIECE_BYTES)
        except self._malformed:
            raise _refused("a frame that is no deflate stream")
        self._frame = bytearray(stream.unconsumed_tail)
        if not self.piece and not stream.eof:
            raise _refused("a frame that ends too early")
        return len(self.piece)


def _refused(detail: str) -> RefusedError:
    return RefusedError("encoded", detail)
