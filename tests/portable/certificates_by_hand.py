# SPDX-License-Identifier: MIT
"""Certificates, revocation lists and PKCS #7 made by hand, for tests that run on both interpreters."""

import hashlib

from agent.crypto import p256_sign
from agent.crypto.verify import Whole
from agent.crypto.verify import verify as verify_whole
from agent.wire import der, ecdsa

ALGORITHM = der.sequence(der.oid(ecdsa.ECDSA_WITH_SHA256))
BEGIN, END = b"260101000000Z", b"460101000000Z"
NOW = 1_800_000_000


def key(number):
    return number.to_bytes(32, "big")


def name(common_name):
    attribute = der.sequence(der.oid("2.5.4.3"), der.tlv(der.UTF8_STRING, common_name.encode()))
    return der.sequence(der.tlv(der.SET, attribute))


def sign(secret, tbs):
    raw = p256_sign.sign(secret, hashlib.sha256(tbs).digest())
    return der.sequence(tbs, ALGORITHM, der.bits(ecdsa.signature_to_der(raw)))


def verify(key_type, scheme, public, data, signature):
    return verify_whole(key_type, scheme, public, Whole(data), signature)


def extension(dotted, value, critical=True):
    flag = (der.tlv(0x01, b"\xff"),) if critical else ()
    return der.sequence(der.oid(dotted), *(flag + (der.tlv(der.OCTET_STRING, value),)))


def certificate(
    subject, secret, issuer, signer, ca=True, path=None, begin=BEGIN, end=END, serial=7, more=(), usage=0x06
):
    """`subject` with the key `secret`, signed as `issuer` by the key `signer`."""
    constraints = ((der.tlv(0x01, b"\xff"),) if ca else ()) + ((der.integer(path),) if path is not None else ())
    extensions = [
        extension("2.5.29.19", der.sequence(*constraints)),
        extension("2.5.29.15", der.tlv(der.BIT_STRING, bytes((1, usage)))),
    ]
    tbs = der.sequence(
        der.tlv(0xA0, der.integer(2)),
        der.integer(serial),
        ALGORITHM,
        name(issuer),
        der.sequence(der.tlv(der.UTC_TIME, begin), der.tlv(der.UTC_TIME, end)),
        name(subject),
        ecdsa.public_to_der(p256_sign.public(secret)),
        der.tlv(0xA3, der.sequence(*(tuple(extensions) + tuple(more)))),
    )
    return sign(signer, tbs)


def root(subject, secret, **more):
    return certificate(subject, secret, subject, secret, **more)


def pkcs7(certificates):
    empty = der.tlv(der.SET)
    content = der.sequence(der.oid("1.2.840.113549.1.7.1"))
    signed = der.sequence(der.integer(1), empty, content, der.tlv(0xA0, b"".join(certificates)), empty)
    return der.sequence(der.oid("1.2.840.113549.1.7.2"), der.tlv(0xA0, signed))
