# SPDX-License-Identifier: MIT
"""What a TPM remembers for a device: the floor, the sealed secret, the certificate; and random numbers."""

from __future__ import annotations

import os

import pytest
from contract_keys import World

from agent.errors import DeviceError, MisuseError
from platform_adapters.filestore import FileStore
from platform_adapters.keystores import tpm, tpm_device, tpm_ek, tpm_nv
from platform_adapters.keystores.tpm_device import TpmChance, TpmKeys, TpmStore
from platform_adapters.keystores.tpm_link import Link
from platform_adapters.keystores.tpm_nv import TpmFloor


@pytest.fixture
def link(chip):
    made = Link(chip.tcti)
    yield made
    made.close()


@pytest.fixture
def keys(link, tmp_path):
    return TpmKeys(str(tmp_path / "keys"), link)


@pytest.fixture
def store(link, tmp_path, keys):
    return TpmStore(FileStore(str(tmp_path / "store")), keys, link)


# -- the floor


def test_a_floor_begins_where_the_journal_is_and_only_rises(link, chip):
    floor = TpmFloor(link)
    assert floor.read() == 0
    floor.raise_to(1000)
    assert floor.read() == 1000
    floor.raise_to(1016)
    floor.raise_to(3)
    assert floor.read() == 1016
    chip.stop()
    chip.start()
    assert TpmFloor(link).read() == 1016


def test_what_is_far_is_reached_in_steps(link):
    floor = TpmFloor(link)
    floor.raise_to(0)
    floor.raise_to(100)
    assert floor.read() == tpm_nv.MAX_COUNTS
    floor.raise_to(100)
    assert floor.read() == 100


def test_a_counter_that_begins_anywhere(link):
    """A TPM whose counters have counted before begins a new one above them (TPM 2.0, part 1, 37.2.4)."""

    def used(esapi):
        handle = tpm_nv.define(esapi, tpm_nv.COUNTER, 8, tpm_nv._OPEN, counter=True)
        for _ in range(7):
            esapi.nv_increment(handle)
        esapi.nv_undefine_space(handle)

    link.run(used)
    floor = TpmFloor(link)
    floor.raise_to(2)
    assert floor.read() == 2
    assert link.run(lambda esapi: tpm_nv._number(esapi, tpm_nv.find(esapi, tpm_nv.COUNTER))) > 7


class Cut(Exception):
    pass


class Failing:
    """An ESAPI that loses its power before the nth command that changes the TPM."""

    CHANGES = ("nv_define_space", "nv_increment", "nv_write", "nv_write_lock", "nv_undefine_space", "evict_control")

    def __init__(self, esapi, number):
        self.esapi, self.left = esapi, number

    def __getattr__(self, name):
        if name in self.CHANGES:
            if self.left == 0:
                raise Cut
            self.left -= 1
        return getattr(self.esapi, name)


def cut_everywhere(link, work, check):
    """`work(esapi)` cut before each of its changes in turn, each followed by `check()` and the work done whole."""
    for number in range(40):
        try:
            link.run(lambda esapi, number=number: work(Failing(esapi, number)))
        except Cut:
            check()
            continue
        return number
    raise AssertionError("never done")


def test_cuts_of_the_floor(link):
    floor = TpmFloor(link)
    told = []
    changes = cut_everywhere(link, lambda esapi: tpm_nv._raise(esapi, 5), lambda: told.append(floor.read()))
    assert changes >= 1 and set(told) <= {0, 5} and floor.read() == 5
    told.clear()
    cut_everywhere(link, lambda esapi: tpm_nv._raise(esapi, 9), lambda: told.append(floor.read()))
    assert told == sorted(told) and floor.read() == 9


def test_cuts_of_provisioning(link, tmp_path):
    """Parent and endorsement key come out the same, and a key's blob is all that its making leaves."""
    seen = []
    changes = cut_everywhere(link, tpm._create, lambda: seen.append(link.run(lambda esapi: tpm_ek.name(esapi))))
    assert changes >= 1 and len(set(seen)) <= 1
    backend = tpm.TpmBackend(tmp_path / "keys", link)
    backend.make("a")
    assert backend.sign_digest("a", bytes(32))


