# SPDX-License-Identifier: MIT
"""Patches: how an image differs from another, as instructions for `agent.wire.patch`.

The differences are bsdiff's (`bsdiff4`): pairs of stretches that are alike but for single bytes, and what is new
between them.  They become spans, each with its absolute place in the base, so that they can be cut and continued
anywhere.  Within a stretch, a run of at least COPY_BYTES that did not change is a copy.

    python -m trueboot_server.repo.patches BASE IMAGE OUT MEMORY_BYTES SECONDS SERVER_PID

makes one in a process of its own, whose memory and time are bounded: bsdiff takes 17 times the base, and longer than
one may wait on contrived input.  What it writes it has applied and compared, with the device's own code.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import signal
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from agent.wire import encoded

from ..state import write_atomically
from .frames import Framed, Plain, State, inflate, pack

NOT_SMALLER = "it is not smaller"
COPY_BYTES = 64  # shorter ones cost more as an instruction than as zeros among the sums
_UNCHANGED = re.compile(rb"\0{%d,}" % COPY_BYTES)
_PR_SET_PDEATHSIG = 1  # Linux
_HEAD_BYTES = 20  # four numbers at their longest


class Span(NamedTuple):
    """What makes the image's bytes from `at` on: `copy` of the base from `place`, the base plus `add`, then `extra`."""

    at: int
    place: int
    copy: int
    add: bytes
    extra: bytes

    @property
    def end(self) -> int:
        return self.at + self.copy + len(self.add) + len(self.extra)

    @property
    def place_behind(self) -> int:
        return self.place + self.copy + len(self.add)


class Spans:
    """A source of frames.  `after`: the place in the base that whatever follows the last span counts on."""

    def __init__(self, spans: list[Span], after: int | None = None):
        self.length = spans[-1].end
        self._spans = spans
        self._starts = [span.at for span in spans]
        self._after = spans[-1].place_behind if after is None else after

    def begin(self, offset: int, image_byte: bytes) -> tuple[State, bytes]:
        """Where a body from `offset` on begins, and the instruction that leads there: its byte is given as it is."""
        if self._cut(offset).place == 0:
            return State(offset, 0), b""
        place = self._place(offset + 1)
        return State(offset + 1, place), instruction(0, b"", image_byte, place)

    def take(self, state: State, budget: int) -> tuple[State, bytes]:
        """`state.own` is an instruction that goes before, from `begin`."""
        stream = bytearray(state.own or b"")
        at = state.at
        while at < self.length:
            room = budget - len(stream) - _HEAD_BYTES
            if room < 1 and stream:
                break
            span = self._cut(at)
            add, extra = span.add[:room], span.extra[: max(0, room - len(span.add))]
            taken = span._replace(add=add, extra=extra)
            at = taken.end
            seek = self._place(at) - taken.place_behind
            stream += instruction(span.copy, add, extra, seek)
            if at < span.end:
                break
        return State(at, self._place(at)), bytes(stream)

    def _cut(self, at: int) -> Span:
        """The span that holds the image's byte `at`, from there on."""
        span = self._spans[bisect_right(self._starts, at) - 1]
        done = at - span.at
        copied = min(done, span.copy)
        added = min(done - copied, len(span.add))
        return Span(
            at,
            span.place + copied + added,
            span.copy - copied,
            span.add[added:],
            span.extra[done - copied - added :],
        )

    def _place(self, at: int) -> int:
        return self._after if at == self.length else self._cut(at).place


def make(base: bytes, image: bytes) -> Framed:
    """The body that makes `image` from its first byte on, out of `base`."""
    spans = Spans(list(_spans(base, image)))
    return _packed(spans, 0, image[:1])


def patch_from(framed: Framed, image_byte: bytes, offset: int) -> list[bytes]:
    """The frames of a body of `make` from the image's byte `offset`, which is `image_byte`, on."""
    if not offset:
        return framed.frames
    number = framed.holding(offset)
    spans, after = _parsed(inflate(framed.frames[number]), *framed.rows[number])
    return _packed(Spans(spans, after), offset, image_byte).frames + framed.frames[number + 1 :]


