# SPDX-License-Identifier: MIT
"""RSASSA-PKCS1-v1_5 with SHA-256 by a key that came from outside, for boards that have nothing better.

Signed in two halves (CRT), which is four times as fast; a fault in one of them would give the key away, so what is
signed is verified before it leaves (Boneh, DeMillo, Lipton, 1997).  Not constant-time.
Sources: RFC 8017, 5.1.2, 8.2.1, 9.2 and A.1.2; RFC 5958.
"""

import hashlib

from agent.errors import DeviceError, RefusedError
from agent.wire import der

BITS = 2048
_EXPONENTS = (3, 0xFFFFFFFF)
_RSA_ENCRYPTION = "1.2.840.113549.1.1.1"
_SHA256_HEAD = b"010\r\x06\x09`\x86H\x01e\x03\x04\x02\x01\x05\x00\x04 "


def read(private: bytes) -> tuple:
    """(n, e, p, q, dP, dQ, qInv) of a PKCS #8 PrivateKeyInfo.  RefusedError("rsa_key") for all but a sound RSA-2048 key."""
    try:
        outer = der.Reader(private)
        info = outer.enter(der.SEQUENCE)
        outer.end()
        info.integer()
        algorithm = info.enter(der.SEQUENCE)
        if algorithm.oid() != _RSA_ENCRYPTION:
            raise der.refused("not an RSA key")
        outer = der.Reader(info.contents(der.OCTET_STRING))
        numbers = outer.enter(der.SEQUENCE)
        outer.end()
        version = numbers.integer()
        n, e, d, p, q, dp, dq, inverse = [numbers.integer() for _ in range(8)]
        numbers.end()
    except RefusedError as error:
        raise RefusedError("rsa_key", error.detail)
    sound = version == 0 and n == p * q and n >> (BITS - 1) == 1 and e & 1 and _EXPONENTS[0] <= e <= _EXPONENTS[1]
    if not sound or p < 3 or q < 3 or q * inverse % p != 1 or dp * e % (p - 1) != 1 or dq * e % (q - 1) != 1:
        raise RefusedError("rsa_key", "not a sound RSA key of %d bits" % BITS)
    return n, e, p, q, dp, dq, inverse


def sign(private: bytes, message: bytes) -> bytes:
    """256 bytes.  DeviceError("rsa_fault") rather than a signature that is wrong."""
    n, e, p, q, dp, dq, inverse = read(private)
    tail = _SHA256_HEAD + hashlib.sha256(message).digest()
    encoded = b"\x00\x01" + b"\xff" * (BITS // 8 - 3 - len(tail)) + b"\x00" + tail
    m = int.from_bytes(encoded, "big")
    one, two = pow(m % p, dp, p), pow(m % q, dq, q)
    signed = two + q * ((one - two) * inverse % p)
    if pow(signed, e, n) != m:
        raise DeviceError("rsa_fault", "a signature came out wrong: it is not given away")
    return signed.to_bytes(BITS // 8, "big")


def public_to_der(key: tuple) -> bytes:
    """SubjectPublicKeyInfo of what `read` gave."""
    numbers = der.sequence(der.integer(key[0]), der.integer(key[1]))
    return der.sequence(der.sequence(der.oid(_RSA_ENCRYPTION), der.tlv(der.NULL)), der.bits(numbers))
