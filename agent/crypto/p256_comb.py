# SPDX-License-Identifier: MIT
"""P-256 with combs: half the time to verify for a key whose table is kept, and the generator's own for signing.

A comb is 1024 bytes, 16 points (x and v = 2 y, 32 bytes each).  A scalar is
written with 260 digits of 1 and -1, five rows (teeth) of 52 columns; column by
column one of the points, or its opposite, is added and the sum doubled.
Source: Hamburg, Fast and compact elliptic-curve cryptography, 3.3 (signed
combs); Guide to Elliptic Curve Cryptography, algorithm 3.44.
"""

from agent.crypto.naf import MINUS
from agent.crypto.p256 import N, P, add, all_affine, coordinates, double, has_x, scalars_of, total
from agent.errors import RefusedError

BYTES = 1024

_TEETH = 5
_COLUMNS = 52
_ALL_MINUS = (1 << _TEETH * _COLUMNS) - 1


def verify(comb: bytes, digest: bytes, raw: bytes) -> bool:
    """Like `p256.verify`, for the key whose comb this is; other bytes give False."""
    from agent.crypto.p256_generator_comb import COMB

    scalars = scalars_of(digest, raw)
    if len(comb) != BYTES or scalars is None:
        return False
    u1, u2, r = scalars
    return has_x(total([None], COMB + comb, row(u1, 1), row(u2, 17)), r)


def make(point: bytes) -> bytearray:
    """The comb of a point.  RefusedError("p256_point") if it is off the curve.

    Entry i is 2**208 * point plus the sum of 2**(52*j) * point over the bits j of i that are 1, less those that are 0.
    """
    key = coordinates(point)
    if key is None:
        raise RefusedError("p256_point", "not a point on the curve")
    table = bytearray(BYTES)  # while the heap is still whole
    tooth = (key[0], key[1], 1)
    teeth = [tooth]
    while len(teeth) < _TEETH:
        for _ in range(_COLUMNS):
            tooth = double(*tooth)
        teeth.append(tooth)
    all_affine(teeth)
    sums = [teeth.pop() + (1,)]
    while teeth:
        x, v = teeth.pop()
        sums = [add(X, V, Z, x, w) for X, V, Z in sums for w in (P - v, v)]
    at = 0
    for x, v in all_affine(sums):
        table[at : at + 64] = x.to_bytes(32, "big") + v.to_bytes(32, "big")
        at += 64
    return table


def row(scalar: int, first: int) -> bytearray:
    """The row for `total` of a scalar below N, `first` being where the comb begins among the points.

    With bits b of a number B, the sum of (2 b - 1) * 2**i is 2 B - (2**260 - 1): so B is (scalar + 2**260 - 1) / 2,
    and N is added to a scalar that is even.
    """
    scalar = (scalar + (0 if scalar & 1 else N) + _ALL_MINUS) >> 1
    digits = bytearray(_COLUMNS)
    for tooth in range(_TEETH):
        bit = 1 << tooth
        part = scalar >> (tooth * _COLUMNS) & 0xFFFFFFFFFFFFF
        column = _COLUMNS - 1
        while part:
            if part & 1:
                digits[column] |= bit
            part >>= 1
            column -= 1
    for column in range(_COLUMNS):
        digit = digits[column]
        digits[column] = digit - 16 + first if digit > 15 else (15 - digit + first) | MINUS
    return digits
