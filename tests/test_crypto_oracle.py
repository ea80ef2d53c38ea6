# SPDX-License-Identifier: MIT
"""P-256 and its codecs against the package `cryptography`, in both directions."""

import datetime
import hashlib

import pytest
from cryptography import x509 as reference
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.crypto import ed25519 as our_ed25519
from agent.crypto import p256, p256_comb, p256_sign, sha512, verify
from agent.wire import csr, ecdsa, pem, x509

SECRETS = st.integers(1, p256.N - 1).map(lambda d: d.to_bytes(32, "big"))
ECDSA = ec.ECDSA(hashes.SHA256())


def _key(secret):
    return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())


def _point(key):
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300), st.integers(0, 63), st.integers(0, 255))
@settings(max_examples=60)
def test_both_say_the_same_of_damaged_ed25519_signatures(seed, message, at, value):
    key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    signature, point = bytearray(key.sign(message)), key.public_key().public_bytes_raw()
    assert our_ed25519.verify(point, verify.Whole(message), bytes(signature))
    signature[at] = value
    try:
        key.public_key().verify(bytes(signature), message)
        verdict = True
    except InvalidSignature:
        verdict = False
    assert our_ed25519.verify(point, verify.Whole(message), bytes(signature)) is verdict


@given(st.binary(max_size=600), st.integers(0, 600))
@settings(max_examples=60)
def test_sha512_is_that_of_the_reference(message, cut):
    hasher = sha512.Sha512()
    hasher.update(message[:cut])
    hasher.update(message[cut:])
    assert hasher.digest() == hashlib.sha512(message).digest()


@given(SECRETS)
@settings(max_examples=30)
def test_public_keys_agree(secret):
    assert p256_sign.public(secret) == _point(_key(secret).public_key())


@given(SECRETS, st.binary(), st.binary(max_size=32))
@settings(max_examples=30)
def test_the_reference_takes_our_signatures(secret, message, extra):
    raw = p256_sign.sign(secret, hashlib.sha256(message).digest(), extra)
    _key(secret).public_key().verify(ecdsa.signature_to_der(raw), message, ECDSA)


@given(SECRETS, st.binary())
@settings(max_examples=30)
def test_our_deterministic_signatures_are_those_of_the_reference(secret, message):
    theirs = _key(secret).sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    assert ecdsa.signature_to_der(p256_sign.sign(secret, hashlib.sha256(message).digest())) == theirs


@given(SECRETS, st.binary(), st.integers(0, 80), st.integers(0, 255))
@settings(max_examples=60)
def test_both_say_the_same_of_damaged_signatures(secret, message, at, value):
    key = _key(secret)
    signature = bytearray(key.sign(message, ECDSA))
    signature[at % len(signature)] = value
    try:
        key.public_key().verify(bytes(signature), message, ECDSA)
        verdict = True
    except InvalidSignature:
        verdict = False
    point = _point(key.public_key())
    assert verify.verify("ecdsa", "ecdsa-sha2-nistp256", point, verify.Whole(message), bytes(signature)) is verdict
    if verdict:
        raw = ecdsa.signature_from_der(bytes(signature))
        assert p256_comb.verify(p256_comb.make(point), hashlib.sha256(message).digest(), raw)


@given(SECRETS)
@settings(max_examples=20)
def test_private_keys_go_there_and_back(secret):
    key = _key(secret)
    ours = ecdsa.secret_to_der(secret, p256_sign.public(secret))
    assert serialization.load_der_private_key(ours, None).private_numbers() == key.private_numbers()
    for form in (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL):
        theirs = key.private_bytes(serialization.Encoding.DER, form, serialization.NoEncryption())
        assert ecdsa.secret_from_der(theirs) == (secret, p256_sign.public(secret))


@given(SECRETS, st.text(min_size=1, max_size=16))
@settings(max_examples=20)
def test_the_reference_reads_our_requests(secret, name):
    request = csr.build(name, p256_sign.public(secret), lambda m: p256_sign.sign(secret, hashlib.sha256(m).digest()))
    read = reference.load_der_x509_csr(request)
    assert read.is_signature_valid
    assert [part.value for part in read.subject] == [name]
    assert _point(read.public_key()) == p256_sign.public(secret)
    (extension,) = read.extensions
    assert extension.critical and extension.value.digital_signature
    assert not extension.value.key_cert_sign and not extension.value.key_agreement
    assert reference.load_pem_x509_csr(pem.encode("CERTIFICATE REQUEST", request).encode()) == read


def _certificate(key, common_name, not_before, not_after, serial, is_ca):
    name = reference.Name(
        [
            reference.NameAttribute(NameOID.COUNTRY_NAME, "SG"),
            reference.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    return (
        reference.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(reference.SubjectAlternativeName([reference.DNSName("localhost")]), critical=False)
        .add_extension(reference.BasicConstraints(is_ca, None), critical=True)
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )


TIMES = st.datetimes(datetime.datetime(1950, 1, 1), datetime.datetime(2200, 1, 1)).map(
    lambda t: t.replace(microsecond=0)
)


@given(st.text(min_size=1, max_size=16), TIMES, TIMES, st.integers(1, 2**159 - 1), st.booleans())
@settings(max_examples=60)
def test_we_read_certificates_of_the_reference(common_name, a, b, serial, is_ca):
    not_before, not_after = min(a, b), max(a, b)
    key = _key(b"\x07" * 32)
    theirs = _certificate(key, common_name, not_before, not_after, serial, is_ca)
    data = theirs.public_bytes(serialization.Encoding.DER)
    ours = x509.read(data)
    assert ours.serial == serial
    assert ours.common_name == common_name
    assert ours.issuer == ours.subject == theirs.subject.public_bytes()
    assert ours.not_before == theirs.not_valid_before_utc.timestamp()
    assert ours.not_after == theirs.not_valid_after_utc.timestamp()
    assert ours.public == _point(key.public_key())
    assert ours.tbs == theirs.tbs_certificate_bytes
    assert ours.signature == theirs.signature
    assert ours.signature_algorithm == theirs.signature_algorithm_oid.dotted_string
    assert (ours.is_ca, ours.unknown_critical) == (is_ca, False)
    text = theirs.public_bytes(serialization.Encoding.PEM)
    assert pem.decode(text, "CERTIFICATE") == data
    assert pem.encode("CERTIFICATE", data).encode() == text


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()])
def test_certificates_of_other_keys_are_read_without_a_point(key):
    start = datetime.datetime(2026, 1, 1)
    theirs = _certificate(key, "x", start, start, 1, False)
    assert x509.read(theirs.public_bytes(serialization.Encoding.DER)).public is None


@pytest.mark.parametrize("count", [1, 2, 8])
def test_we_read_enrolments_of_the_reference(count):
    start = datetime.datetime(2026, 1, 1)
    chain = [_certificate(_key(b"\x07" * 32), "x%d" % i, start, start, 1 + i, False) for i in range(count)]
    message = pkcs7.serialize_certificates(chain, serialization.Encoding.DER)
    expected = sorted(one.public_bytes(serialization.Encoding.DER) for one in chain)
    assert sorted(x509.certificates_of_pkcs7(message)) == expected
