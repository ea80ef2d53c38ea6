# SPDX-License-Identifier: MIT
import vectors
from agent.wire import csr, der, ecdsa, pem, signature, x509
from expect import misuse, refused


def test_certificate_of_a_device():
    certificate = x509.read(vectors.CERTIFICATE)
    assert certificate.serial == 0x7FD0F00DCAFE0123456789
    assert certificate.common_name == "product/device-1"
    assert certificate.public == vectors.POINT
    assert certificate.not_before == 1767225600
    assert certificate.not_after == 1830297600
    assert certificate.signature_algorithm == ecdsa.ECDSA_WITH_SHA256
    assert certificate.is_ca is False
    assert certificate.unknown_critical is True  # its extendedKeyUsage
    assert certificate.tbs in vectors.CERTIFICATE
    assert len(signature.from_der(certificate.signature)) == 64


def test_certificate_of_an_authority():
    authority = x509.read(vectors.CA_CERTIFICATE)
    assert authority.common_name == "Test CA"
    assert authority.is_ca is True
    assert authority.unknown_critical is False
    assert authority.issuer == authority.subject == x509.read(vectors.CERTIFICATE).issuer
    assert authority.not_before == 1709208001  # a UTCTime on the 29th of February
    assert authority.not_after == 2871763199  # a GeneralizedTime beyond 2049


def _with(old, new):
    changed = vectors.CERTIFICATE.replace(old, new)
    assert changed != vectors.CERTIFICATE and len(old) == len(new)
    return changed


def test_times():
    for text, seconds in (
        (b"700101000000Z", 0),
        (b"500101000000Z", -631152000),
        (b"491231235959Z", 2524607999),
        (b"000229000000Z", 951782400),
        (b"000301000000Z", 951868800),
        (b"240228235959Z", 1709164799),
        (b"240301000000Z", 1709251200),
        (b"241231235959Z", 1735689599),
        (b"250301000000Z", 1740787200),
    ):
        assert x509.read(_with(b"260101000000Z", text)).not_before == seconds, text


def test_certificates_that_are_none_are_refused():
    whole = vectors.CERTIFICATE
    for broken in (
        b"",
        whole[:-1],
        whole + b"\x00",
        _with(b"\x17\x0d260101000000Z", b"\x17\x0d260101000000+"),
        _with(b"\x17\x0d260101000000Z", b"\x17\x0d261301000000Z"),
        _with(b"\x17\x0d260101000000Z", b"\x17\x0d260229000000Z"),
        _with(b"\x17\x0d260101000000Z", b"\x17\x0d26010100000 Z"),
        _with(b"\x17\x0d260101000000Z", b"\x18\x0d260101000000Z"),
        _with(b"product/device-1", b"product/\xed\xa0\x80ice-1"),
        whole.replace(b"\x2a\x86\x48\xce\x3d\x04\x03\x02", b"\x2a\x86\x48\xce\x3d\x04\x03\x03", 1),
    ):
        refused("certificate", x509.read, broken)


def test_certificates_of_an_enrolment():
    certificates = x509.certificates_of_pkcs7(vectors.PKCS7)
    assert certificates == [vectors.CA_CERTIFICATE, vectors.CERTIFICATE]  # a DER SET is sorted
    refused("certificate", x509.certificates_of_pkcs7, vectors.PKCS7[:-1])
    refused("certificate", x509.certificates_of_pkcs7, vectors.CERTIFICATE)


def test_an_enrolment_of_too_many_certificates_is_refused():
    def message(count):
        empty = der.tlv(der.SET)
        content = der.sequence(der.oid("1.2.840.113549.1.7.1"))
        certificates = der.tlv(0xA0, vectors.CERTIFICATE * count)
        signed = der.sequence(der.integer(1), empty, content, certificates, empty)
        return der.sequence(der.oid("1.2.840.113549.1.7.2"), der.tlv(0xA0, signed))

    assert x509.certificates_of_pkcs7(message(0)) == []
    assert len(x509.certificates_of_pkcs7(message(x509.MAX_CERTIFICATES))) == x509.MAX_CERTIFICATES
    refused("certificate", x509.certificates_of_pkcs7, message(x509.MAX_CERTIFICATES + 1))


