# SPDX-License-Identifier: MIT
"""Which key gets a table, that the table is used, and that no table can make a verdict wrong."""

from agent.crypto import p256_comb, p256_sign
from agent.crypto.verify import Whole
from agent.errors import DeviceError
from agent.wire import appimage, ecdsa
from platform_adapters.memory import AFTER, BEFORE, TORN, Device, PowerCut

HEAP = "256k"
SECRETS = [bytes(31) + bytes((number,)) for number in (7, 8, 9)]
POINTS = [p256_sign.public(secret) for secret in SECRETS]


def new_device():
    device = Device()
    device.install("a", appimage.build({"main.py": b"x"}), {"version": "1.0.0"})
    return device


def signed(key, number):
    message = Whole(b"message %d" % number)
    return message, ecdsa.signature_to_der(p256_sign.sign(SECRETS[key], message.sha256()))


def verify(platform, key, number, signer=None):
    message, signature = signed(key if signer is None else signer, number)
    return platform.verify("ecdsa", "ecdsa-sha2-nistp256", POINTS[key], message, signature)


def pinned(device):
    record = device.records.get("comb")
    return None if record is None else POINTS.index(record[:65])


def test_a_key_gets_its_table_at_its_second_signature_in_a_row():
    device = new_device()
    platform = device.power_on()
    for key, number, expected in (
        (0, 1, None),
        (0, 1, None),  # the same signature again is no news of this key
        (1, 1, None),
        (0, 2, None),
        (1, 2, None),
        (1, 3, 1),
        (0, 3, 1),
        (1, 4, 1),
        (0, 4, 1),  # the pinned key came between
        (0, 5, 0),
    ):
        assert verify(platform, key, number)
        assert pinned(device) == expected, (key, number)
    assert device.records["comb"] == POINTS[0] + p256_comb.make(POINTS[0])
    assert device.trace == ["store.save comb"] * 2


def test_a_bad_signature_pins_nothing():
    device = new_device()
    platform = device.power_on()
    for number in range(3):
        assert not verify(platform, 0, number, signer=1)
    assert verify(platform, 0, 1) and pinned(device) is None


def test_the_table_is_used_and_for_its_own_point_only():
    device = new_device()
    device.records["comb"] = POINTS[0] + p256_comb.make(POINTS[1])  # a lie, to see who reads it
    platform = device.power_on()
    assert verify(platform, 0, 1, signer=1)
    assert not verify(platform, 2, 1, signer=1)
    assert not verify(platform, 0, 1, signer=2)


def test_a_spoilt_record_is_passed_over_and_goes():
    table = bytearray(p256_comb.make(POINTS[0]))
    table[700] ^= 1
    for record, stays in (
        (POINTS[0] + bytes(table), False),
        (POINTS[0] + bytes(1024), False),
        (POINTS[0] + b"\xff" * 1024, False),
        (POINTS[0] + bytes(table[:500]), False),
        (POINTS[0], False),
        (POINTS[0][:40], True),
        (b"", True),
    ):
        device = new_device()
        device.records["comb"] = record
        platform = device.power_on()
        assert not verify(platform, 0, 1, signer=1)
        assert verify(platform, 0, 1)
        assert ("comb" in device.records) is stays, len(record)
        assert verify(platform, 0, 2) and pinned(device) == 0
        assert verify(platform, 0, 3)


def test_a_store_that_fails_costs_speed_alone():
    device = new_device()
    device.failures = {number: DeviceError("store", "full") for number in range(1, 9)}
    platform = device.power_on()
    for number in range(4):
        assert verify(platform, 0, number)
    assert device.effects == 1  # it is not tried again in this life
    device.records["comb"] = POINTS[0] + bytes(1024)
    assert verify(platform, 0, 1)


def test_a_cut_while_the_table_is_stored():
    for tears in (False, True):
        for mode in (BEFORE, TORN, AFTER):
            device = new_device()
            device.tears_records = tears
            device.cuts = {1: mode}
            platform = device.power_on()
            assert verify(platform, 0, 1)
            try:
                verify(platform, 0, 2)
                raise AssertionError("no cut")
            except PowerCut:
                pass
            platform = device.power_on()
            for number in (3, 4):
                assert verify(platform, 0, number) and not verify(platform, 0, number, signer=1)
            assert verify(platform, 0, 5) and pinned(device) == 0
