# SPDX-License-Identifier: MIT
"""App slots on a real littlefs whose power is cut at every flash operation, in MicroPython; FAT fails the same, and is refused.

TRUEBOOT_SWEEP=all cuts at every operation, and at every ninth of the recoveries from every third: minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trueboot import mpy, shorten

PORTABLE = Path(__file__).parents[1] / "portable"
ALL = os.environ.get("TRUEBOOT_SWEEP") == "all"
TIMEOUT_S = 1800 if ALL else 120
DEFECTS = [
    line.split('"')[1] for line in (PORTABLE / "littlefs_mutants.py").read_text().splitlines() if line[:5] == '    "'
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    if mpy.unavailable():
        pytest.skip(mpy.unavailable())
    folder = tmp_path_factory.mktemp("littlefs")
    names = ("littlefs_cuts", "littlefs_mutants", "contract_slots")
    mpy.build(folder, keep=shorten.words(*((PORTABLE / (name + ".py")).read_text("utf-8") for name in names)))
    for name in names:
        mpy.compile_file(PORTABLE / (name + ".py"), folder / (name + ".mpy"), name + ".py")

    def run(call):
        command = [*mpy.interpreter("6M"), "-c", "import littlefs_cuts; littlefs_cuts." + call]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout.splitlines()

    return run


def sweep(run, *arguments):
    return [json.loads(line) for line in run("main(%s)" % ", ".join(map(repr, arguments)))]


def test_the_slots_contract(run):
    sys.path.insert(0, str(PORTABLE))
    import contract_slots

    assert run("contract()") == [check.__name__ for check in contract_slots.CHECKS] + ["check_a_full_flash"]


@pytest.mark.parametrize(
    ("geometry", "every", "second"),
    [("pico", 1, 0), ("esp32", 1, 0), ("pico", 3, 9)] if ALL else [("pico", 6, 0), ("esp32", 35, 0), ("pico", 60, 30)],
)
def test_no_cut_bricks_or_lies(run, geometry, every, second):
    kinds = sweep(run, geometry, every, second)
    assert [kind["kind"] for kind in kinds] == ["healthy", "crashing", "refusing"]
    for kind in kinds:
        print(kind)
        assert kind["problems"] == []
        assert kind["operations"] > 80 and kind["erases"] > 10
        assert kind["lives"] >= 3 * (kind["operations"] // every)


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_caught(run, defect):
    assert sweep(run, "pico", 3, 0, defect, True)[-1]["count"] > 0, "the cuts did not bring it to light: " + defect


def test_every_defect_is_planted():
    assert len(DEFECTS) >= 9


def test_fat_would_lose_records(run):
    """Why it is refused: the same lives on the same code."""
    problems = [problem for kind in sweep(run, "fat", 5, 0, "", True) for _, problem in kind["problems"]]
    assert any("record: 0, promised" in problem for problem in problems), problems


def test_fat_and_the_unknown_are_refused_at_the_start(run):
    said = run("refusals()")
    assert len(said) == 2 and "VfsFat" in said[0] and "littlefs" in said[0] and "Unknown" in said[1]


def test_what_an_update_costs_the_flash(run):
    costs = json.loads(run("costs('pico')")[0])
    print(costs)
    for call in ("start on trial", "activate", "confirm"):
        erases, programs, size = costs[call]
        assert erases <= 2 and programs <= 8, (call, costs)
    assert costs["start"] == [0, 0, 0]  # a boot that is no trial writes nothing