def instruction(copy: int, add: bytes, extra: bytes, seek: int) -> bytes:
    signed = 2 * seek if seek >= 0 else -2 * seek - 1
    return b"".join(map(_number, (copy, len(add), len(extra), signed))) + add + extra


def apply(frames: Iterable[bytes], base: bytes, left: int) -> bytes:
    """What a device makes of it."""
    decoder = encoded.decoder(encoded.PATCH, lambda at, size: base[at : at + size], len(base), left)
    made = b"".join(piece for frame in frames for piece in decoder.feed(frame))
    decoder.end()
    return made


def _packed(spans: Spans, offset: int, image_byte: bytes) -> Framed:
    state, before = spans.begin(offset, image_byte)
    if state.at == spans.length:  # the instruction that leads there is all there is
        return pack(_Ready(spans.length, before), State(offset, 0))
    packed = pack(spans, state._replace(own=before))
    packed.rows[0] = offset, 0
    return packed


class _Ready:
    def __init__(self, length: int, stream: bytes):
        self.length = length
        self._stream = stream

    def take(self, state: State, budget: int) -> tuple[State, bytes]:
        return State(self.length, 0), self._stream


def _spans(base: bytes, image: bytes) -> Iterator[Span]:
    import bsdiff4.core

    control, adds, extras = bsdiff4.core.diff(base, image)
    at = place = add_at = extra_at = 0
    for number in range(0, len(control), 24):
        add_size, extra_size, seek = (
            bsdiff4.core.decode_int64(control[number + i : number + i + 8]) for i in (0, 8, 16)
        )
        add, extra = adds[add_at : add_at + add_size], extras[extra_at : extra_at + extra_size]
        for span in _stretch(at, place, add, extra):
            if span.end > span.at:
                yield span
        at += add_size + extra_size
        place += add_size + seek
        add_at += add_size
        extra_at += extra_size


def _stretch(at: int, place: int, add: bytes, extra: bytes) -> Iterator[Span]:
    copy = start = 0
    for run in _UNCHANGED.finditer(add):
        sums = add[start : run.start()]
        yield Span(at + start - copy, place + start - copy, copy, sums, b"")
        start, copy = run.end(), run.end() - run.start()
    yield Span(at + start - copy, place + start - copy, copy, add[start:], extra)


def _parsed(stream: bytes, at: int, place: int) -> tuple[list[Span], int]:
    """The spans of a frame that was made here, and the place in the base behind it."""
    spans = []
    read = 0
    while read < len(stream):
        numbers = []
        for _ in range(4):
            value = bits = 0
            while stream[read] & 0x80:
                value |= (stream[read] & 0x7F) << bits
                bits += 7
                read += 1
            numbers.append(value | stream[read] << bits)
            read += 1
        copy, add, extra, seek = numbers
        span = Span(at, place, copy, stream[read : read + add], stream[read + add : read + add + extra])
        spans.append(span)
        read += add + extra
        at = span.end
        place = span.place_behind + (-(seek >> 1) - 1 if seek & 1 else seek >> 1)
    return spans, place


def _number(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def main(arguments: list[str]) -> int:
    base_file, image_file, out, memory_bytes, seconds, server = arguments
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a killed server leaves nobody at work
    if os.getppid() != int(server):
        return 1  # it was killed before that
    resource.setrlimit(resource.RLIMIT_AS, (int(memory_bytes),) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds),) * 2)
    base, image = Path(base_file).read_bytes(), Path(image_file).read_bytes()
    os.nice(10)
    why = ""
    try:
        framed = make(base, image)
        if framed.size >= pack(Plain(image), State(0, 0)).size:
            why = NOT_SMALLER
        elif apply(framed.frames, base, len(image)) != image:
            why = "it does not make the image"
    except MemoryError:
        why = "it takes too much memory"
    if why:
        print(why, end="")
        return 1
    write_atomically(Path(out), framed.to_bytes(), 0o600)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
