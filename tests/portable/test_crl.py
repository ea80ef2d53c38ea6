# SPDX-License-Identifier: MIT
"""Revocation lists: what is read of them, and what is refused."""

import certificates_by_hand as authority
import remembered
from agent.crypto import p256_sign
from agent.wire import crl, der
from certificates_by_hand import ALGORITHM, extension, key, name
from expect import refused

HEAP = "2M"
TIMEOUT_S = 60
REMEMBERS = True
remembered.signatures_of_file()

THIS, NEXT = b"261201000000Z", b"261202000000Z"
REASON, NUMBER = "2.5.29.21", "2.5.29.20"


def utc(text):
    return der.tlv(der.UTC_TIME, text)


def entry(serial, reason=None, critical=False):
    more = ()
    if reason is not None:
        more = (der.sequence(extension(REASON, der.tlv(0x0A, bytes((reason,))), critical)),)
    return der.sequence(der.integer(serial), utc(b"261130120000Z"), *more)


VERSION, FOLLOWING = (der.integer(1),), (utc(NEXT),)


def unsigned(revoked=(), version=VERSION, this=THIS, following=FOLLOWING, extensions=None, algorithm=ALGORITHM):
    if extensions is None:
        extensions = (extension(NUMBER, der.integer(77), False),)
    parts = tuple(version) + (algorithm, name("CA"), utc(this)) + tuple(following)
    if revoked:
        parts += (der.sequence(*revoked),)
    if extensions:
        parts += (der.tlv(0xA0, der.sequence(*extensions)),)
    return der.sequence(*parts)


def of(*revoked, **more):
    return der.sequence(unsigned(revoked, **more), ALGORITHM, der.bits(b"signature"))


def test_a_list_and_its_parts():
    found = crl.read(of(entry(5), entry(1 << 127, 1), entry(9, 6), entry(10, 99)))
    assert found.issuer == name("CA") and found.number == 77
    assert found.next_update - found.this_update == 86_400 and found.this_update == 1_796_083_200
    assert [one[0] for one in crl.entries(found)] == [5, 1 << 127, 9, 10]
    assert [one[2] for one in crl.entries(found)] == ["unspecified", "keyCompromise", "certificateHold", "unspecified"]
    assert crl.find(found, 1 << 127) == (1_796_040_000, "keyCompromise")
    assert crl.find(found, 6) is None


def test_a_list_of_nothing():
    found = crl.read(of(extensions=()))
    assert list(crl.entries(found)) == [] and found.number is None and crl.find(found, 0) is None


def test_its_signature():
    tbs = unsigned((entry(5),))
    found = crl.read(authority.sign(key(101), tbs))
    assert found.tbs == tbs and found.signature_algorithm == "1.2.840.10045.4.3.2"
    for signer, verdict in ((101, True), (102, False)):
        public = p256_sign.public(key(signer))
        assert authority.verify("ecdsa", "ecdsa-sha2-nistp256", public, found.tbs, found.signature) is verdict


def test_what_is_no_list_for_a_device():
    other = der.sequence(der.oid("1.2.840.10045.4.3.3"))
    whole = of(entry(5))
    for broken in (
        b"",
        whole[:-1],
        whole + b"\x00",
        der.sequence(),
        of(entry(5), version=()),
        of(entry(5), version=(der.integer(0),)),
        of(entry(5), algorithm=other),
        of(entry(5), following=()),
        of(entry(5), following=(utc(THIS),)),
        of(entry(5), this=b"261301000000Z"),
        of(entry(5), following=(utc(NEXT), utc(NEXT))),
        of(entry(5, 1, True)),
        of(entry(5), extensions=(extension("2.5.29.28", der.sequence()),)),  # a part of a list
        of(entry(5), extensions=(extension("2.5.29.27", der.integer(1)),)),  # a change of one
        of(entry(5), der.sequence(der.integer(6))),
        of(entry(5), der.sequence(der.tlv(2, b"\xff"), utc(THIS))),
        of(entry(5), der.integer(6)),
        of(entry(5), der.sequence(der.integer(6), utc(THIS), der.integer(1))),
    ):
        refused("crl", crl.read, broken)


def test_each_of_its_bytes_may_be_wrong():
    whole = of(entry(5, 1), entry(6))
    for at in range(len(whole)):
        for bit in (1, 0x80):
            broken = bytearray(whole)
            broken[at] ^= bit
            try:
                list(crl.entries(crl.read(bytes(broken))))
            except Exception as error:
                if getattr(error, "code", "") != "crl":
                    raise


def test_it_may_be_long_but_not_too_long():
    one = entry(1 << 127)
    many = one * 2000
    assert len(many) > der.MAX_BYTES

    def long(tag, body):
        return bytes((tag, 0x83)) + len(body).to_bytes(3, "big") + body

    tbs = long(0x30, der.integer(1) + ALGORITHM + name("CA") + utc(THIS) + utc(NEXT) + long(0x30, many))
    data = long(0x30, tbs + ALGORITHM + der.bits(b"signature"))
    assert sum(1 for _ in crl.entries(crl.read(data))) == 2000
    refused("crl", crl.read, data, len(data) - 1)
    refused("der", der.Reader, data)
