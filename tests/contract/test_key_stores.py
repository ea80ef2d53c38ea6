# SPDX-License-Identifier: MIT
"""TLS with keys in files, and with keys behind a signer that shows only signatures, as a secure element would."""

from __future__ import annotations

import os
import ssl

import contract_keys
import pytest
from contract_keys import World

from agent.errors import DeviceError
from platform_adapters.keystores import tls_signer
from platform_adapters.keystores.software import SoftwareKeys
from platform_adapters.keystores.store import KeyStore
from platform_adapters.linux_net import Net


class Element:
    """A backend that has what every backend has, and no more."""

    def __init__(self, folder):
        self._keys = SoftwareKeys(folder)
        self.has, self.make, self.public, self.drop = (
            self._keys.has,
            self._keys.make,
            self._keys.public,
            self._keys.drop,
        )
        self.broken = None

    def sign_digest(self, label, digest):
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        if self.broken:
            raise self.broken
        prehashed = ec.ECDSA(utils.Prehashed(hashes.SHA256()))
        r, s = utils.decode_dss_signature(self._keys._key(label).sign(digest[:32], prehashed))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("keys"))
    yield made
    made.close()


@pytest.fixture(params=["software", "element"])
def keys(request, tmp_path):
    return SoftwareKeys(tmp_path) if request.param == "software" else KeyStore(Element(tmp_path))


@pytest.mark.parametrize("version", contract_keys.VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("check", contract_keys.CHECKS, ids=lambda check: check.__name__)
def test_tls(keys, world, check, version):
    check(keys, world, version)


def test_the_store_says_how_tls_uses_its_keys(tmp_path, world):
    assert SoftwareKeys(tmp_path).tls_road() == "file"
    keys = KeyStore(Element(tmp_path))
    keys.make("a")
    keys.attach(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "a", world.chain(keys.public("a")))
    assert keys.tls_road() == "signer"


def test_a_failing_signer_is_what_the_caller_hears_of(tmp_path, world):
    keys = KeyStore(Element(tmp_path))
    keys.make("a")
    identity = ("a", world.chain(keys.public("a")))
    for version in contract_keys.VERSIONS:
        net = Net(lambda: [world.root.der], keys, 10)
        keys.backend.broken = DeviceError("tpm_absent", "gone")
        with pytest.raises(DeviceError, match="tpm_absent"):
            net.dial("localhost", world.servers["http", version].port, identity)
        with pytest.raises(DeviceError, match="tpm_absent"):
            contract_keys.who(contract_keys.RequestsHttp(net, 10), world, version, identity)
        keys.backend.broken = None
        net.dial("localhost", world.servers["http", version].port, identity).close()


def test_no_road_is_said_loudly_with_the_reasons(tmp_path, world, monkeypatch):
    keys = KeyStore(Element(tmp_path))
    keys.make("a")
    monkeypatch.setattr(tls_signer, "PYTHONS", ((2, 7), (3, 0)))
    with pytest.raises(DeviceError, match="tls_road.*signer: tried on CPython.*provider: this key store has none"):
        keys.attach(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "a", world.chain(keys.public("a")))


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("PYTHONS", ((3, 99), (4, 0)), "CPython"),
        ("OPENSSLS", ((1, 0, 0), (1, 0, 2)), "OpenSSL"),
        ("_head", lambda: object.__basicsize__ + 8, "layout"),
    ],
)
def test_what_the_road_needs_is_looked_for_each_time(monkeypatch, tmp_path, world, name, value, why):
    keys = KeyStore(Element(tmp_path), roads=("signer",))
    keys.make("a")
    chain = world.chain(keys.public("a"))
    monkeypatch.setattr(tls_signer, name, value)
    with pytest.raises(DeviceError, match=why):
        keys.attach(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "a", chain)


def test_contexts_cost_nothing_that_stays(tmp_path, world):
    """A device that connects for years: the road keeps one entry a key, and contexts are freed."""
    keys = KeyStore(Element(tmp_path))
    keys.make("a")
    chain = world.chain(keys.public("a"))

    def rounds(count):
        for _ in range(count):
            keys.attach(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "a", chain)
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    rounds(50)
    entries, before = len(tls_signer._signers), rounds(50)
    grown = rounds(400) - before
    assert len(tls_signer._signers) == entries and grown < 400 * 1024, grown
