# SPDX-License-Identifier: MIT
"""Windowed non-adjacent form: a scalar as few odd digits, for products with points of any curve.

Source: Guide to Elliptic Curve Cryptography (Hankerson, Menezes, Vanstone), algorithm 3.35.
"""

DIGITS = 257  # for scalars of 256 bits
MINUS = 0x80  # in a digit: the point's opposite


def naf(scalar: int, width: int, first: int) -> bytearray:
    """A row of digits, the most significant first: 0, or where an odd multiple stands in a list of points.

    There, 1, 3, 5 ... 2**(width - 1) - 1 times the point stand from `first` on.
    """
    row = bytearray(DIGITS)
    half = 1 << (width - 1)
    mask = half + half - 1
    at = DIGITS - 1
    while scalar:
        if scalar & 1:
            digit = scalar & mask
            scalar >>= width
            if digit < half:
                row[at] = (digit >> 1) + first
            else:
                row[at] = ((mask - digit) >> 1) + first | MINUS
                scalar += 1
            at -= width
        else:
            scalar >>= 1
            at -= 1
    return row
