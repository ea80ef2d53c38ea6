# SPDX-License-Identifier: MIT
import itertools

import pytest
from server_client import Device, Operator, ServerProcess

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerProcess(tmp_path_factory.mktemp("server") / "state")
    yield running
    assert running.stop() == 0


@pytest.fixture
def operator(server):
    return Operator(server.first)


@pytest.fixture
def device(server, tmp_path):
    return Device(server.first, f"dev-{next(_numbers)}", tmp_path)
