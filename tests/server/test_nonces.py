# SPDX-License-Identifier: MIT
"""Nonces: once, for a while, from here; and never without a bound."""

import pytest

from trueboot_server.nonces import Nonces


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_nonce_is_taken_once(clock):
    nonces = Nonces(300, 10, clock)
    made = nonces.make()
    assert len(made) >= 22 and nonces.take(made) and not nonces.take(made)


def test_a_nonce_ends(clock):
    nonces = Nonces(300, 10, clock)
    first, second = nonces.make(), nonces.make()
    clock.now += 299.9
    assert nonces.take(first)
    clock.now += 0.2
    assert not nonces.take(second) and not nonces.take(first)


def test_a_nonce_of_another_start_is_nothing(clock):
    assert not Nonces(300, 10, clock).take(Nonces(300, 10, clock).make())


def test_no_letter_of_a_nonce_may_change(clock):
    nonces = Nonces(300, 10, clock)
    made = nonces.make()
    for at, letter in enumerate(made):
        changed = made[:at] + ("A" if letter != "A" else "B") + made[at + 1 :]
        assert not nonces.take(changed)
    for wrong in (made + "=", made[:-1], made + "A", " " + made, "", "A" * 1000, "é", None, 7, made.encode()):
        assert not nonces.take(wrong)
    assert nonces.take(made)


def test_what_was_taken_is_bounded_and_forgotten_in_time(clock):
    nonces = Nonces(300, 3, clock)
    made = [nonces.make() for _ in range(4)]
    assert [nonces.take(one) for one in made] == [True, True, True, False]
    clock.now += 301
    assert nonces.take(nonces.make())