def test_the_base_cannot_be_written_again(link):
    from tpm2_pytss import TSS2_Exception

    TpmFloor(link).raise_to(5)

    def rewrite(esapi):
        with pytest.raises(TSS2_Exception):
            esapi.nv_write(tpm_nv.find(esapi, tpm_nv.BASE), bytes(8))

    link.run(rewrite)
    assert TpmFloor(link).read() == 5


# -- the sealed secret


def test_a_secret_is_sealed_and_opens_after_power_was_gone(store, link, chip, tmp_path):
    assert store.load("secret") is None
    store.save("secret", b"canary-of-the-device")
    data = (tmp_path / "store" / "secret").read_bytes()
    assert b"canary" not in data and data.startswith(b"trueboot-sealed\n")
    chip.stop()
    chip.start()
    assert store.load("secret") == b"canary-of-the-device"
    store.save("journal.0", b"plain")
    assert (tmp_path / "store" / "journal.0").read_bytes() == b"plain"
    with pytest.raises(MisuseError, match="record_size"):
        store.save("secret", bytes(tpm_device.SEALED_BYTES + 1))
    store.drop("secret")
    assert store.load("secret") is None


def test_a_secret_from_before_the_tpm_is_read(store, tmp_path):
    FileStore(str(tmp_path / "store")).save("secret", b"plain-from-before")
    assert store.load("secret") == b"plain-from-before"


def test_a_sealed_secret_that_was_damaged(store, tmp_path):
    store.save("secret", b"x")
    file = tmp_path / "store" / "secret"
    whole = file.read_bytes()
    for data in (
        whole[:-9],
        b"trueboot-sealed\n[]",
        b"trueboot-sealed\n{}",
        whole.replace(b'"private": "', b'"private": "AB'),
    ):
        file.write_bytes(data)
        with pytest.raises(DeviceError):
            store.load("secret")


# -- the certificate


@pytest.fixture
def chain(keys, tmp_path):
    world = World(tmp_path)
    world.close()
    keys.make("a")
    keys.make("b")
    return lambda label: b"".join(world.chain(keys.public(label)))


def test_a_lost_certificate_comes_back_from_the_tpm(keys, store, chain, tmp_path):
    data = chain("a")
    store.save("cert.a", data)
    keys.keep("a", data)
    (tmp_path / "store" / "cert.a").unlink()
    assert store.load("cert.a") == data
    assert store.load("cert.b") is None
    keys.drop("a")
    keys.make("a")
    assert store.load("cert.a") is None, "it is for the key that was dropped"
    keys.keep("a", chain("a"))
    store.drop("cert.a")
    assert store.load("cert.a") is None, "what was dropped does not come back"


def test_nothing_is_written_twice(keys, link, chain):
    """Memory of a TPM wears out."""
    data = chain("a")
    keys.keep("a", data)
    link.run(lambda esapi: tpm_nv.keep(Failing(esapi, 0), "a", data))


def test_cuts_of_the_copy(keys, link, chain):
    old, new = chain("a"), chain("a")
    keys.keep("a", old)
    seen = []
    recall = lambda: seen.append(link.run(tpm_nv.recall, "a"))  # noqa: E731
    changes = cut_everywhere(link, lambda esapi: tpm_nv.keep(esapi, "a", new), recall)
    assert changes >= 0 and len(seen) >= 3 and set(seen) <= {old, None}
    assert link.run(tpm_nv.recall, "a") == new


def test_a_chain_that_is_too_long_for_an_index(keys, link):
    keys.keep("c", bytes(5000))  # a label that has no place there
    with pytest.raises(DeviceError, match="tpm_full"):
        keys.keep("a", bytes(5000))
    assert link.run(tpm_nv.recall, "a") is None


# -- random numbers


def test_random_numbers_are_both_ones_and_outlive_the_tpm(link, chip, monkeypatch):
    chance = TpmChance(link)
    assert len({chance.random(32) for _ in range(3)}) == 3 and [len(chance.random(n)) for n in (0, 1, 100)] == [
        0,
        1,
        100,
    ]
    monkeypatch.setattr(os, "urandom", bytes)
    assert chance.random(32) != bytes(32), "the TPM has a part in it"
    monkeypatch.setattr(tpm_device, "_random", lambda esapi, size: bytes(size))
    monkeypatch.setattr(os, "urandom", lambda size: b"\x11" * size)
    assert chance.random(32) == b"\x11" * 32, "and the system has one"
    chip.stop()
    monkeypatch.undo()
    assert len(chance.random(32)) == 32