def test_keys_keep_their_meaning():
    assert ecdsa.secret_from_der(vectors.PKCS8) == (vectors.SECRET, vectors.POINT)
    assert ecdsa.secret_from_der(vectors.SEC1) == (vectors.SECRET, vectors.POINT)
    assert ecdsa.secret_to_der(vectors.SECRET, vectors.POINT) == vectors.PKCS8
    assert ecdsa.public_to_der(vectors.POINT) == vectors.PUBLIC
    assert ecdsa.public_from_der(vectors.PUBLIC) == vectors.POINT


def test_keys_of_other_kinds_are_told_apart():
    assert ecdsa.public_from_der(vectors.PUBLIC_P384) is None
    assert ecdsa.public_from_der(vectors.PUBLIC_RSA) is None
    refused("der", ecdsa.secret_from_der, vectors.PKCS8_P384)


def test_signatures_have_one_form():
    for r, s in ((1, 1), (127, 128), ((1 << 256) - 1, 1 << 255)):
        raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        assert signature.from_der(ecdsa.signature_to_der(raw)) == raw
    one = der.integer(1)
    for broken in (
        b"",
        der.sequence(one),
        der.sequence(one, one, one),
        der.sequence(one, one) + b"\x00",
        der.sequence(one, b"\x02\x02\x00\x01"),
        der.sequence(one, b"\x02\x01\xff"),
        der.sequence(one, der.integer(1 << 256)),
        b"\x30\x81\x06\x02\x01\x01\x02\x01\x01",
    ):
        refused("der", signature.from_der, broken)
    misuse("signature_length", ecdsa.signature_to_der, bytes(63))


def test_request_asks_for_the_right_to_sign_only():
    signed = []

    def sign(message):
        signed.append(message)
        return bytes(31) + b"\x01" + bytes(31) + b"\x02"

    request = csr.build("product/device-1", vectors.POINT, sign)
    whole = der.Reader(request).enter(der.SEQUENCE)
    assert whole.element() == signed[0]
    assert whole.element() == der.sequence(der.oid(ecdsa.ECDSA_WITH_SHA256))
    assert whole.bits() == b"\x30\x06\x02\x01\x01\x02\x01\x02"
    assert vectors.PUBLIC in request and b"product/device-1" in request


def test_request_with_an_impossible_name_is_misuse():
    for name in ("", "x" * 65):
        misuse("csr_subject", csr.build, name, vectors.POINT, None)
    misuse("public_point", csr.build, "x", vectors.POINT[1:], None)


def test_pem_there_and_back():
    for size in (1, 2, 3, 47, 48, 49, 1000):
        data = bytes([i & 255 for i in range(size)])
        text = pem.encode("THING", data)
        assert max([len(line) for line in text.split("\n")]) <= 64
        assert pem.decode(text, "THING") == data
        assert pem.decode("explanatory text\n" + text.replace("\n", "\r\n") + "more", "THING") == data
        assert pem.from_base64(pem.to_base64(data)) == data


def test_pem_of_several_blocks():
    text = pem.encode("A", b"one") + pem.encode("B", b"two") + pem.encode("A", b"three")
    assert pem.decode_all(text, "A") == [b"one", b"three"]
    assert pem.decode_all(text.encode(), "C") == []
    refused("pem", pem.decode, text, "A")
    refused("pem", pem.decode, text, "C")


def test_pem_that_is_none_is_refused():
    for text in (
        "-----BEGIN A-----\nb25l\n",
        "-----BEGIN A-----\nb25l\n-----END B-----",
        "-----BEGIN A-----\n-----END A-----",
        "-----BEGIN A-----\nb2$5l\n-----END A-----",
        "-----BEGIN A-----\nb25\n-----END A-----",
        "-----BEGIN A-----\nProc-Type: 4\n\nb25l\n-----END A-----",
    ):
        refused("pem", pem.decode_all, text, "A")
    for text in (b"", b"=", b"====", b"A===", b"AA=", b"AA=A", b"AB==", b"AAB=", b"A-_A", b"AAA\xff"):
        refused("pem", pem.from_base64, text)
    refused("pem", pem.from_base64, b"AAAA" * (pem.MAX_CHARS // 4 + 1))
