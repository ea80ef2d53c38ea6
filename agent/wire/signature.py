# SPDX-License-Identifier: MIT
"""An ECDSA signature of P-256 out of its DER form (RFC 3279, 2.2.3), without the reader of all DER.

In a file of its own, because a board verifies far more often than it reads
anything else in DER.
"""

from agent.errors import RefusedError

_SEQUENCE = 0x30
_INTEGER = 0x02


def from_der(data: bytes) -> bytes:
    """The raw signature, r and s in 32 bytes each.

    RefusedError("der") unless `data` is the only encoding of two numbers below 2**256 (X.690, 10).
    """
    # Two numbers of at most 33 bytes: every length fits into one byte.
    if not 8 <= len(data) <= 72 or data[0] != _SEQUENCE or data[1] != len(data) - 2:
        raise _bad()
    r, at = _number(data, 2)
    s, at = _number(data, at)
    if at != len(data):
        raise _bad()
    return r + s


def _number(data: bytes, at: int) -> tuple:
    """(32 bytes, position behind the number)."""
    end = at + 2 + data[at + 1] if at + 2 < len(data) else 0
    body = data[at + 2 : end]
    if not body or data[at] != _INTEGER or end > len(data) or body[0] > 0x7F:
        raise _bad()  # no number, or a negative one
    if body[0] == 0 and len(body) > 1:
        body = body[1:]
        if body[0] < 0x80:
            raise _bad()  # there is a shorter form
    if len(body) > 32:
        raise _bad()
    return bytes(32 - len(body)) + body, end


def _bad() -> RefusedError:
    return RefusedError("der", "not an ECDSA signature of P-256")
