# SPDX-License-Identifier: MIT
"""Ed25519 in plain Python, for boards that have nothing better: whether a signature is good.

Where RFC 8032 leaves a choice, the verdict is OpenSSL's, so that all platforms
agree: the equation without cofactor (5.1.7, "sufficient"), S below L, R compared as
bytes and so canonical; but a public key's y is taken modulo p, and its sign bit is
ignored where x is 0.  Public data only, so nothing runs in constant time.

How it is fast enough: folding once at bit 255 is cheaper than a division and
does for what is multiplied only once more: it may be negative and have 264 bits.
Extended coordinates, whose addition has no exceptions on this curve.
Sources: RFC 8032, 5.1; Hisil, Wong, Carter, Dawson, Twisted Edwards curves
revisited, 3.1 and 3.3.
"""

from agent.crypto import sha512
from agent.crypto.naf import DIGITS, naf

P = (1 << 255) - 19
L = (1 << 252) + 27742317777372353535851937790883648493

_LOW = (1 << 255) - 1
_D = 0x52036CEE2B6FFE738CC740797779E89800700A4D4141D8AB75EB4DCA135978A3
_D2 = 0x2406D9DC56DFFCE7198E80F2EEF3D13000E0149A8283B156EBD69B9426B2F159
_ROOT = 0x2B8324804FC1DF0B2B4D00993DFBD7A72F431806AD2FE478C4EE1B274A0EA0B0  # of -1
_BASE_X = 0x216936D3CD6E53FEC0A4E231FDD6DC5C692CC7609525A7B2C9562D608F25D51A
_BASE_Y = 0x6666666666666666666666666666666666666666666666666666666666666658
_WIDTH = 5  # 8 odd multiples of each point


def verify(public: bytes, message, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) is that of `message` by the key `public` (32 bytes).  Malformed input is False.

    message: `emit(update)` calls `update(piece)` for all of its bytes.
    """
    if len(public) != 32 or len(signature) != 64:
        return False
    s = int.from_bytes(signature[32:], "little")
    key = _decode(public)
    if s >= L or key is None:
        return False
    hasher = sha512.new()
    hasher.update(signature[:32])
    hasher.update(public)
    message.emit(hasher.update)
    k = int.from_bytes(hasher.digest(), "little") % L
    points = [None] + _odd_multiples(_BASE_X, _BASE_Y) + _odd_multiples(-key[0], key[1])
    return _encode(_total(points, naf(s, _WIDTH, 1), naf(k, _WIDTH, 9))) == signature[:32]


def _decode(data: bytes):
    """(x, y) of an encoded point, or None (5.1.3)."""
    y = int.from_bytes(data, "little")
    sign = y >> 255
    y = (y & _LOW) % P
    u = y * y - 1
    v = _D * y * y + 1
    v3 = v * v * v % P
    x = u * v3 * pow(u * v3 * v3 * v % P, (P - 5) // 8, P) % P
    check = v * x * x
    if (check - u) % P:
        if (check + u) % P:
            return None
        x = x * _ROOT % P
    return (P - x if x & 1 != sign else x), y


def _encode(point: tuple) -> bytes:
    X, Y, Z = point
    z = pow(Z, P - 2, P)
    return (Y * z % P | (X * z % P & 1) << 255).to_bytes(32, "little")


def _odd_multiples(x: int, y: int) -> list:
    """1, 3, 5 ... 15 times a point, prepared for additions: (Y - X, Y + X, 2 d T, 2 Z)."""
    point = (x, y, 1, x * y % P)
    twice = _prepared(_double(point[0], point[1], 1))
    multiples = [_prepared(point)]
    for _ in range(7):
        point = _add(point, twice)
        multiples.append(_prepared(point))
    return multiples


def _prepared(point: tuple) -> tuple:
    X, Y, Z, T = point
    return Y - X, Y + X, T * _D2 % P, 2 * Z


def _double(X: int, Y: int, Z: int) -> tuple:
    A = X * X % P
    B = Y * Y % P
    E = ((X + Y) * (X + Y) - A - B) % P
    G = B - A
    F = G - 2 * Z * Z
    H = -A - B
    return E * F % P, G * H % P, F * G % P, E * H % P


def _add(point: tuple, prepared: tuple) -> tuple:
    X, Y, Z, T = point
    minus, plus, t2d, z2 = prepared
    A = (Y - X) * minus % P
    B = (Y + X) * plus % P
    C = T * t2d % P
    D = Z * z2 % P
    return (B - A) * (D - C) % P, (D + C) * (B + A) % P, (D - C) * (D + C) % P, (B - A) * (B + A) % P


def _total(points: list, row1: bytes, row2: bytes) -> tuple:
    """(X, Y, Z) of the sum of two products, see `naf`.  `_double` and `_add` in line: a call costs as much as a product."""
    p, low = P, _LOW
    X, Y, Z = 0, 1, 1
    started = False
    for i in range(DIGITS):
        if started:
            A = X * X
            A = (A & low) + (A >> 255) * 19
            B = Y * Y
            B = (B & low) + (B >> 255) * 19
            E = X + Y
            E = E * E - A - B
            E = (E & low) + (E >> 255) * 19
            G = B - A
            F = Z * Z * 2
            F = G - (F & low) - (F >> 255) * 19
            H = -A - B
            X = E * F % p
            Y = G * H % p
            Z = F * G % p
        else:
            E = H = 0
        for digit in (row1[i], row2[i]):
            if digit:
                started = True
                T = E * H % p
                minus, plus, t2d, z2 = points[digit & 127]
                if digit > 127:
                    minus, plus, t2d = plus, minus, -t2d
                A = (Y - X) * minus
                A = (A & low) + (A >> 255) * 19
                B = (Y + X) * plus
                B = (B & low) + (B >> 255) * 19
                C = T * t2d
                C = (C & low) + (C >> 255) * 19
                D = Z * z2
                D = (D & low) + (D >> 255) * 19
                E = B - A
                F = D - C
                G = D + C
                H = B + A
                X = E * F % p
                Y = G * H % p
                Z = F * G % p
    return X, Y, Z
