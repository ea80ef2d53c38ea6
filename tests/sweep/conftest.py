# SPDX-License-Identifier: MIT
from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "raspberry_pi")]
from interpreters import Interpreters  # noqa: E402

from trueboot.demo.story import micropython_lacks  # noqa: E402


@pytest.fixture(scope="session")
def here(tmp_path_factory):
    return Interpreters(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(params=["cpython", "micropython"])
def python(request):
    if request.param == "micropython" and micropython_lacks():
        pytest.skip(f"no MicroPython for this machine: {micropython_lacks()}")
    return request.param
