# SPDX-License-Identifier: MIT
"""A CA in a few lines, for tests that need a certificate on either interpreter: one root, leaves for P-256 keys."""

import hashlib

from agent.crypto import p256_sign
from agent.wire import der, ecdsa

ROOT_SECRET = hashlib.sha256(b"bench CA").digest()
_ALGORITHM = der.sequence(der.oid(ecdsa.ECDSA_WITH_SHA256))
_TIME = 0x17


def name(text):
    return der.sequence(der.tlv(der.SET, der.sequence(der.oid("2.5.4.3"), der.tlv(der.UTF8_STRING, text.encode()))))


def certificate(subject, point, issuer="bench CA", secret=ROOT_SECRET, is_ca=False, serial=5, end=b"460101000000Z"):
    extensions = b""
    if is_ca:
        critical = b"\x01\x01\xff"
        constraint = der.tlv(der.OCTET_STRING, der.sequence(critical))
        usage = der.tlv(der.OCTET_STRING, b"\x03\x02\x01\x06")  # keyCertSign, cRLSign
        extensions = der.tlv(
            0xA3,
            der.sequence(
                der.sequence(der.oid("2.5.29.19"), critical, constraint),
                der.sequence(der.oid("2.5.29.15"), critical, usage),
            ),
        )
    tbs = der.sequence(
        der.tlv(0xA0, der.integer(2)),
        der.integer(serial),
        _ALGORITHM,
        name(issuer),
        der.sequence(der.tlv(_TIME, b"260101000000Z"), der.tlv(_TIME, end)),
        name(subject),
        ecdsa.public_to_der(point),
        extensions,
    )
    raw = p256_sign.sign(secret, hashlib.sha256(tbs).digest())
    return der.sequence(tbs, _ALGORITHM, der.bits(ecdsa.signature_to_der(raw)))


def root():
    return certificate("bench CA", p256_sign.public(ROOT_SECRET), is_ca=True)
