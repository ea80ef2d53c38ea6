# SPDX-License-Identifier: MIT
"""P-256 in plain Python, for boards that have nothing better: keys and ECDSA signatures.

Values are bytes: a *secret* has 32, the rest is as in `p256`, which verifies.

Signing is deterministic (RFC 6979) and may be hedged with fresh randomness, so
that neither a bad random generator nor a repeated fault gives a key away.
Nothing here runs in constant time: whoever can time or probe the device's
processor may learn the secret.
Sources: FIPS 186-5, 6.4.1 and A.2.2; RFC 6979; RFC 2104.
"""

import hashlib

from agent.crypto.p256 import N, P, total
from agent.crypto.p256_comb import row
from agent.crypto.p256_generator_comb import COMB
from agent.errors import DeviceError, MisuseError

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
    x, y = _times_generator(_scalar(secret))
    return b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")


def sign(secret: bytes, digest: bytes, extra: bytes = b"") -> bytes:
    """The raw signature of a SHA-256 digest; `extra` is fresh randomness to mix in (RFC 6979, 3.6), or nothing."""
    d = _scalar(secret)
    if len(digest) != 32:
        raise MisuseError("p256_digest", "a digest has 32 bytes")
    e = _int(digest)
    for k in _nonces(secret, (e % N).to_bytes(32, "big"), extra):
        r = _times_generator(k)[0] % N
        s = _inverse_of_secret(k, N) * (e + r * d) % N
        if r and s:
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")


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


def _times_generator(scalar: int) -> tuple:
    """(x, y) of a multiple of the generator."""
    digits = row(scalar, 1)
    X, V, Z = total([None], COMB, digits, bytes(len(digits)))
    z = _inverse_of_secret(Z, P)
    zz = z * z % P
    half = P + 1 >> 1  # V is 2 Y
    return X * zz % P, V * z % P * zz % P * half % P


def _inverse_of_secret(value: int, modulus: int) -> int:
    """By Fermat: six times slower than Euclid, but by the same steps for every value."""
    return pow(value, modulus - 2, modulus)  # pow(value, -1, modulus) is wrong on MicroPython
