# SPDX-License-Identifier: MIT
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))  # the server in a thread, for those who listen in

from rig import Rig  # noqa: E402

from trueboot.demo.story import micropython_lacks  # noqa: E402


@pytest.fixture(scope="session")
def shared_rig(tmp_path_factory):
    """One server process for all the tests that leave it well."""
    made = Rig(tmp_path_factory.mktemp("faults"))
    try:
        made.start_server()
        made.factory = made.release("1.0.0")
        yield made
    finally:
        made.stop()


@pytest.fixture
def rig(shared_rig):
    there = list(shared_rig.devices)
    yield shared_rig
    shared_rig.retire(*[device for device in shared_rig.devices if device not in there])


@pytest.fixture(params=["cpython", "micropython"])
def runtime(request):
    lacking = micropython_lacks() if request.param == "micropython" else ""
    if lacking:
        pytest.skip(f"no MicroPython for this machine: {lacking}")
    return request.param
