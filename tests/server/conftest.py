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
    operator = Operator(server.first)
    # Begin with what happens from now on.
    operator._seen = operator.get(f"/api/v1/events?after={2**50}")["last"]
    if events := operator.events():
        operator._seen = events[-1]["seq"]
    return operator


@pytest.fixture
def device(server, tmp_path):
    return Device(server.first, f"dev-{next(_numbers)}", tmp_path)
