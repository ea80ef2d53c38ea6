# SPDX-License-Identifier: MIT
"""Encoded images as frames: made, kept as a file, and continued from any byte of the image.

The format is that of docs/image-encodings.md; `agent.wire.encoded` reads it.  A frame is a whole deflate stream and
begins where an instruction begins, so a body from the middle of an image is one frame made anew and the later ones as
they are.  The same image (and base) always gives the same bytes.

A source says what is framed.  `take(state, budget)` gives (the state behind, at most `budget` bytes of stream); a state
is (the image's byte that comes next, the place in the base, the source's own).
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from agent.wire.encoded import MAX_FRAME_BYTES, MAX_INFLATED_BYTES

_WINDOW_BITS = 10
_ENOUGH = MAX_FRAME_BYTES - 160  # a frame that is nearly full is not tried again
_SAFE_BYTES = MAX_FRAME_BYTES - 64  # so many always fit, compressible or not
_TRIES = 6
_MAGIC = b"trueboot-frames 1\n"
_ROW = struct.Struct(">QQI")


class State(NamedTuple):
    at: int  # the image's byte that comes next
    place: int  # in the base
    own: Any = None


class Source(Protocol):
    length: int  # of the image: what lies behind the last state

    def take(self, state: State, budget: int) -> tuple[State, bytes]: ...


class BadFrames(Exception):
    """A kept file that is not what was written."""


@dataclass
class Framed:
    """A body by frames.  `length`: of the image."""

    length: int
    rows: list[tuple[int, int]] = field(default_factory=list)  # for each frame: the image's byte, the place in the base
    frames: list[bytes] = field(default_factory=list)  # each with its two bytes of length

    @property
    def size(self) -> int:
        return sum(map(len, self.frames))

    def holding(self, offset: int) -> int:
        """The number of the frame that makes the image's byte `offset`."""
        return bisect_right(self.rows, (offset, 2**63)) - 1

    def to_bytes(self) -> bytes:
        rows = [_ROW.pack(*row, len(frame)) for row, frame in zip(self.rows, self.frames, strict=True)]
        data = struct.pack(">QI", self.length, len(self.rows)) + b"".join(rows + self.frames)
        return _MAGIC + hashlib.sha256(data).digest() + data

    @classmethod
    def from_bytes(cls, data: bytes) -> Framed:
        start = len(_MAGIC) + 32
        if not data.startswith(_MAGIC) or hashlib.sha256(data[start:]).digest() != data[len(_MAGIC) : start]:
            raise BadFrames
        length, count = struct.unpack_from(">QI", data, start)
        found = cls(length)
        at = start + 12 + count * _ROW.size
        for image_at, place, size in _ROW.iter_unpack(data[start + 12 : at]):
            found.rows.append((image_at, place))
            found.frames.append(data[at : at + size])
            at += size
        return found


class Plain:
    """The source of a body that is the image itself, or a part of it that begins at the image's byte `start`."""

    def __init__(self, image: bytes, start: int = 0):
        self.length = start + len(image)
        self._image = image
        self._start = start

    def take(self, state: State, budget: int) -> tuple[State, bytes]:
        at = state.at - self._start
        stream = self._image[at : at + budget]
        return State(state.at + len(stream), 0), stream


def pack(source: Source, state: State) -> Framed:
    """All that `source` has from `state` on, in frames as full as a few tries make them."""
    packed = Framed(source.length)
    budget = 4 * MAX_FRAME_BYTES
    while state.at < source.length:
        best: tuple[State, bytes, bytes] | None = None
        for _ in range(_TRIES):
            following, stream = source.take(state, budget)
            deflated = deflate(stream)
            if len(deflated) <= MAX_FRAME_BYTES:
                if best is None or following.at > best[0].at:
                    best = following, stream, deflated
                if len(deflated) >= _ENOUGH or following.at == source.length or budget == MAX_INFLATED_BYTES:
                    break
            estimate = len(stream) * (MAX_FRAME_BYTES - 60) // len(deflated)
            budget = max(_SAFE_BYTES, min(MAX_INFLATED_BYTES, estimate))
        if best is None:
            following, stream = source.take(state, _SAFE_BYTES)
            best = following, stream, deflate(stream)
        packed.rows.append((state.at, state.place))
        packed.frames.append(struct.pack(">H", len(best[2])) + best[2])
        state = best[0]
    return packed


def deflate(stream: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -_WINDOW_BITS, 9)
    return compressor.compress(stream) + compressor.flush()


def inflate(frame: bytes) -> bytes:
    return zlib.decompress(frame[2:], -_WINDOW_BITS)


def deflated_from(framed: Framed, read: Callable[[int, int], bytes], offset: int) -> list[bytes]:
    """The frames of `framed`, a body of Plain, from the image's byte `offset` on.  read(start, end): bytes of the image."""
    number = framed.holding(offset)
    if framed.rows[number][0] == offset:
        return framed.frames[number:]
    end = framed.rows[number + 1][0] if number + 1 < len(framed.rows) else framed.length
    return pack(Plain(read(offset, end), offset), State(offset, 0)).frames + framed.frames[number + 1 :]
