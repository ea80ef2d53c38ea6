# SPDX-License-Identifier: MIT
import hashlib
from binascii import unhexlify

import vectors
from agent.crypto import p256, p256_comb, p256_sign, verify
from agent.crypto.p256_generator import MULTIPLES
from agent.crypto.p256_generator_comb import COMB
from agent.wire import csr, der, ecdsa, x509
from expect import device_error, misuse, refused

HEAP = "112k"

# RFC 6979, A.2.5
SECRET = unhexlify("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721")
POINT = unhexlify(
    "0460FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6"
    "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299"
)
SIGNATURES = {
    b"sample": "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
    "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
    b"test": "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367"
    "019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083",
}
GENERATOR = unhexlify(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)


def _digest(message):
    return hashlib.sha256(message).digest()


def _numbers(*values):
    return b"".join([value.to_bytes(32, "big") for value in values])


def test_vectors_of_rfc_6979():
    assert p256_sign.public(SECRET) == POINT
    for message in SIGNATURES:
        raw = unhexlify(SIGNATURES[message])
        assert p256_sign.sign(SECRET, _digest(message)) == raw
        assert p256.verify(POINT, _digest(message), raw)
        assert p256_comb.verify(p256_comb.make(POINT), _digest(message), raw)


def test_generator_is_the_standard_one_and_so_is_its_comb():
    assert p256_comb.make(GENERATOR) == COMB
    for at in range(0, len(MULTIPLES), 64):
        multiple = p256_sign.public(_numbers(1 + at // 32))
        y = int.from_bytes(multiple[33:], "big")
        assert MULTIPLES[at : at + 64] == multiple[1:33] + _numbers(2 * y % p256.P)
    assert p256_sign.public(_numbers(1)) == GENERATOR


def test_edge_scalars():
    # (N - 1) G = -G: the same x, and P - y
    opposite = p256_sign.public(_numbers(p256.N - 1))
    assert opposite[:33] == GENERATOR[:33]
    assert int.from_bytes(opposite[33:], "big") + int.from_bytes(GENERATOR[33:], "big") == p256.P
    # 2 G, SEC test value
    assert p256_sign.public(_numbers(2))[1:33] == unhexlify(
        "7CF27B188D034F7E8A52380304B51AC3C08969E277F21B35A60B48FC47669978"
    )


def test_keys_with_special_relations_to_the_generator_verify():
    # Here the sum in verification meets equal and opposite points on its way.
    digest = _digest(b"x")
    for number in (1, 2, 3, 5, p256.N - 1, p256.N - 2, p256.N - 3):
        secret = _numbers(number)
        point = p256_sign.public(secret)
        raw = p256_sign.sign(secret, digest)
        assert p256.verify(point, digest, raw), number
        assert p256_comb.verify(p256_comb.make(point), digest, raw), number
        assert not p256.verify(point, _digest(b"y"), raw), number


def test_a_sum_at_infinity_is_no_signature():
    # u1 G + u2 Q = 0 when Q = d G and e = -r d
    d = 7
    point = p256_sign.public(_numbers(d))
    for r in (1, 5):
        digest = _numbers(-r * d % p256.N)
        assert not p256.verify(point, digest, _numbers(r, 1))
        assert not p256_comb.verify(p256_comb.make(point), digest, _numbers(r, 1))


def _signature_with(u1, u2, x):
    """(digest, raw) for which verification computes u1 G + u2 Q, whose x must then be this."""
    r = x % p256.N
    s = r * pow(u2, p256.N - 2, p256.N) % p256.N
    return _numbers(u1 * s % p256.N), _numbers(r, s)


def test_equal_and_opposite_points_meet_on_the_way():
    def x_of(number):
        return int.from_bytes(p256_sign.public(_numbers(number))[1:33], "big")

    opposite = p256_sign.public(_numbers(p256.N - 1))
    for u in (1, 3, 1 << 63, 1 << 200, (1 << 255) + 12345):
        digest, raw = _signature_with(u, u, x_of(2 * u % p256.N))  # u G + u G
        assert p256.verify(GENERATOR, digest, raw), u
        assert p256_comb.verify(COMB, digest, raw), u
        digest, raw = _signature_with(u + 1, u, x_of(1))  # (u + 1) G - u G
        assert p256.verify(opposite, digest, raw), u
        assert p256_comb.verify(p256_comb.make(opposite), digest, raw), u


def test_an_x_beyond_n_is_reduced_as_the_standard_says():
    # Made for this: R has x = N + r, and nobody knows the secret.  OpenSSL takes it, too.
    digest = _digest(b"x of R beyond N")
    point = unhexlify(
        "047bf77e32da6e087faf03bf6b1feafe0db95e848e520b2cab2fc120d094df7969"
        "4dce393a77b61a3edf9931e3d0d958a1309746b30a96e5a74169cd79e8f81e8c"
    )
    raw = _numbers(3, 0x1234567)
    assert p256.verify(point, digest, raw)
    assert p256_comb.verify(p256_comb.make(point), digest, raw)


def test_an_r_that_wraps_around_the_field_is_refused():
    # (r + N) % P is the x of R here, but r is not x % N
    k, d, e = 77, 99, 1234
    x = int.from_bytes(p256_sign.public(_numbers(k))[1:33], "big")
    r = x + p256.P - p256.N
    s = pow(k, p256.N - 2, p256.N) * (e + r * d) % p256.N
    assert r < p256.N
    assert not p256.verify(p256_sign.public(_numbers(d)), _numbers(e), _numbers(r, s))


def test_digest_of_zero_and_of_more_than_n():
    for digest in (bytes(32), b"\xff" * 32):
        raw = p256_sign.sign(SECRET, digest)
        assert p256.verify(POINT, digest, raw)
        assert p256_comb.verify(p256_comb.make(POINT), digest, raw)


def test_numbers_out_of_range_are_no_signature():
    digest = _digest(b"sample")
    good = unhexlify(SIGNATURES[b"sample"])
    r = int.from_bytes(good[:32], "big")
    s = int.from_bytes(good[32:], "big")
    comb = p256_comb.make(POINT)
    for raw in (
        _numbers(0, s),
        _numbers(r, 0),
        _numbers(0, 0),
        _numbers(p256.N, s),
        _numbers(r, p256.N),
        _numbers(r, (1 << 256) - 1),
        _numbers(p256.N, p256.N),
        _numbers(s, r),
        good[:63],
        good + b"\x00",
        b"",
    ):
        assert not p256.verify(POINT, digest, raw)
        assert not p256_comb.verify(comb, digest, raw)


def test_every_changed_bit_is_noticed():
    digest = _digest(b"sample")
    good = unhexlify(SIGNATURES[b"sample"])
    for at in range(0, 64, 7):
        bad = bytearray(good)
        bad[at] ^= 1 << (at & 7)
        assert not p256.verify(POINT, digest, bytes(bad))
    for at in range(0, 32, 7):
        bad = bytearray(digest)
        bad[at] ^= 1
        assert not p256.verify(POINT, bytes(bad), good)


def test_truncated_digests_are_no_digests():
    good = unhexlify(SIGNATURES[b"sample"])
    for digest in (b"", _digest(b"sample")[:20], _digest(b"sample")[:31], _digest(b"sample") + b"\x00"):
        assert not p256.verify(POINT, digest, good)
        assert not p256_comb.verify(p256_comb.make(POINT), digest, good)
        misuse("p256_digest", p256_sign.sign, SECRET, digest)
    # the same number in fewer bytes is not the same digest
    short = bytes(1) + _digest(b"sample")[1:]
    raw = p256_sign.sign(SECRET, short)
    assert p256.verify(POINT, short, raw) and not p256.verify(POINT, short[1:], raw)


def test_points_off_the_curve_are_refused():
    x, y = POINT[1:33], POINT[33:]
    for point in (
        b"",
        POINT[:64],
        POINT + b"\x00",
        b"\x02" + x,
        b"\x00" + x + y,
        b"\x06" + x + y,
        b"\x04" + y + x,
        b"\x04" + bytes(64),
        b"\x04" + _numbers(p256.P) + y,
        b"\x04" + x + _numbers(int.from_bytes(y, "big") ^ 1),
        b"\x04" + _numbers((1 << 256) - 1, (1 << 256) - 1),
    ):
        assert not p256.is_point(point)
        assert not p256.verify(point, _digest(b"sample"), unhexlify(SIGNATURES[b"sample"]))
        refused("p256_point", p256_comb.make, point)
    assert p256.is_point(POINT)


def test_a_coordinate_beyond_the_field_is_not_reduced():
    # x = 5 lies on the curve; 5 + P is the same number modulo P, and fits into 32 bytes
    y = pow((5 * 5 * 5 - 3 * 5 + p256.B) % p256.P, (p256.P + 1) // 4, p256.P)
    assert p256.is_point(b"\x04" + _numbers(5, y))
    assert not p256.is_point(b"\x04" + _numbers(5 + p256.P, y))
    x = 0xD7325D7646CD60D80A92738CEB345F844CFFAF35841022CAB176F692DE8DE1D7
    assert p256.is_point(b"\x04" + _numbers(x, 5))
    assert not p256.is_point(b"\x04" + _numbers(x, 5 + p256.P))


def test_only_secrets_in_range_are_used():
    for secret in (b"", bytes(32), bytes(31), _numbers(p256.N), b"\xff" * 32, SECRET + b"\x00"):
        misuse("p256_secret", p256_sign.public, secret)
        misuse("p256_secret", p256_sign.sign, secret, bytes(32))


def test_generation_draws_again_until_in_range():
    draws = [SECRET, _numbers(p256.N), bytes(32)]
    assert p256_sign.generate(lambda size: draws.pop()) == SECRET
    assert not draws


def test_a_stuck_random_generator_is_an_error():
    for stuck in (bytes(32), b"\xff" * 32, b"short"):
        device_error("random", p256_sign.generate, lambda size, stuck=stuck: stuck)


def test_hedged_signatures_differ_and_are_good():
    digest = _digest(b"sample")
    first = p256_sign.sign(SECRET, digest, b"\x01" * 32)
    second = p256_sign.sign(SECRET, digest, b"\x02" * 32)
    assert len({first[:32], second[:32], p256_sign.sign(SECRET, digest)[:32]}) == 3
    assert p256.verify(POINT, digest, first) and p256.verify(POINT, digest, second)


def test_signature_of_a_certificate():
    certificate = x509.read(vectors.CERTIFICATE)
    authority = x509.read(vectors.CA_CERTIFICATE)
    signed = verify.Whole(certificate.tbs)
    assert verify.verify("ecdsa", "ecdsa-sha2-nistp256", authority.public, signed, certificate.signature)
    assert not verify.verify("ecdsa", "ecdsa-sha2-nistp256", certificate.public, signed, certificate.signature)


def test_request_is_signed_by_its_key():
    def sign(message):
        return p256_sign.sign(SECRET, _digest(message))

    whole = der.Reader(csr.build("product/device-1", POINT, sign)).enter(der.SEQUENCE)
    signed = whole.element()
    whole.skip()
    assert verify.verify("ecdsa", "ecdsa-sha2-nistp256", POINT, verify.Whole(signed), whole.bits())


def test_the_port_says_false_to_what_it_does_not_know():
    message = verify.Whole(b"sample")
    good = ecdsa.signature_to_der(unhexlify(SIGNATURES[b"sample"]))
    for key_type, scheme, verdict in (
        ("ecdsa", "ecdsa-sha2-nistp256", True),
        ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256", True),
        ("ecdsa", "ecdsa-sha2-nistp384", False),
        ("rsa", "rsassa-pss-sha256", False),
        ("ed25519", "ecdsa-sha2-nistp256", False),
        ("", "", False),
    ):
        assert verify.verify(key_type, scheme, POINT, message, good) is verdict, (key_type, scheme)


def test_the_port_takes_one_encoding_only():
    message = verify.Whole(b"test")
    good = ecdsa.signature_to_der(unhexlify(SIGNATURES[b"test"]))

    def check(signature, point=POINT, message=message):
        return verify.verify("ecdsa", "ecdsa-sha2-nistp256", point, message, signature)

    assert check(good)
    assert not check(good + b"\x00")
    assert not check(good[:-1])
    assert not check(b"")
    assert not check(b"\x30\x81" + good[1:])
    s_at = len(good) - 32  # s begins with 01: 32 bytes, and may be padded
    padded = good[:1] + bytes([good[1] + 1]) + good[2 : s_at - 1] + b"\x21\x00" + good[s_at:]
    assert not check(padded)
    assert not check(unhexlify(SIGNATURES[b"test"]))
    assert not check(good, point=ecdsa.public_to_der(POINT))
    assert not check(good, message=verify.Whole(b"text"))
