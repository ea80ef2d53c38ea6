# SPDX-License-Identifier: MIT
"""Encoded images made by hand, byte by byte, as docs/image-encodings.md has them; boards have no compressor."""

BASE = bytes([i * 7 & 0xFF for i in range(3000)])

# A raw deflate stream of zlib: window 1 KiB, level 9.
WORDS = b"abcabcabcabcabcabcabcd" * 20
WORDS_DEFLATED = bytes.fromhex("4b4c4a4ec4402989a3a2835c1400")
ZEROS_64K = bytes.fromhex("edc101010000008090feafee080a") + bytes(63) + b"\x6a"
ZEROS_64K_1 = bytes.fromhex("edc101010000008220ffafae2140010000") + bytes(60) + bytes.fromhex("c00d")  # one more
# A match that reaches back 1100 bytes, behind a stored block of as many.
FAR = b"\x00\x4c\x04\xb3\xfb" + bytes([65 + i % 26 for i in range(1100)]) + bytes.fromhex("03962500")


def stored(data):
    """A raw deflate stream that compresses nothing."""
    return b"\x01" + len(data).to_bytes(2, "little") + (len(data) ^ 0xFFFF).to_bytes(2, "little") + data


def frame(stream):
    return len(stream).to_bytes(2, "big") + stream


def frames(data, size=4000):
    return b"".join([frame(stored(data[at : at + size])) for at in range(0, len(data), size)])


def number(value):
    digits = []
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def instruction(copy, add=b"", extra=b"", seek=0):
    signed = 2 * seek if seek >= 0 else -2 * seek - 1
    return number(copy) + number(len(add)) + number(len(extra)) + number(signed) + add + extra


# Makes NEW out of BASE: a copy, sums, something new, a step back and one forth.
PATCH = (
    instruction(1500, bytes(30) + b"\x01\xff\x80", b"something new", -1533)
    + instruction(10, seek=2000)
    + instruction(0, b"", b"!" * 1100, -10)
    + instruction(990, b"\x02")
)
NEW = (
    BASE[:1530]
    + bytes([(BASE[1530 + i] + byte) & 0xFF for i, byte in enumerate(b"\x01\xff\x80")])
    + b"something new"
    + BASE[:10]
    + b"!" * 1100
    + BASE[2000:2990]
    + bytes([BASE[2990] + 2 & 0xFF])
)
