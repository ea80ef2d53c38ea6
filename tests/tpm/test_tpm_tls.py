# SPDX-License-Identifier: MIT
"""Mutual TLS with a key in a TPM: the same checks as for keys in files, and what a failing TPM looks like from there."""

from __future__ import annotations

import contract_keys
import pytest
from contract_keys import World

from agent.errors import DeviceError
from platform_adapters.keystores.tpm_device import TpmKeys
from platform_adapters.keystores.tpm_link import Link
from platform_adapters.linux_net import Net


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("keys"))
    yield made
    made.close()


@pytest.mark.parametrize("version", contract_keys.VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("check", contract_keys.CHECKS, ids=lambda check: check.__name__)
def test_tls(chip, tmp_path, world, check, version):
    keys = TpmKeys(str(tmp_path / "keys"), Link(chip.tcti))
    check(keys, world, version)
    assert keys.tls_road() == "signer"


def test_a_tpm_that_went_away_is_named_and_found_again(chip, tmp_path, world):
    keys = TpmKeys(str(tmp_path / "keys"), Link(chip.tcti))
    keys.make("a")
    identity = ("a", world.chain(keys.public("a")))
    version = contract_keys.VERSIONS[1]
    net = Net(lambda: [world.root.der], keys, 10)
    chip.stop()
    with pytest.raises(DeviceError, match="tpm_absent"):
        net.dial("localhost", world.servers["http", version].port, identity)
    chip.start()
    assert contract_keys.who(contract_keys.RequestsHttp(net, 10), world, version, identity) == b"pk/dk"
