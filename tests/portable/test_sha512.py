# SPDX-License-Identifier: MIT
"""SHA-512 by itself; what Ed25519 makes of it is in tests/crypto."""

from binascii import hexlify

from agent.crypto import sha512

HEAP = "64k"

# FIPS 180-4's examples, and lengths around the padding's edges (all by another implementation, too)
VECTORS = (
    (
        b"",
        b"cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
        b"47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
    ),
    (
        b"abc",
        b"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        b"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    ),
    (
        b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
        b"8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018"
        b"501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909",
    ),
    (
        b"a" * 111,
        b"fa9121c7b32b9e01733d034cfc78cbf67f926c7ed83e82200ef8681819692176"
        b"0b4beff48404df811b953828274461673c68d04e297b0eb7b2b4d60fc6b566a2",
    ),
    (
        b"a" * 112,
        b"c01d080efd492776a1c43bd23dd99d0a2e626d481e16782e75d54c2503b5dc32"
        b"bd05f0f1ba33e568b88fd2d970929b719ecbb152f58f130a407c8830604b70ca",
    ),
    (
        b"a" * 127,
        b"828613968b501dc00a97e08c73b118aa8876c26b8aac93df128502ab360f91ba"
        b"b50a51e088769a5c1eff4782ace147dce3642554199876374291f5d921629502",
    ),
    (
        b"a" * 128,
        b"b73d1929aa615934e61a871596b3f3b33359f42b8175602e89f7e06e5f658a24"
        b"3667807ed300314b95cacdd579f3e33abdfbe351909519a846d465c59582f321",
    ),
    (
        b"a" * 240,
        b"4c296d90c61052a62ffb1dd196f1b7b09373b1f93e71836baebf89690546b759"
        b"5684dbe9467a8e484fa0d1094272b4344a7c24f5fee8daedeb0bf549c985ab5f",
    ),
)


def _hash(pieces):
    hasher = sha512.Sha512()
    for piece in pieces:
        hasher.update(piece)
    return hexlify(hasher.digest())


def test_vectors():
    for message, digest in VECTORS:
        assert _hash([message]) == digest, len(message)


def test_pieces_do_not_matter():
    message = bytes(range(250)) * 2
    whole = _hash([message])
    for size in (1, 3, 64, 127, 128, 129, 300):
        assert _hash(message[at : at + size] for at in range(0, len(message), size)) == whole, size
    assert _hash([b"", bytearray(message[:5]), memoryview(message)[5:], b""]) == whole


def test_the_interpreters_own_is_preferred():
    hasher = sha512.new()
    hasher.update(b"abc")
    assert hexlify(hasher.digest()) == VECTORS[1][1]
