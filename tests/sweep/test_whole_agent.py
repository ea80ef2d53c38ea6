# SPDX-License-Identifier: MIT
"""Cannot brick, cannot lie, where an agent really lives: on a littlefs, and on the card of a Raspberry Pi."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "raspberry_pi")]
import registry  # noqa: E402
import run  # noqa: E402

AGENTS = {sweep.name: sweep for sweep in registry.SWEEPS if sweep.name in ("littlefs/agent", "raspberry_pi/agent")}


def python_of(here, name):
    (python,) = AGENTS[name].pythons
    if python not in here.here():
        pytest.skip(python + " is not here")
    return python


@pytest.mark.parametrize("name", AGENTS)
def test_no_cut_bricks_or_lies(here, name):
    rows = run.rows(here, AGENTS[name], python_of(here, name), registry.SHORT, 0)
    print(rows)
    assert [row["problems"] for row in rows] == [[], []]
    for row in rows:
        assert row["effects"] > 90 and row["lives"] > 15


@pytest.mark.parametrize(("name", "defect"), [(name, defect) for name in AGENTS for defect in AGENTS[name].defects])
def test_a_planted_defect_is_caught(here, name, defect):
    assert run.planted(here, AGENTS[name], python_of(here, name), defect)["caught"], defect
