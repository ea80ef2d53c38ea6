# SPDX-License-Identifier: MIT
"""UTF-8 that means the same on every interpreter.

MicroPython's own decode takes overlong forms, surrogates and numbers beyond
U+10FFFF; CPython's does not.  A text that a peer sent must not be one thing to
the board and another to its server.  Source: RFC 3629, clause 4.
"""

from agent.errors import RefusedError


def decode(data: bytes) -> str:
    """RefusedError("utf8") unless `data` are well-formed."""
    left = 0  # bytes that the present character still lacks
    low, high = 0x80, 0xBF  # what its next byte may be
    for byte in data:
        if left:
            if byte < low or byte > high:
                left = -1
                break
            left -= 1
            low, high = 0x80, 0xBF
        elif byte < 0x80:
            pass
        elif 0xC2 <= byte <= 0xDF:
            left = 1
        elif 0xE0 <= byte <= 0xEF:
            left = 2
            low = 0xA0 if byte == 0xE0 else 0x80  # no overlong form
            high = 0x9F if byte == 0xED else 0xBF  # no surrogate
        elif 0xF0 <= byte <= 0xF4:
            left = 3
            low = 0x90 if byte == 0xF0 else 0x80
            high = 0x8F if byte == 0xF4 else 0xBF  # not beyond U+10FFFF
        else:
            left = -1
            break
    if left:
        raise RefusedError("utf8", "not well-formed")
    return str(data, "utf-8")
