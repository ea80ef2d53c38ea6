# SPDX-License-Identifier: MIT
"""A CA in RAM, for both interpreters: a root, an issuing CA if wanted, leaves with any validity.  Not a model of a good CA."""

from agent.crypto import p256_sign
from agent.wire import der, ecdsa

ROOT_SECRET = bytes(31) + b"\x51"
ISSUING_SECRET = bytes(31) + b"\x52"
YEAR_S = 31_536_000
_MONTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def sign(secret, message):
    import hashlib

    return p256_sign.sign(secret, hashlib.sha256(message).digest())


def name(text):
    attribute = der.sequence(der.oid("2.5.4.3"), der.tlv(der.UTF8_STRING, text.encode()))
    return der.sequence(der.tlv(der.SET, attribute))


def moment(seconds):
    """A GeneralizedTime; a UTCTime is used by the vectors."""
    days, rest = divmod(seconds, 86400)
    year = 1970
    while days >= 365 + _leap(year):
        days -= 365 + _leap(year)
        year += 1
    month = 0
    while days >= _MONTHS[month] + (month == 1 and _leap(year)):
        days -= _MONTHS[month] + (month == 1 and _leap(year))
        month += 1
    text = "%04d%02d%02d" % (year, month + 1, days + 1)
    text += "%02d%02d%02dZ" % (rest // 3600, rest // 60 % 60, rest % 60)
    return der.tlv(der.GENERALIZED_TIME, text.encode())


def _leap(year):
    return int(year % 4 == 0 and (year % 100 != 0 or year % 400 == 0))


def extension(dotted, critical, *parts):
    value = der.tlv(der.OCTET_STRING, *parts)
    return der.sequence(der.oid(dotted), b"\x01\x01\xff" if critical else b"", value)


CA_EXTENSIONS = (
    extension("2.5.29.19", True, der.sequence(b"\x01\x01\xff")),
    extension("2.5.29.15", True, b"\x03\x02\x01\x06"),
)
LEAF_EXTENSIONS = (
    extension("2.5.29.19", True, der.sequence()),
    extension("2.5.29.15", True, b"\x03\x02\x07\x80"),
)


def certificate(serial, issuer, subject, point, validity, signer, extensions):
    algorithm = der.sequence(der.oid(ecdsa.ECDSA_WITH_SHA256))
    tbs = der.sequence(
        der.tlv(0xA0, der.integer(2)),
        der.integer(serial),
        algorithm,
        name(issuer),
        der.sequence(moment(validity[0]), moment(validity[1])),
        name(subject),
        ecdsa.public_to_der(point),
        der.tlv(0xA3, der.sequence(*extensions)),
    )
    return der.sequence(tbs, algorithm, der.bits(ecdsa.signature_to_der(sign(signer, tbs))))


def pkcs7(*certificates):
    empty = der.tlv(der.SET)
    content = der.sequence(der.oid("1.2.840.113549.1.7.1"))
    signed = der.sequence(der.integer(1), empty, content, der.tlv(0xA0, *certificates), empty)
    return der.sequence(der.oid("1.2.840.113549.1.7.2"), der.tlv(0xA0, signed))


class Authority:
    """`now`: seconds; `chained`: leaves come from an issuing CA, the root signs that one alone."""

    def __init__(self, now, chained=False):
        always = (now - YEAR_S, now + 20 * YEAR_S)
        public = p256_sign.public
        self.root = certificate(1, "Root", "Root", public(ROOT_SECRET), always, ROOT_SECRET, CA_EXTENSIONS)
        self.between = []
        self.secret, self.name = ROOT_SECRET, "Root"
        if chained:
            point = public(ISSUING_SECRET)
            self.between = [certificate(2, "Root", "Issuing", point, always, ROOT_SECRET, CA_EXTENSIONS)]
            self.secret, self.name = ISSUING_SECRET, "Issuing"

    def issue(self, serial, subject, point, begin, end, extensions=LEAF_EXTENSIONS):
        return certificate(serial, self.name, subject, point, (begin, end), self.secret, extensions)
