# SPDX-License-Identifier: MIT
"""No stranded device: a first boot and renewals with the power cut at every effect, on both interpreters, and planted defects."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "raspberry_pi")]
import registry  # noqa: E402
import run  # noqa: E402

from trueboot.demo.story import micropython_lacks  # noqa: E402

SWEEPS = [sweep for sweep in registry.SWEEPS if sweep.name.startswith("identity/")]
ALIKE = ("identity/asleep", "identity/renewed")
PLANTED = [(sweep.name, name) for sweep in SWEEPS for name in sweep.defects]
SHOWN: dict[str, dict] = {}  # defect -> what the sweep on CPython found


@pytest.mark.parametrize("name", [sweep.name for sweep in SWEEPS])
def test_no_cut_strands_a_device(here, python, name):
    (row,) = run.rows(here, registry.named(name), python, registry.SHORT, 0)
    assert row["problems"] == []
    assert row["effects"] >= 14 and row["cuts"] > 2.5 * row["effects"] and row["lives"] > 0.8 * row["effects"]


@pytest.mark.parametrize(("name", "defect"), PLANTED)
def test_a_planted_defect_is_caught(here, name, defect):
    assert shown(here, name, defect)["caught"], "the sweep did not notice: " + defect


@pytest.mark.skipif(bool(micropython_lacks()), reason=f"no MicroPython for this machine: {micropython_lacks()}")
@pytest.mark.parametrize(("name", "defect"), [one for one in PLANTED if one[0] in ALIKE])
def test_a_planted_defect_is_caught_on_micropython(here, name, defect):
    """By the very life that shows it on CPython, and of those that are alike there one kind; `make sweep` does all."""
    row = shown(here, name, defect)
    life = registry.named(name).life(here, row["kind"], row["cuts"])
    told = here.run("micropython", "import identity_mutants; identity_mutants.plant(%r)\n%s" % (defect, life))
    assert told[-1]["problem"], defect


def shown(here, name, defect):
    """What the sweep on CPython found."""
    if defect not in SHOWN:
        SHOWN[defect] = run.planted(here, registry.named(name), "cpython", defect)
    return SHOWN[defect]
