# SPDX-License-Identifier: MIT
"""DER: a strict reader and the few writers that certificates and keys need.

Strict means that one value has one encoding: definite lengths in the fewest
bytes, integers without padding, nothing behind the last element.  Anything
else is RefusedError("der").  Nesting costs nothing here: a caller descends
level by level, so only as deep as its own format goes.
Source: ITU-T X.690, clauses 8, 10 and 11.
"""

from agent.errors import RefusedError

MAX_BYTES = 0xFFFF  # of one document, unless the caller knows better; also keeps lengths within two bytes

INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
OBJECT_IDENTIFIER = 0x06
UTF8_STRING = 0x0C
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31


class Reader:
    """Reads the elements of `data` between `start` and `stop`, one after the other, without copying."""

    def __init__(self, data: bytes, start: int = 0, stop: int = -1, most: int = MAX_BYTES):
        self._data = data
        self._at = start
        self._stop = len(data) if stop < 0 else stop
        self._most = most
        if len(data) > most:
            raise refused("more than %d bytes" % most)

    def more(self) -> bool:
        return self._at < self._stop

    def peek(self) -> int:
        """The next element's tag, or -1 at the end."""
        return self._data[self._at] if self._at < self._stop else -1

    def end(self) -> None:
        """There must be nothing left."""
        if self._at != self._stop:
            raise refused("bytes behind the last element")

    def enter(self, tag: int) -> "Reader":
        """A reader of the next element's contents."""
        start, stop = self._next(tag)
        return Reader(self._data, start, stop, self._most)

    def span(self, tag: int) -> tuple:
        """Where the next element's contents begin and end."""
        return self._next(tag)

    def contents(self, tag: int) -> bytes:
        start, stop = self._next(tag)
        return bytes(self._data[start:stop])

    def element(self) -> bytes:
        """The next element whole: tag, length and contents."""
        first = self._at
        _, stop = self._next(self.peek())
        return bytes(self._data[first:stop])

    def skip(self) -> None:
        self._next(self.peek())

    def integer(self) -> int:
        """A number from 0 up; no caller has use for a negative one."""
        value = self.contents(INTEGER)
        if not value or value[0] > 127:
            raise refused("empty or negative integer")
        if len(value) > 1 and value[0] == 0 and value[1] < 128:
            raise refused("padded integer")
        return int.from_bytes(value, "big")

    def boolean(self) -> bool:
        value = self.contents(0x01)
        if value != b"\x00" and value != b"\xff":
            raise refused("boolean")
        return value == b"\xff"

    def oid(self) -> str:
        """An object identifier in dotted form."""
        data = self.contents(OBJECT_IDENTIFIER)
        if not data or data[-1] > 127 or len(data) > 32:
            raise refused("object identifier")
        numbers = []
        number = 0
        fresh = True
        for byte in data:
            if fresh and byte == 0x80:
                raise refused("padded object identifier")
            number = number << 7 | byte & 127
            fresh = byte < 128
            if fresh:
                if not numbers:
                    first = min(number // 40, 2)
                    numbers.append(str(first))
                    number -= 40 * first
                numbers.append(str(number))
                number = 0
        return ".".join(numbers)

    def bits(self) -> bytes:
        """A bit string of whole bytes."""
        data = self.contents(BIT_STRING)
        if not data or data[0]:
            raise refused("bit string is empty or not of whole bytes")
        return data[1:]

    def _next(self, tag: int) -> tuple:
        data, at, stop = self._data, self._at, self._stop
        if at + 2 > stop:
            raise refused("truncated")
        if data[at] != tag:
            raise refused("tag 0x%02x where 0x%02x belongs" % (data[at], tag))
        if tag & 31 == 31:
            raise refused("tag of several bytes")
        length = data[at + 1]
        at += 2
        if length > 127:
            width = length & 127
            if width not in (1, 2, 3) or at + width > stop:
                raise refused("length is indefinite, too large or truncated")
            length = int.from_bytes(data[at : at + width], "big")
            if length < (128, 256, 65536)[width - 1]:
                raise refused("length not in the fewest bytes")
            at += width
        if at + length > stop:
            raise refused("truncated")
        self._at = at + length
        return at, at + length


def tlv(tag: int, *parts: bytes) -> bytes:
    """One element whose contents are `parts` joined."""
    contents = b"".join(parts)
    length = len(contents)
    if length < 128:
        head = bytes((tag, length))
    elif length < 256:
        head = bytes((tag, 0x81, length))
    elif length <= MAX_BYTES:
        head = bytes((tag, 0x82, length >> 8, length & 255))
    else:
        raise refused("more than %d bytes" % MAX_BYTES)
    return head + contents


def sequence(*parts: bytes) -> bytes:
    return tlv(SEQUENCE, *parts)


def integer(value: int) -> bytes:
    """A number from 0 up."""
    size = 1
    while value >> (8 * size - 1):
        size += 1
    return tlv(INTEGER, value.to_bytes(size, "big"))


def bits(data: bytes) -> bytes:
    return tlv(BIT_STRING, b"\x00", data)


def oid(dotted: str) -> bytes:
    numbers = [int(number) for number in dotted.split(".")]
    encoded = bytearray()
    for number in [40 * numbers[0] + numbers[1]] + numbers[2:]:
        shift = 0
        while number >> (shift + 7):
            shift += 7
        while shift:
            encoded.append(0x80 | number >> shift & 127)
            shift -= 7
        encoded.append(number & 127)
    return tlv(OBJECT_IDENTIFIER, encoded)


def refused(detail: str) -> RefusedError:
    return RefusedError("der", detail)
