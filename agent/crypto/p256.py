# SPDX-License-Identifier: MIT
"""P-256: keys, ECDSA signatures and their verification in plain Python, for boards that have nothing better.

Values are bytes: a *secret* has 32, a *point* 65 (SEC 1, 2.3.3), a *digest*
32 (SHA-256), a *raw* signature 64 (r, s), a *comb* 960 (see `comb`).
Keys and signatures in DER are `agent.wire.ecdsa`'s.

Signing is deterministic (RFC 6979) and may be hedged with fresh randomness, so
that neither a bad random generator nor a repeated fault gives a key away.
Nothing here runs in constant time: whoever can time or probe the device's
processor may learn the secret.  Verification handles public data only.

How it is fast enough: points in Jacobian coordinates, the generator and pinned
keys as combs (64 doublings instead of 256), other keys in windowed NAF.
Sources: FIPS 186-5, 6 and A.2.2; SP 800-186, 3.2.1.3; Guide to Elliptic Curve
Cryptography (Hankerson, Menezes, Vanstone), algorithms 3.21, 3.22, 3.35, 3.44.
"""

import hashlib

from agent.crypto.p256_generator import GENERATOR_COMB
from agent.errors import DeviceError, MisuseError, RefusedError

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B

_TEETH = 4  # of a comb: 2**4 - 1 points of 64 bytes
_COLUMNS = 64  # 256 bits / _TEETH
_INFINITY = (1, 1, 0)
_MAX_DRAWS = 8  # each fails once in 2**32 when the generator is sound


def generate(random) -> bytes:
    """A new secret.  `random(size)` must be cryptographically strong.  DeviceError("random") when it is stuck."""
    for _ in range(_MAX_DRAWS):
        secret = random(32)
        if len(secret) == 32 and 0 < _int(secret) < N:
            return bytes(secret)
    raise DeviceError("random", "the random generator gives no usable number")


def public(secret: bytes) -> bytes:
    """The point of `secret`."""
    x, y = _affine(*_times_comb(_scalar(secret), GENERATOR_COMB))
    return b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")


def is_point(point: bytes) -> bool:
    """Whether these are the 65 bytes of a point on the curve.  Then it is a valid public key: the cofactor is 1."""
    return _coordinates(point) is not None


def sign(secret: bytes, digest: bytes, extra: bytes = b"") -> bytes:
    """The raw signature of a SHA-256 digest; `extra` is fresh randomness to mix in (RFC 6979, 3.6), or nothing."""
    d = _scalar(secret)
    if len(digest) != 32:
        raise MisuseError("p256_digest", "a digest has 32 bytes")
    e = _int(digest)
    for k in _nonces(secret, (e % N).to_bytes(32, "big"), extra):
        r = _affine(*_times_comb(k, GENERATOR_COMB))[0] % N
        s = _inverse_of_secret(k, N) * (e + r * d) % N
        if r and s:
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def verify(point: bytes, digest: bytes, raw: bytes) -> bool:
    """Whether `raw` is the signature of `digest` by the key `point`.  Malformed input is False, never an error."""
    key = _coordinates(point)
    scalars = _scalars(digest, raw)
    if key is None or scalars is None:
        return False
    u1, u2, r = scalars
    return _has_x(_times_comb_and_point(u1, GENERATOR_COMB, u2, key[0], key[1]), r)


def verify_pinned(key_comb: bytes, digest: bytes, raw: bytes) -> bool:
    """The same in half the time, for the key whose `comb` was computed before."""
    scalars = _scalars(digest, raw)
    if len(key_comb) != len(GENERATOR_COMB) or scalars is None:
        return False
    u1, u2, r = scalars
    return _has_x(_times_combs(u1, GENERATOR_COMB, u2, key_comb), r)


def comb(point: bytes) -> bytes:
    """The table of a pinned key: 15 points, x and y of 32 bytes each.  RefusedError("p256_point") if off the curve.

    Entry i-1 is the sum of 2**(64*j) * point over the bits j of i.
    """
    key = _coordinates(point)
    if key is None:
        raise RefusedError("p256_point", "not a point on the curve")
    tooth = (key[0], key[1], 1)
    teeth = [tooth]
    while len(teeth) < _TEETH:
        for _ in range(_COLUMNS):
            tooth = _double(*tooth)
        teeth.append(tooth)
    _all_affine(teeth)
    sums = [teeth[0] + (1,)]
    for x, y in teeth[1:]:
        # every sum so far with and without this tooth
        sums += [(x, y, 1)] + [_add(X, Y, Z, x, y) for X, Y, Z in sums]
    table = bytearray()
    for x, y in _all_affine(sums):
        table += x.to_bytes(32, "big") + y.to_bytes(32, "big")
    return bytes(table)


