# SPDX-License-Identifier: MIT
"""What every `store`, `keys`, `clock`, `chance` and `verify` must keep; `boot()` gives the platform of a new boot."""

import hashlib

import vectors
from agent.crypto import p256, p256_sign
from agent.crypto.verify import Whole
from agent.errors import MisuseError
from agent.wire import ecdsa
from contract_slots import refused


def check_store(boot):
    store = boot().store
    assert store.load("journal.0") is None
    store.drop("journal.0")
    for data in (b"one", b"", bytes(range(256)) * 100):
        store = boot().store
        store.save("journal.0", data)
        assert store.load("journal.0") == data
        assert boot().store.load("journal.0") == data
    store = boot().store
    store.save("journal.1", b"x")
    store.drop("journal.0")
    assert boot().store.load("journal.0") is None
    assert boot().store.load("journal.1") == b"x"


def check_store_names(boot):
    store = boot().store
    for name in ("a", "a" * 32, "0._-z", "...", "cert.dev"):
        store.save(name, b"x")
        assert store.load(name) == b"x"
    for name in ("", "a" * 33, ".", "..", "A", "a/b", "../x", "a\x00", "a b", "\u00e9"):
        refused("store_name", MisuseError, store.save, name, b"x")
        refused("store_name", MisuseError, store.load, name)
        refused("store_name", MisuseError, store.drop, name)


def check_keys(boot):
    keys = boot().keys
    assert not keys.has("dev")
    refused("no_key", MisuseError, keys.public, "dev")
    refused("no_key", MisuseError, keys.sign, "dev", b"x")
    keys.make("dev")
    point = keys.public("dev")
    assert len(point) == 65 and p256.is_point(point)
    keys.make("dev")
    keys.make("spare")
    keys = boot().keys
    assert keys.has("dev") and keys.public("dev") == point and keys.public("spare") != point
    raw = keys.sign("dev", b"message")
    assert len(raw) == 64 and p256.verify(point, hashlib.sha256(b"message").digest(), raw)
    keys.drop("dev")
    keys.drop("dev")
    keys = boot().keys
    assert not keys.has("dev") and keys.has("spare")
    keys.make("dev")
    assert keys.public("dev") != point


def check_verify(boot):
    platform = boot()
    secret = b"\x07" * 32
    point, text = p256_sign.public(secret), Whole(b"text")
    signature = ecdsa.signature_to_der(p256_sign.sign(secret, text.sha256()))
    kinds = ("ecdsa", "ecdsa-sha2-nistp256")
    assert platform.verify(kinds[0], kinds[1], point, text, signature)
    assert platform.verify(kinds[1], kinds[1], point, text, signature)
    for arguments in (
        ("rsa", kinds[1], point, text, signature),
        ("ecdsa", "ed25519", point, text, signature),
        ("", "", b"", text, b""),
        (kinds[0], kinds[1], point, Whole(b"texT"), signature),
        (kinds[0], kinds[1], point[:64], text, signature),
        (kinds[0], kinds[1], b"\x02" + point[1:33], text, signature),
        (kinds[0], kinds[1], point[:64] + bytes((point[64] ^ 1,)), text, signature),
        (kinds[0], kinds[1], p256_sign.public(b"\x08" * 32), text, signature),
        (kinds[0], kinds[1], point, text, signature + b"\x00"),
        (kinds[0], kinds[1], point, text, signature[:-1]),
        (kinds[0], kinds[1], point, text, b"\x30\x81" + signature[1:]),
        (kinds[0], kinds[1], point, text, b""),
    ):
        assert platform.verify(*arguments) is False, arguments


def check_verify_other_schemes(boot):
    text, other = Whole(b"text"), Whole(b"texT")
    for key_type, scheme, public, signature in (
        ("ed25519", "ed25519", vectors.ED25519_PUBLIC, vectors.ED25519_SIGNATURE),
        ("rsa", "rsassa-pss-sha256", vectors.RSA_PUBLIC, vectors.RSA_SIGNATURE),
    ):
        verify = boot().verify
        assert verify(key_type, scheme, public, text, signature)
        assert verify(key_type, scheme, public, Pieces(b"te", b"", b"xt"), signature)
        changed = signature[:-1] + bytes((signature[-1] ^ 1,))
        for arguments in (
            (key_type, scheme, public, other, signature),
            (key_type, scheme, public, text, changed),
            (key_type, scheme, public, text, signature[:-1]),
            (key_type, scheme, public, text, b""),
            (key_type, scheme, public[:-1], text, signature),
            (key_type, scheme, b"", text, signature),
            (key_type, scheme + "x", public, text, signature),
            (scheme, key_type + "x", public, text, signature),
            ("ecdsa", "ecdsa-sha2-nistp256", public, text, signature),
        ):
            assert verify(*arguments) is False, (key_type, arguments[1])


class Pieces:
    """A message that never lies in memory as a whole."""

    def __init__(self, *pieces):
        self._pieces = pieces

    def sha256(self):
        hasher = hashlib.sha256()
        self.emit(hasher.update)
        return hasher.digest()

    def emit(self, update):
        for piece in self._pieces:
            update(piece)


def check_verify_again_and_again(boot):
    """A platform may keep something that speeds up a key that it meets often; that must not change a verdict."""
    secrets = (b"\x07" * 32, b"\x09" * 32)
    points = [p256_sign.public(secret) for secret in secrets]
    for turn in range(3):
        platform = boot()
        for number in range(3):
            text = Whole(b"turn %d, %d" % (turn, number))
            for secret, point, wrong in ((secrets[0], points[0], points[1]), (secrets[1], points[1], points[0])):
                signature = ecdsa.signature_to_der(p256_sign.sign(secret, text.sha256()))
                for _ in range(turn + 1):
                    assert platform.verify("ecdsa", "ecdsa-sha2-nistp256", point, text, signature)
                    assert platform.verify("ecdsa", "ecdsa-sha2-nistp256", wrong, text, signature) is False


def check_clock(boot):
    clock = boot().clock
    ticks, wall = clock.ticks_ms(), clock.wall()
    assert isinstance(ticks, int) and isinstance(wall, int) and ticks >= 0
    clock.sleep_ms(20)
    assert clock.ticks_ms() >= ticks + 19
    clock.set_floor(wall - 1000)
    assert clock.wall() >= wall
    clock.set_floor(wall + 5000)
    assert clock.wall() >= wall + 5000
    clock.set_floor(wall - 1000)
    assert wall <= clock.wall() < wall + 1000


def check_chance(boot):
    chance = boot().chance
    seen = [chance.random(16) for _ in range(50)]
    assert all(len(data) == 16 for data in seen) and len(set(seen)) == 50
    assert chance.random(0) == b"" and len(chance.random(100)) == 100


CHECKS = [
    check_store,
    check_store_names,
    check_keys,
    check_verify,
    check_verify_other_schemes,
    check_verify_again_and_again,
    check_clock,
    check_chance,
]
