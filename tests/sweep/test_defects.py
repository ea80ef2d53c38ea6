# SPDX-License-Identifier: MIT
"""Every planted defect that concerns whole updates is caught, on both interpreters; each stops at its first problem."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "raspberry_pi")]
import registry  # noqa: E402
import run  # noqa: E402

import mutants  # noqa: E402

PLANTED = [
    (sweep.name, name) for sweep in registry.SWEEPS if sweep.name.startswith("memory/") for name in sweep.defects
]


SHOWN: dict[str, dict] = {}  # defect -> what the sweep on CPython found


@pytest.mark.parametrize(("name", "defect"), PLANTED)
def test_a_planted_defect_is_caught(here, python, name, defect):
    """On MicroPython, first by the very life that shows it on CPython; `make sweep` searches there from the start, too."""
    sweep = registry.named(name)
    if python == "micropython":
        row = SHOWN.get(defect) or run.planted(here, sweep, "cpython", defect)
        life = sweep.life(here, row["kind"], row["cuts"])
        if here.run(python, "import sweep; sweep.plant(%r)\n%s" % (defect, life))[-1]["problem"]:
            return
    row = SHOWN[defect] = run.planted(here, sweep, python, defect)
    assert row["caught"], "the sweep did not notice: " + defect


@pytest.mark.parametrize("defect", [*mutants.TRUST_DEFECTS, *mutants.DOWNLOAD_DEFECTS])
def test_a_planted_defect_of_trust_is_caught(here, python, defect):
    caught = here.run(python, "import mutants; mutants.try_out(%r)" % defect)
    assert caught == [True], "the attacks did not notice: " + defect
