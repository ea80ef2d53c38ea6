# SPDX-License-Identifier: MIT
"""PEM and bare base64 around DER, strict and bounded.

What stands outside of the blocks is ignored, as everybody does (RFC 7468,
clause 2: explanatory text); inside a block only base64 and line ends count.
EST bodies are base64 without a frame (RFC 8951): see `from_base64`.
"""

from binascii import a2b_base64, b2a_base64

from agent.errors import MisuseError, RefusedError

MAX_CHARS = 90_000  # of one document: what 64 KiB of DER take, with line ends

_LINE_BYTES = 48  # 64 characters
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def encode(label: str, der: bytes) -> str:
    lines = ["-----BEGIN %s-----" % label]
    for at in range(0, len(der), _LINE_BYTES):
        lines.append(b2a_base64(der[at : at + _LINE_BYTES]).decode().strip())
    lines.append("-----END %s-----\n" % label)
    return "\n".join(lines)


def decode(text, label: str) -> bytes:
    """The one block of that label.  RefusedError("pem") unless there is exactly one."""
    blocks = decode_all(text, label)
    if len(blocks) != 1:
        raise _refused("%d blocks of %s where one belongs" % (len(blocks), label))
    return blocks[0]


def decode_all(text, label: str) -> list:
    """DER of every block of that label, in order; `text` is str or bytes.  Other blocks are passed over."""
    if isinstance(text, str):
        text = text.encode()
    if len(text) > MAX_CHARS:
        raise _refused("more than %d characters" % MAX_CHARS)
    begin = b"-----BEGIN " + label.encode() + b"-----"
    end = b"-----END " + label.encode() + b"-----"
    blocks = []
    start = text.find(begin)
    while start >= 0:
        start += len(begin)
        stop = text.find(end, start)
        if stop < 0:
            raise _refused("%s has no end" % label)
        blocks.append(from_base64(text[start:stop]))
        start = text.find(begin, stop)
    return blocks


def from_base64(text: bytes) -> bytes:
    """The bytes of base64 text, which may hold blanks and line ends but nothing else.  RefusedError("pem")."""
    if len(text) > MAX_CHARS:
        raise _refused("more than %d characters" % MAX_CHARS)
    # a2b_base64 skips characters that it does not know, each interpreter others: join the words and check them.
    packed = b"".join(text.split())
    digits = packed.rstrip(b"=")
    for byte in digits:
        if byte not in _ALPHABET:
            raise _refused("a character that is not of base64")
    if not digits or len(packed) % 4 or len(packed) - len(digits) > 2:
        raise _refused("base64 without content or not of whole groups")
    data = a2b_base64(packed)
    if len(packed) - len(digits) and b2a_base64(data[-(len(data) % 3) :]).strip() != packed[-4:]:
        raise _refused("base64 with bits behind its end")
    return data


def to_base64(data: bytes) -> bytes:
    """One line, without its end.  MisuseError when it would not be read back."""
    if len(data) > MAX_CHARS * 3 // 4:
        raise MisuseError("pem", "more than %d bytes" % (MAX_CHARS * 3 // 4))
    return b2a_base64(data).strip()


def _refused(detail: str) -> RefusedError:
    return RefusedError("pem", detail)