def _nonces(secret: bytes, reduced_digest: bytes, extra: bytes):
    """The candidates for k, one after the other (RFC 6979, 3.2, steps b to h)."""
    seed = secret + reduced_digest + extra
    key, value = _stir(bytes(32), b"\x01" * 32, b"\x00" + seed)
    key, value = _stir(key, value, b"\x01" + seed)
    while True:
        value = _hmac(key, value)
        k = _int(value)
        if 0 < k < N:
            yield k
        key, value = _stir(key, value, b"\x00")


def _stir(key: bytes, value: bytes, data: bytes) -> tuple:
    key = _hmac(key, value + data)
    return key, _hmac(key, value)


def _hmac(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA-256 (RFC 2104) with a key of 32 bytes."""
    inner = hashlib.sha256(bytes([byte ^ 0x36 for byte in key]) + b"\x36" * 32)
    inner.update(message)
    outer = hashlib.sha256(bytes([byte ^ 0x5C for byte in key]) + b"\x5c" * 32)
    outer.update(inner.digest())
    return outer.digest()


def _int(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _scalar(secret: bytes) -> int:
    value = _int(secret)
    if len(secret) != 32 or not 0 < value < N:
        raise MisuseError("p256_secret", "not a secret of P-256")
    return value


def _scalars(digest: bytes, raw: bytes):
    """(u1, u2, r) of a verification, or None when digest or signature cannot be valid (FIPS 186-5, 6.4.2)."""
    if len(digest) != 32 or len(raw) != 64:
        return None
    r = _int(raw[:32])
    s = _int(raw[32:])
    if not 0 < r < N or not 0 < s < N:
        return None
    w = _inverse(s, N)
    return _int(digest) * w % N, r * w % N, r


def _coordinates(point: bytes):
    """(x, y) of a point on the curve, else None."""
    if len(point) != 65 or point[0] != 4:
        return None
    x = _int(point[1:33])
    y = _int(point[33:])
    if x >= P or y >= P or (y * y - (x * x - 3) * x - B) % P:
        return None
    return x, y


def _has_x(sum_of_points: tuple, r: int) -> bool:
    """Whether the affine x of a Jacobian point is r modulo N; without the costly inversion."""
    X, _, Z = sum_of_points
    if not Z:
        return False
    zz = Z * Z % P
    return (r * zz - X) % P == 0 or (r + N < P and ((r + N) * zz - X) % P == 0)


def _inverse(value: int, modulus: int) -> int:
    """By Euclid: quick, and its steps depend on the value, which must therefore be public."""
    r, next_r, s, next_s = modulus, value, 0, 1
    while next_r:
        quotient, rest = divmod(r, next_r)
        r, next_r, s, next_s = next_r, rest, next_s, s - quotient * next_s
    return s % modulus


def _inverse_of_secret(value: int, modulus: int) -> int:
    """By Fermat: six times slower, but by the same steps for every value."""
    return pow(value, modulus - 2, modulus)  # pow(value, -1, modulus) is wrong on MicroPython


def _double(X: int, Y: int, Z: int) -> tuple:
    p = P
    delta = Z * Z % p
    gamma = Y * Y % p
    beta = X * gamma % p
    alpha = 3 * (X - delta) * (X + delta) % p
    X3 = (alpha * alpha - 8 * beta) % p
    return X3, (alpha * (4 * beta - X3) - 8 * gamma * gamma) % p, 2 * Y * Z % p


def _add(X: int, Y: int, Z: int, x: int, y: int) -> tuple:
    """A Jacobian and an affine point; the latter is never infinity.  Equal and opposite points are handled."""
    if not Z:
        return x, y, 1
    p = P
    zz = Z * Z % p
    h = (x * zz - X) % p
    slope = (y * Z % p * zz - Y) % p
    if not h:
        return _INFINITY if slope else _double(X, Y, Z)
    hh = h * h % p
    hhh = h * hh % p
    v = X * hh % p
    X3 = (slope * slope - hhh - 2 * v) % p
    return X3, (slope * (v - X3) - Y * hhh) % p, Z * h % p


def _affine(X: int, Y: int, Z: int) -> tuple:
    z = _inverse_of_secret(Z, P)
    zz = z * z % P
    return X * zz % P, Y * z % P * zz % P


def _all_affine(points: list) -> list:
    """The same for several points, none of them infinity, in place and with one inversion (Montgomery's trick)."""
    products = []
    product = 1
    for point in points:
        products.append(product)
        product = product * point[2] % P
    inverse = _inverse(product, P)
    for i in range(len(points) - 1, -1, -1):
        X, Y, Z = points[i]
        z = inverse * products.pop() % P
        inverse = inverse * Z % P
        zz = z * z % P
        points[i] = (X * zz % P, Y * z % P * zz % P)
    return points


def _comb_digits(scalar: int) -> bytearray:
    """Which entry of a comb each column takes, most significant column first; 0 for none."""
    digits = bytearray(_COLUMNS)
    for tooth in range(_TEETH):
        bit = 1 << tooth
        part = scalar >> (tooth * _COLUMNS) & 0xFFFFFFFFFFFFFFFF
        column = _COLUMNS - 1
        while part:
            if part & 1:
                digits[column] |= bit
            part >>= 1
            column -= 1
    return digits


def _entry(table: bytes, digit: int) -> tuple:
    at = 64 * (digit - 1)
    return int.from_bytes(table[at : at + 32], "big"), int.from_bytes(table[at + 32 : at + 64], "big")


def _times_comb(scalar: int, table: bytes) -> tuple:
    X, Y, Z = _INFINITY
    for digit in _comb_digits(scalar):
        if Z:
            X, Y, Z = _double(X, Y, Z)
        if digit:
            X, Y, Z = _add(X, Y, Z, *_entry(table, digit))
    return X, Y, Z


def _times_combs(scalar1: int, table1: bytes, scalar2: int, table2: bytes) -> tuple:
    """The sum of two products, with common doublings."""
    digits2 = _comb_digits(scalar2)
    X, Y, Z = _INFINITY
    for column, digit in enumerate(_comb_digits(scalar1)):
        if Z:
            X, Y, Z = _double(X, Y, Z)
        if digit:
            X, Y, Z = _add(X, Y, Z, *_entry(table1, digit))
        digit = digits2[column]
        if digit:
            X, Y, Z = _add(X, Y, Z, *_entry(table2, digit))
    return X, Y, Z


def _naf(scalar: int) -> bytearray:
    """Windowed NAF (algorithm 3.35): 257 digits, least significant first, each 0 or odd, modulo 32."""
    digits = bytearray(257)
    at = 0
    while scalar:
        digit = scalar & 31
        if digit & 1:
            digits[at] = digit
            scalar -= digit if digit < 16 else digit - 32
        scalar >>= 1
        at += 1
    return digits


def _odd_multiples(x: int, y: int) -> list:
    """1, 3, 5 ... 15 times a point, affine."""
    step_x, step_y = _all_affine([_double(x, y, 1)])[0]
    multiples = [(x, y, 1)]
    for _ in range(7):
        multiples.append(_add(*multiples[-1], step_x, step_y))
    return _all_affine(multiples)


def _times_comb_and_point(scalar1: int, table1: bytes, scalar2: int, x: int, y: int) -> tuple:
    """The sum of a product by comb and a product by NAF, with common doublings."""
    multiples = _odd_multiples(x, y)
    naf = _naf(scalar2)
    digits1 = _comb_digits(scalar1)
    X, Y, Z = _INFINITY
    for i in range(256, -1, -1):
        if Z:
            X, Y, Z = _double(X, Y, Z)
        digit = naf[i]
        if digit > 15:  # negative: 17 stands for -15, 31 for -1
            minus_x, minus_y = multiples[(32 - digit) >> 1]
            X, Y, Z = _add(X, Y, Z, minus_x, P - minus_y)
        elif digit:
            X, Y, Z = _add(X, Y, Z, *multiples[digit >> 1])
        if i < _COLUMNS:
            digit = digits1[_COLUMNS - 1 - i]
            if digit:
                X, Y, Z = _add(X, Y, Z, *_entry(table1, digit))
    return X, Y, Z
