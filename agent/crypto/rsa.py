# SPDX-License-Identifier: MIT
"""RSASSA-PSS with SHA-256 and MGF1-SHA-256, for boards that have nothing better: whether a signature is good.

The salt may have any length, as python-tuf's verifier takes it: signers differ
(32 bytes or the most that fit).  A key has 2048 to 4096 bits and an odd exponent
from 3 to 2**32 - 1, which bounds the work.
Sources: RFC 8017, 8.1.2 and 9.1.2; RFC 3279, 2.3.1 (public keys).
"""

import hashlib

from agent.errors import RefusedError
from agent.wire import der

MIN_BITS = 2048
MAX_BITS = 4096
MAX_EXPONENT = 0xFFFFFFFF
_RSA_ENCRYPTION = "1.2.840.113549.1.1.1"
_HASH_BYTES = 32


def verify(public: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether `signature` is that of the SHA-256 `digest` by the key `public`.  Malformed input is False."""
    key = read_key(public)
    if key is None:
        return False
    n, e, bits = key
    if len(signature) != (bits + 7) // 8:
        return False
    s = int.from_bytes(signature, "big")
    if s >= n:
        return False
    m = pow(s, e, n)
    size = (bits + 6) // 8  # one byte less than the signature when the modulus begins a byte
    if m >> (bits - 1):  # the encoding has one bit less than the modulus
        return False
    return _is_encoding(m.to_bytes(size, "big"), digest, 8 * size - bits + 1)


def read_key(public: bytes):
    """(modulus, exponent, bits of the modulus) of a SubjectPublicKeyInfo in DER, or None."""
    try:
        outer = der.Reader(public)
        info = outer.enter(der.SEQUENCE)
        outer.end()
        algorithm = info.enter(der.SEQUENCE)
        if algorithm.oid() != _RSA_ENCRYPTION or algorithm.contents(der.NULL):
            return None
        algorithm.end()
        outer = der.Reader(info.bits())
        info.end()
        numbers = outer.enter(der.SEQUENCE)
        outer.end()
        n = numbers.integer()
        e = numbers.integer()
        numbers.end()
    except RefusedError:
        return None
    if not n & e & 1 or not 3 <= e <= MAX_EXPONENT or n >> MAX_BITS or not n >> (MIN_BITS - 1):
        return None
    bits = MIN_BITS
    while n >> bits:
        bits += 1
    return n, e, bits


def _is_encoding(encoded: bytes, digest: bytes, unused: int) -> bool:
    """EMSA-PSS-VERIFY (9.1.2) of an encoding whose first `unused` bits are 0; the salt is what follows the first 1."""
    if encoded[-1] != 0xBC:
        return False
    masked = len(encoded) - _HASH_BYTES - 1
    inner = encoded[masked:-1]
    block = bytearray(encoded[:masked])
    for at in range(0, masked, _HASH_BYTES):
        mask = hashlib.sha256(inner + (at // _HASH_BYTES).to_bytes(4, "big")).digest()
        for i in range(at, min(at + _HASH_BYTES, masked)):
            block[i] ^= mask[i - at]
    block[0] &= 0xFF >> unused
    start = 0
    while start < masked and not block[start]:
        start += 1
    if start == masked or block[start] != 1:
        return False
    return hashlib.sha256(bytes(8) + digest + bytes(block[start + 1 :])).digest() == inner
