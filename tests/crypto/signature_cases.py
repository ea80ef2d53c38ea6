# SPDX-License-Identifier: MIT
"""Signatures at the edges of their rules: {name: Case}, made anew from few ingredients.

`good` is what the standard, or our own stricter rule, says.  `stricter` marks the latter: the package
`cryptography` takes what a device does not.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from agent.crypto import p256, p256_sign
from agent.wire import der, ecdsa


class Case(NamedTuple):
    key_type: str
    scheme: str
    public: bytes
    message: bytes
    signature: bytes
    good: bool
    stricter: bool = False


def build() -> dict[str, Case]:
    found: dict[str, Case] = {}
    for make in (_p256, _ed25519, _rsa):
        for name, case in make():
            assert name not in found, name
            found[name] = case
    return found


# ECDSA.  The key and the signatures are of RFC 6979, A.2.5.

P256_SECRET = bytes.fromhex("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721")
P256_POINT = bytes.fromhex(
    "0460FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6"
    "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299"
)
R = 0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
S = 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8


def _p256():
    def case(signature, good=False, public=P256_POINT, message=b"sample", stricter=False, key_type="ecdsa"):
        return Case(key_type, "ecdsa-sha2-nistp256", public, message, signature, good, stricter)

    def numbers(r, s, **other):
        return case(der.sequence(_integer(r), _integer(s)), **other)

    n, p = p256.N, p256.P
    yield "p256 RFC 6979 sample", numbers(R, S, good=True)
    yield "p256 RFC 6979 sample, legacy key type", numbers(R, S, good=True, key_type="ecdsa-sha2-nistp256")
    test = bytes.fromhex(
        "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367"
        "019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083"
    )
    yield "p256 RFC 6979 test", case(ecdsa.signature_to_der(test), True, message=b"test")
    yield "p256 other message", numbers(R, S, message=b"samplf")
    yield "p256 s and n - s are both good", numbers(R, n - S, good=True)
    yield "p256 swapped", numbers(S, R)
    for name, r, s in (
        ("r is 0", 0, S),
        ("s is 0", R, 0),
        ("both are 0", 0, 0),
        ("r is 1, s is 0", 1, 0),
        ("r is n", n, S),
        ("s is n", R, n),
        ("r is r + n", R + n, S),
        ("s is s + n", R, S + n),
        ("r is n - 1", n - 1, S),
        ("s is n - 1", R, n - 1),
        ("r is p", p, S),
        ("r is p - 1, s is 1", p - 1, 1),
        ("both are 1", 1, 1),
        ("r is -r", -R, S),
        ("s is -s", R, -S),
        ("r is r - n", R - n, S),
        ("s is s - n", R, S - n),
        ("r is 2**256 + r", 2**256 + R, S),
        ("s is 2**512", R, 2**512),
    ):
        yield "p256 " + name, numbers(r, s)
    whole = der.sequence(_integer(R), _integer(S))
    r_bytes, s_bytes = R.to_bytes(32, "big"), S.to_bytes(32, "big")
    for name, signature in (
        ("no signature", b""),
        ("raw signature", r_bytes + s_bytes),
        ("byte behind the sequence", whole + b"\x00"),
        ("NULL behind the sequence", whole + b"\x05\x00"),
        ("third number", der.sequence(_integer(R), _integer(S), _integer(0))),
        ("byte behind the numbers", der.sequence(_integer(R), _integer(S), b"\x00")),
        ("one number", der.sequence(_integer(R))),
        ("empty sequence", der.sequence()),
        ("long form of the length", b"\x30\x81" + whole[1:]),
        ("longer form of the length", b"\x30\x82\x00" + whole[1:]),
        ("length of four bytes", b"\x30\x84\x00\x00\x00" + whole[1:]),
        ("indefinite length", b"\x30\x80" + whole[2:] + b"\x00\x00"),
        ("long form of a number's length", der.sequence(b"\x02\x81" + _integer(R)[1:], _integer(S))),
        ("padded r", der.sequence(b"\x02\x22\x00" + _integer(R)[2:], _integer(S))),
        ("padded s", der.sequence(_integer(R), b"\x02\x22\x00" + _integer(S)[2:])),
        ("r without its sign byte", der.sequence(b"\x02\x20" + r_bytes, _integer(S))),
        ("s without its sign byte", der.sequence(_integer(R), b"\x02\x20" + s_bytes)),
        ("r of no bytes", der.sequence(b"\x02\x00", _integer(S))),
        ("s of no bytes", der.sequence(_integer(R), b"\x02\x00")),
        ("SET", b"\x31" + whole[1:]),
        ("constructed INTEGER", der.sequence(b"\x22" + _integer(R)[1:], _integer(S))),
        ("OCTET STRING", der.sequence(b"\x04" + _integer(R)[1:], _integer(S))),
        ("length too large", whole[:1] + bytes([whole[1] + 1]) + whole[2:]),
        ("length too small", whole[:1] + bytes([whole[1] - 1]) + whole[2:]),
        ("tag of several bytes", b"\x3f\x10" + whole[1:]),
    ):
        yield "p256 " + name, case(signature)
    for end in (1, 2, 3, 4, 36, 37, 38, 70):
        yield "p256 cut to %d bytes" % end, case(whole[:end])
    x, y = P256_POINT[1:33], P256_POINT[33:]
    opposite = (p - int.from_bytes(y, "big")).to_bytes(32, "big")
    compressed = bytes([2 + y[-1] % 2]) + x
    small = pow((5**3 - 15 + p256.B) % p, (p + 1) // 4, p).to_bytes(32, "big")  # (5, small) is on the curve
    for name, public in (
        ("no key", b""),
        ("key at infinity", b"\x00"),
        ("key at infinity, 65 bytes", bytes(65)),
        ("key 0, 0", b"\x04" + bytes(64)),
        ("key off the curve", P256_POINT[:-1] + bytes([P256_POINT[-1] ^ 1])),
        ("key with x of the twist", b"\x04" + (1).to_bytes(32, "big") + y),
        ("opposite key", b"\x04" + x + opposite),
        ("key with x + p", b"\x04" + (5 + p).to_bytes(32, "big") + small),
        ("key with y of p", b"\x04" + x + p.to_bytes(32, "big")),
        ("key too short", P256_POINT[:-1]),
        ("key too long", P256_POINT + b"\x00"),
        ("the generator as key", p256_sign.public((1).to_bytes(32, "big"))),
    ):
        yield "p256 " + name, numbers(R, S, public=public)
    yield "p256 compressed key", numbers(R, S, public=compressed, stricter=True)
    yield "p256 hybrid key", numbers(R, S, public=bytes([6 + y[-1] % 2]) + x + y)
    for size, digest in (
        ("sha512 cut to 32 bytes", hashlib.sha512(b"sample").digest()[:32]),
        ("sha1 filled up", bytes(12) + hashlib.sha1(b"sample").digest()),
        (
            "digest shifted by a bit",
            (int.from_bytes(hashlib.sha256(b"sample").digest(), "big") >> 1).to_bytes(32, "big"),
        ),
    ):
        yield "p256 " + size, case(ecdsa.signature_to_der(p256_sign.sign(P256_SECRET, digest)))
    good = ecdsa.signature_to_der(p256_sign.sign(P256_SECRET, hashlib.sha256(b"").digest()))
    yield "p256 empty message", case(good, True, message=b"")
    for secret in (1, 2, 3, n - 1, n - 2):  # relations to the generator, where additions meet their exceptions
        key = secret.to_bytes(32, "big")
        signature = ecdsa.signature_to_der(p256_sign.sign(key, hashlib.sha256(b"sample").digest()))
        yield "p256 key %d" % (secret if secret < 9 else secret - n), case(signature, True, p256_sign.public(key))
    for name, key_type, scheme in (
        ("P-384's scheme", "ecdsa", "ecdsa-sha2-nistp384"),
        ("no scheme", "ecdsa", ""),
        ("Ed25519's key type", "ed25519", "ecdsa-sha2-nistp256"),
        ("RSA's names", "rsa", "rsassa-pss-sha256"),
        ("Ed25519's names", "ed25519", "ed25519"),
        ("other case", "ECDSA", "ecdsa-sha2-nistp256"),
    ):
        yield "p256 under " + name, case(whole)._replace(key_type=key_type, scheme=scheme)


def _integer(value: int) -> bytes:
    size = 1
    while not -(1 << (8 * size - 1)) <= value < 1 << (8 * size - 1):
        size += 1
    return der.tlv(der.INTEGER, value.to_bytes(size, "big", signed=True))


# Ed25519, with arithmetic as slow as it is plain, for keys and signatures that no library makes.

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT = pow(2, (P - 1) // 4, P)
ZERO = (0, 1)


def _plus(one, other):
    (x1, y1), (x2, y2) = one, other
    t = D * x1 * x2 * y1 * y2
    return (x1 * y2 + x2 * y1) * pow(1 + t, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - t, -1, P) % P


def _times(scalar, point):
    sum_ = ZERO
    while scalar:
        if scalar & 1:
            sum_ = _plus(sum_, point)
        point, scalar = _plus(point, point), scalar >> 1
    return sum_


def _x_of(y):
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    return None if (x * x - square) % P else x


def _pack(point):
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def _small_points():
    """The eight points of order 1, 2, 4 and 8."""
    y = 3
    while True:
        x = _x_of(y)
        if x is not None:
            point = _times(L, (x, y))
            if _times(4, point) != ZERO:
                return [_times(i, point) for i in range(8)]
        y += 1


RFC_8032 = (  # 7.1 but for the vector of 1023 bytes: public key, message, signature
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
        "655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aee"
        "b00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28d"
        "c027beceea1ec40a",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e"
        "2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17a"
        "d9bef1177331a704",
    ),
)


def _ed25519():
    def case(public, message, signature, good=False):
        return Case("ed25519", "ed25519", public, message, signature, good)

    for number, texts in enumerate(RFC_8032, 1):
        public, message, signature = [bytes.fromhex(text) for text in texts]
        yield "ed25519 RFC 8032 vector %d" % number, case(public, message, signature, True)
        yield "ed25519 other message %d" % number, case(public, message + b"\x00", signature)
    public, message, signature = [bytes.fromhex(text) for text in RFC_8032[2]]
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    for name, value in (
        ("s + L", s + L),
        ("s + 8 L", s + 8 * L),
        ("s + 15 L", s + 15 * L),
        ("L", L),
        ("L - 1", L - 1),
        ("0", 0),
        ("2**256 - 1", 2**256 - 1),
        ("s with its top bit", s | 1 << 255),
        ("s with its second bit", s | 1 << 254),
        ("L - s", L - s),
    ):
        yield "ed25519 S is " + name, case(public, message, r + value.to_bytes(32, "little"))
    for name, key, changed in (
        ("no signature", public, b""),
        ("signature cut", public, signature[:-1]),
        ("signature of R alone", public, r),
        ("signature too long", public, signature + b"\x00"),
        ("R's sign", public, signature[:31] + bytes([signature[31] ^ 0x80]) + signature[32:]),
        ("R of zeros", public, bytes(32) + signature[32:]),
        ("R with y of p", public, P.to_bytes(32, "little") + signature[32:]),
        ("zeros", public, bytes(64)),
        ("no key", b"", signature),
        ("key cut", public[:-1], signature),
        ("key too long", public + b"\x00", signature),
        ("key's sign", public[:31] + bytes([public[31] ^ 0x80]), signature),
        ("key off the curve", (2).to_bytes(32, "little"), signature),
        ("key in hex", public.hex().encode(), signature),
    ):
        yield "ed25519 " + name, case(key, message, changed)
    base = (_x_of(4 * pow(5, -1, P) % P), 4 * pow(5, -1, P) % P)
    base = base if base[0] % 2 == 0 else (P - base[0], base[1])
    small = _small_points()
    # Key and R of small order, S = 0: the equation without cofactor decides message by message.
    for i, key in enumerate(small):
        for number in (0, 1):
            message = b"small %d" % number
            k = int.from_bytes(hashlib.sha512(_pack(ZERO) + _pack(key) + message).digest(), "little") % L
            good = _times(k, key) == ZERO
            yield (
                "ed25519 key of small order %d, %d" % (i, number),
                case(_pack(key), message, _pack(ZERO) + bytes(32), good),
            )
    # A key with a part of small order: good only where that part falls out.
    a, nonce = 0x1234567 << 200, 0x7654321 << 180
    for part in (1, 2, 4, 7):
        key, point = _pack(_plus(_times(a, base), small[part])), _pack(_times(nonce, base))
        verdicts = set()
        number = 0
        while len(verdicts) < 2:
            message = b"mixed %d" % number
            k = int.from_bytes(hashlib.sha512(point + key + message).digest(), "little") % L
            good = _times(k, small[part]) == ZERO
            if good not in verdicts:
                verdicts.add(good)
                made = point + ((nonce + k * a) % L).to_bytes(32, "little")
                yield "ed25519 key of mixed order %d, %s" % (part, good), case(key, message, made, good)
            number += 1
        # R with a part of small order: the cofactor would forgive it.
        key, point = _pack(_times(a, base)), _pack(_plus(_times(nonce, base), small[part]))
        k = int.from_bytes(hashlib.sha512(point + key + b"m").digest(), "little") % L
        made = point + ((nonce + k * a) % L).to_bytes(32, "little")
        yield "ed25519 R of mixed order %d" % part, case(key, b"m", made)
    # Encodings that nobody writes: y of p and more, x of 0 with a sign.  They count as what they are modulo p.
    for name, y, sign in (
        ("1, x is -0", 1, 1),
        ("-1, x is -0", P - 1, 1),
        ("p + 1", P + 1, 0),
        ("p + 1, x is -0", P + 1, 1),
        ("p", P, 0),
    ):
        key = (y | sign << 255).to_bytes(32, "little")
        order = {1: 1, P - 1: 2, 0: 4}[y % P]
        for number in range(2):
            message = b"odd %d" % number
            k = int.from_bytes(hashlib.sha512(_pack(ZERO) + key + message).digest(), "little") % L
            good = k % order == 0
            yield "ed25519 key with y of %s, %d" % (name, number), case(key, message, _pack(ZERO) + bytes(32), good)
        # and as R they are never what the verifier writes
        yield "ed25519 R with odd y of %s" % name, case(_pack(ZERO), b"odd", key + bytes(32))


# RSA.  Any key will do: what counts is what is done to it.


def _rsa():
    def case(public, signature, good=False, message=b"text", stricter=False):
        return Case("rsa", "rsassa-pss-sha256", public, message, signature, good, stricter)

    key = rsa.generate_private_key(65537, 2048)
    numbers = key.private_numbers()
    n, d = numbers.public_numbers.n, numbers.d
    public = _info(n, 65537)

    def sign(signer, salt, mgf_hash=None, hash_=None, message=b"text"):
        made = padding.PSS(padding.MGF1(mgf_hash or hashes.SHA256()), salt)
        return signer.sign(message, made, hash_ or hashes.SHA256())

    for salt in (0, 1, 20, 31, 32, 33, 64, padding.PSS.MAX_LENGTH):
        yield (
            "rsa salt of %s bytes" % getattr(salt, "name", salt if isinstance(salt, int) else "most"),
            case(public, sign(key, salt), True),
        )
    signature = sign(key, 32)
    s = int.from_bytes(signature, "big")
    yield "rsa other message", case(public, signature, message=b"texT")
    yield "rsa empty message", case(public, sign(key, 32, message=b""), True, message=b"")
    yield "rsa MGF1 with SHA-1", case(public, sign(key, 32, mgf_hash=hashes.SHA1()))
    yield "rsa SHA-512", case(public, sign(key, 32, hash_=hashes.SHA512()))
    yield "rsa PKCS #1 v1.5", case(public, key.sign(b"text", padding.PKCS1v15(), hashes.SHA256()))
    for name, made in (
        ("no signature", b""),
        ("signature cut", signature[:-1]),
        ("signature with a zero before", b"\x00" + signature),
        ("signature with a zero behind", signature + b"\x00"),
        ("signature of 0", bytes(256)),
        ("signature of 1", bytes(255) + b"\x01"),
        ("signature of n - 1", (n - 1).to_bytes(256, "big")),
        ("signature of n", n.to_bytes(256, "big")),
        ("signature of n - s", (n - s).to_bytes(256, "big")),
        ("signature of ones", b"\xff" * 256),
    ):
        yield "rsa " + name, case(public, made)
    if s + n < 1 << 2048:
        yield "rsa signature of s + n", case(public, (s + n).to_bytes(256, "big"))

    def encoded(size=256, unused=1, trailer=0xBC, separator=1, filled=0, top=0, salt=b"s" * 32, digest=None, flip=0):
        """EMSA-PSS (RFC 8017, 9.1.1), with one thing wrong."""
        inner = hashlib.sha256(bytes(8) + (digest or hashlib.sha256(b"text").digest()) + salt).digest()
        room = size - 33
        block = bytearray(room - len(salt) - 1) + bytes([separator]) + salt
        block[1] |= filled
        mask = b"".join(hashlib.sha256(inner + i.to_bytes(4, "big")).digest() for i in range(room // 32 + 1))
        masked = bytearray(a ^ b for a, b in zip(block, mask, strict=False))
        masked[0] = masked[0] & 0xFF >> unused | top
        made = bytearray(bytes(masked) + inner + bytes([trailer]))
        made[room] ^= flip
        return int.from_bytes(made, "big")

    def raw(value):
        return pow(value, d, n).to_bytes(256, "big")

    yield "rsa encoded by hand", case(public, raw(encoded()), True)
    for name, value in (
        ("trailer cc", encoded(trailer=0xCC)),
        ("trailer 00", encoded(trailer=0)),
        ("trailer bd", encoded(trailer=0xBD)),
        ("separator 2", encoded(separator=2)),
        ("separator 0", encoded(separator=0, salt=bytes(32))),
        ("separator 81", encoded(separator=0x81)),
        ("byte before the separator", encoded(filled=0x10)),
        ("no separator", encoded(separator=0, salt=b"")),
        ("inner hash changed", encoded(flip=1)),
        ("digest of 0", encoded(digest=bytes(32))),
    ):
        yield "rsa " + name, case(public, raw(value))
    high = min(encoded(top=0x80, salt=b"salt %d" % i) for i in range(64))
    assert high < n
    yield "rsa leading bit set", case(public, raw(high))
    yield "rsa salt of the whole room", case(public, raw(encoded(salt=b"s" * 222)), True)
    # Modulus sizes: bits - 1 divides by 8 in 2049 and 4089, where the encoding is a byte shorter than the signature.
    primes = {bits: rsa.generate_private_key(65537, 2 * bits).private_numbers().p for bits in (1025, 1028)}
    for bits, p, q in _moduli(primes, numbers.p):
        wide = _private(p, q, 65537)
        size, unused = (bits + 6) // 8, 8 * ((bits + 6) // 8) - bits + 1
        made = pow(encoded(size, unused), wide[1], wide[0]).to_bytes((bits + 7) // 8, "big")
        yield "rsa modulus of %d bits" % bits, case(_info(wide[0], 65537), made, True)
        if unused == 8 or bits % 8 == 1:
            over = encoded(size, 0) | 1 << (8 * size)
            if over < wide[0]:
                made = pow(over, wide[1], wide[0]).to_bytes((bits + 7) // 8, "big")
                yield "rsa modulus of %d bits, leading byte" % bits, case(_info(wide[0], 65537), made)
    for bits, good in ((1024, False), (1536, False), (3072, True), (4096, True)):
        other = rsa.generate_private_key(65537, bits)
        info = other.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        yield "rsa key of %d bits" % bits, case(info, sign(other, 32), good, stricter=not good)
    three = rsa.generate_private_key(3, 2048)
    others = three.private_numbers()
    for title, factors in (
        ("an even modulus", (2, numbers.p, numbers.q)),
        ("a key of 5121 bits", (numbers.p, numbers.q, others.p, others.q, primes[1025])),
    ):
        product, phi = 1, 1
        for factor in factors:
            product, phi = product * factor, phi * (factor - 1)
        bits = product.bit_length()
        size = (bits + 6) // 8
        made = pow(encoded(size, 8 * size - bits + 1), pow(65537, -1, phi), product).to_bytes((bits + 7) // 8, "big")
        yield "rsa good but for " + title, case(_info(product, 65537), made, stricter=factors[0] != 2)
    # Exponents
    info = _info(three.private_numbers().public_numbers.n, 3)
    yield "rsa exponent 3", case(info, sign(three, 32), True)
    for exponent in (0, 1, 2, 65536, 65538, n - 2, n, n + 2):
        yield (
            "rsa exponent %s" % (exponent if exponent < 99999 else "n%+d" % (exponent - n)),
            case(_info(n, exponent), signature),
        )
    yield "rsa exponent 1, the encoding itself", case(_info(n, 1), encoded().to_bytes(256, "big"))
    large = 2**32 + 15
    phi = (numbers.p - 1) * (numbers.q - 1)
    made = pow(encoded(), pow(large, -1, phi), n).to_bytes(256, "big")
    yield "rsa exponent above 2**32", case(_info(n, large), made, stricter=True)
    most = 2**32 - 5
    made = pow(encoded(), pow(most, -1, phi), n).to_bytes(256, "big")
    yield "rsa exponent below 2**32", case(_info(n, most), made, True)
    # Keys
    body = der.sequence(der.integer(n), der.integer(65537))
    name = der.sequence(der.oid("1.2.840.113549.1.1.1"), b"\x05\x00")
    point = der.sequence(der.sequence(der.oid(ecdsa.EC_PUBLIC_KEY), der.oid(ecdsa.PRIME256V1)), der.bits(P256_POINT))
    for title, info in (
        ("no key", b""),
        ("key of another kind", point),
        ("byte behind the key", public + b"\x00"),
        ("byte behind the numbers", der.sequence(name, der.bits(body + b"\x00"))),
        (
            "third number",
            der.sequence(name, der.bits(der.sequence(der.integer(n), der.integer(65537), der.integer(0)))),
        ),
        (
            "something behind the parameters",
            der.sequence(der.sequence(der.oid("1.2.840.113549.1.1.1"), b"\x05\x00\x05\x00"), der.bits(body)),
        ),
        ("something behind the bit string", der.sequence(name, der.bits(body), b"\x05\x00")),
        ("one number", der.sequence(name, der.bits(der.sequence(der.integer(n))))),
        ("negative modulus", der.sequence(name, der.bits(der.sequence(_integer(n - 2**2048), der.integer(65537))))),
        ("even modulus", _info(n + 1, 65537)),
        ("modulus of 0", _info(0, 65537)),
        ("key cut", public[:-1]),
        ("indefinite length", b"\x30\x80" + public[4:] + b"\x00\x00"),
        ("unused bits", der.sequence(name, der.tlv(der.BIT_STRING, b"\x01" + body[:-1] + bytes([body[-1] & 0xFE])))),
        (
            "parameters of another type",
            der.sequence(der.sequence(der.oid("1.2.840.113549.1.1.1"), b"\x04\x00"), der.bits(body)),
        ),
    ):
        yield "rsa " + title, case(info, signature)
    yield "rsa key without its frame", case(body, signature, stricter=True)
    bare = der.sequence(der.sequence(der.oid("1.2.840.113549.1.1.1")), der.bits(body))
    yield "rsa parameters left out", case(bare, signature, stricter=True)
    pss = der.sequence(der.sequence(der.oid("1.2.840.113549.1.1.10")), der.bits(body))
    yield "rsa key for PSS alone", case(pss, signature, stricter=True)


def _info(n: int, e: int) -> bytes:
    name = der.sequence(der.oid("1.2.840.113549.1.1.1"), b"\x05\x00")
    return der.sequence(name, der.bits(der.sequence(der.integer(n), der.integer(e))))


def _private(p: int, q: int, e: int) -> tuple[int, int]:
    return p * q, pow(e, -1, (p - 1) * (q - 1))


def _moduli(primes: dict[int, int], p: int):
    """(bits, p, q) of moduli whose sizes no generator makes."""
    seen = set()
    for other in primes.values():
        bits = (p * other).bit_length()
        if bits not in seen:
            seen.add(bits)
            yield bits, p, other
