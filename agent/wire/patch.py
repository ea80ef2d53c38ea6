# SPDX-License-Identifier: MIT
"""A patch applied as a stream: instructions in, the bytes of the new image out.

An instruction is four numbers and bytes (docs/image-encodings.md has them byte by byte):

    copy  add  extra  seek  <add bytes>  <extra bytes>

`copy` bytes of the base as they are; `add` bytes of the base, each plus its byte here, modulo 256; `extra` bytes
that are new; then the place in the base moves by `seek`.  This is bsdiff's form, with long stretches that did not
change taken out of its differences: on a board a copy costs nothing, a sum costs a turn of the interpreter.

An instruction is checked whole before any of it is done: it makes at least one byte and never one too many,
reads within the base and leaves the place in it.  What the bytes are worth only the hash of the image tells.
"""

from agent.errors import RefusedError

PIECE_BYTES = 1024
MAX_NUMBER_BYTES = 5  # 35 bits: more than any image has


class Patch:
    """Applies a patch.

    base_read(offset, size) -> bytes: at most PIECE_BYTES of the base     base_length, left: bytes; `left` is what is to come
    """

    def __init__(self, base_read, base_length: int, left: int):
        self.left = left
        self._base_read = base_read
        self._base_length = base_length
        self._at = 0  # in the base
        self._numbers = []
        self._number = 0
        self._number_bits = 0
        self._add = 0  # to come of this instruction, like the next two
        self._extra = 0
        self._seek = 0  # where in the base the next instruction begins
        self._out = bytearray(PIECE_BYTES)
        self._filled = 0

    def take(self, data, size: int):
        """Go on with the first `size` of `data`; yields what they make, in pieces of PIECE_BYTES but for the last.

        RefusedError("encoded").
        """
        at = 0
        out = self._out
        while at < size:
            if not self._add and not self._extra:
                if self._read_number(data[at]):
                    copy = self._begin()
                    while copy:
                        count = min(copy, PIECE_BYTES - self._filled)
                        self._from_base(count)
                        copy -= count
                        if self._filled == PIECE_BYTES:
                            yield self._taken()
                at += 1
            else:
                count = min(self._add or self._extra, size - at, PIECE_BYTES - self._filled)
                start = self._filled
                if self._add:
                    self._from_base(count)
                    for byte in memoryview(data)[at : at + count]:
                        if byte:
                            out[start] = (out[start] + byte) & 0xFF
                        start += 1
                    self._add -= count
                else:
                    out[start : start + count] = data[at : at + count]
                    self._filled += count
                    self.left -= count
                    self._extra -= count
                at += count
            if self._filled == PIECE_BYTES or (self._filled and not self.left):
                yield self._taken()

    def is_whole(self) -> bool:
        """Whether all bytes were made, by instructions that came whole."""
        return not self.left and not self._number_bits and not self._numbers

    def _read_number(self, byte: int) -> bool:
        """Take a byte of a number; True when it was the last of an instruction's four."""
        self._number |= (byte & 0x7F) << self._number_bits
        self._number_bits += 7
        if byte & 0x80:
            if self._number_bits == 7 * MAX_NUMBER_BYTES:
                raise _refused("a number of more than %d bytes" % MAX_NUMBER_BYTES)
            return False
        if not byte and self._number_bits > 7:
            raise _refused("a padded number")
        self._numbers.append(self._number)
        self._number = self._number_bits = 0
        return len(self._numbers) == 4

    def _begin(self) -> int:
        """Check the instruction whose numbers are here; returns what is to be copied first."""
        copy, add, extra, seek = self._numbers
        self._numbers = []
        self._at = self._seek
        read = self._at + copy + add
        self._seek = read + (-(seek >> 1) - 1 if seek & 1 else seek >> 1)
        if not copy + add + extra:
            raise _refused("an instruction that does nothing")
        if copy + add + extra > self.left:
            raise _refused("more bytes than the image has")
        if read > self._base_length or not 0 <= self._seek <= self._base_length:
            raise _refused("an instruction that leaves the base")
        self._add, self._extra = add, extra
        return copy

    def _from_base(self, count: int) -> None:
        base = self._base_read(self._at, count)
        if len(base) != count:
            raise _refused("the base is shorter than was said")
        self._out[self._filled : self._filled + count] = base
        self._filled += count
        self._at += count
        self.left -= count

    def _taken(self) -> bytes:
        piece = bytes(self._out) if self._filled == PIECE_BYTES else bytes(self._out[: self._filled])
        self._filled = 0
        return piece


def _refused(detail: str) -> RefusedError:
    return RefusedError("encoded", detail)
