# SPDX-License-Identifier: MIT
"""P-256 in plain Python, for boards that have nothing better: whether an ECDSA signature is good.

Values are bytes: a *point* has 65 (SEC 1, 2.3.3), a *digest* 32 (SHA-256), a
*raw* signature 64 (r, s).  Public data only, so nothing runs in constant time.
Signing is `p256_sign`, the quick way for a key that is met often `p256_comb`;
keys and signatures in DER are `agent.wire.ecdsa`'s.

How it is fast enough: a reduction modulo P costs two multiplications, a call
nearly one, so `total` is one loop without calls; Jacobian coordinates (X, V, Z)
with V = 2 Y, which saves two small multiplications a doubling; odd multiples
and windowed NAF, the generator's multiples from flash.
Sources: FIPS 186-5, 6.4.2; SP 800-186, 3.2.1.3; Guide to Elliptic Curve
Cryptography (Hankerson, Menezes, Vanstone), algorithms 3.21, 3.22, 3.35.
"""

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B

_KEY_WIDTH = 5  # 8 odd multiples
_GENERATOR_WIDTH = 6  # 16


def verify(point: bytes, digest: bytes, raw: bytes) -> bool:
    """Whether `raw` is the signature of `digest` by the key `point`.  Malformed input is False, never an error."""
    from agent.crypto.naf import naf
    from agent.crypto.p256_generator import MULTIPLES

    key = coordinates(point)
    scalars = scalars_of(digest, raw)
    if key is None or scalars is None:
        return False
    u1, u2, r = scalars
    points = [None] + _odd_multiples(key[0], key[1])
    return has_x(total(points, MULTIPLES, naf(u2, _KEY_WIDTH, 1), naf(u1, _GENERATOR_WIDTH, 9)), r)


def is_point(point: bytes) -> bool:
    """Whether these are the 65 bytes of a point on the curve.  Then it is a valid public key: the cofactor is 1."""
    return coordinates(point) is not None


def coordinates(point: bytes):
    """(x, v) of a point on the curve, else None."""
    if len(point) != 65 or point[0] != 4:
        return None
    x = int.from_bytes(point[1:33], "big")
    y = int.from_bytes(point[33:], "big")
    if x >= P or y >= P or (y * y - (x * x - 3) * x - B) % P:
        return None
    return x, 2 * y % P


def scalars_of(digest: bytes, raw: bytes):
    """(u1, u2, r) of a verification, or None when digest or signature cannot be valid."""
    if len(digest) != 32 or len(raw) != 64:
        return None
    r = int.from_bytes(raw[:32], "big")
    s = int.from_bytes(raw[32:], "big")
    if not 0 < r < N or not 0 < s < N:
        return None
    w = inverse(s, N)
    return int.from_bytes(digest, "big") * w % N, r * w % N, r


def has_x(jacobian: tuple, r: int) -> bool:
    """Whether the affine x of the point is r modulo N; without the costly inversion."""
    X, _, Z = jacobian
    if not Z:
        return False
    zz = Z * Z % P
    return (r * zz - X) % P == 0 or (r + N < P and ((r + N) * zz - X) % P == 0)


def entry(table: bytes, number: int) -> tuple:
    """(x, v) of a point in a table, 32 bytes each."""
    at = number * 64
    return int.from_bytes(table[at : at + 32], "big"), int.from_bytes(table[at + 32 : at + 64], "big")


def total(points: list, table: bytes, row1: bytes, row2: bytes) -> tuple:
    """The sum of two products: in each column twice what there is, and the points that both rows' digits name.

    points[0] is not used, digit 0 names nothing; the most significant column comes first.  The digits above `points` are
    those of `table`, which is read entry by entry: a list of its points would take three times its room.
    """
    p = P
    listed = len(points)
    X, V, Z = 1, 2, 0
    for digits in zip(row1, row2):
        if Z:  # `double`, in line
            a = Z * Z % p
            b = V * V % p
            Z = V * Z % p
            V = (X - a) * (X + a) * 3 % p
            a = X * b % p
            X = (V * V - 2 * a) % p
            V = (V * (a - X) * 2 - b * b) % p
        for digit in digits:
            if digit:
                number = digit & 127
                x, v = points[number] if number < listed else entry(table, number - listed)
                if digit > 127:
                    v = p - v
                if not Z:
                    X, V, Z = x, v, 1
                    continue
                a = Z * Z % p  # `add`, in line
                x = (x * a - X) % p
                v = (v * Z % p * a - V) % p
                if not x:
                    X, V, Z = (1, 2, 0) if v else double(X, V, Z)
                    continue
                b = x + x
                Z = Z * b % p
                b = b * b % p
                a = X * b % p
                b = x * b % p
                X = (v * v - b - 2 * a) % p
                V = 2 * (v * (a - X) - V * b) % p
    return X, V, Z


def double(X: int, V: int, Z: int) -> tuple:
    p = P
    delta = Z * Z % p
    gamma = V * V % p
    beta = X * gamma % p
    alpha = (X - delta) * (X + delta) * 3 % p
    X = (alpha * alpha - 2 * beta) % p
    return X, (alpha * (beta - X) * 2 - gamma * gamma) % p, V * Z % p


def add(X: int, V: int, Z: int, x: int, v: int) -> tuple:
    """A Jacobian and an affine point, which are neither equal nor opposite nor infinity."""
    p = P
    zz = Z * Z % p
    h = (x * zz - X) % p
    slope = (v * Z % p * zz - V) % p
    i = 4 * h * h % p
    j = h * i % p
    i = X * i % p
    X3 = (slope * slope - j - 2 * i) % p
    return X3, 2 * (slope * (i - X3) - V * j) % p, 2 * Z * h % p


def all_affine(points: list) -> list:
    """[(x, v)] of points, none of them infinity, in place and with one inversion (Montgomery's trick)."""
    products = []
    product = 1
    for point in points:
        products.append(product)
        product = product * point[2] % P
    rest = inverse(product, P)
    for i in range(len(points) - 1, -1, -1):
        X, V, Z = points[i]
        z = rest * products.pop() % P
        rest = rest * Z % P
        zz = z * z % P
        points[i] = (X * zz % P, V * z % P * zz % P)
    return points


def inverse(value: int, modulus: int) -> int:
    """By Euclid: quick, and its steps depend on the value, which must therefore be public."""
    r, next_r, s, next_s = modulus, value, 0, 1
    while next_r:
        quotient, rest = divmod(r, next_r)
        r, next_r, s, next_s = next_r, rest, next_s, s - quotient * next_s
    return s % modulus


def _odd_multiples(x: int, v: int) -> list:
    """1, 3, 5 ... 15 times a point, affine.

    Twice the point, (X2, V2, Z2), is affine on an isomorphic curve, where the point itself is (x Z2**2, v Z2**3); an
    addition does not ask which of the curves it works on.  One inversion brings all of them back.
    """
    X2, V2, Z2 = double(x, v, 1)
    zz = Z2 * Z2 % P
    X, V, Z = x * zz % P, v * zz % P * Z2 % P, 1
    multiples = [(X, V, Z2)]
    for _ in range(7):
        X, V, Z = add(X, V, Z, X2, V2)
        multiples.append((X, V, Z * Z2 % P))
    return all_affine(multiples)
