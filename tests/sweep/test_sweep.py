# SPDX-License-Identifier: MIT
"""Cannot brick, cannot lie: the sweep of an update on both interpreters, and the defects it must catch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trueboot import mpy, shorten

sys.path.insert(0, str(Path(__file__).parent))
import world as release  # noqa: E402

ROOT = Path(__file__).parents[2]
PORTABLE = ROOT / "tests" / "portable"
sys.path.insert(0, str(PORTABLE))
import mutants  # noqa: E402

TIMEOUT_S = 240
SECOND_EVERY = 9  # of the second cuts one in so many; with 1, all of them, it takes minutes


@pytest.fixture(scope="session")
def world_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "world.json"
    release.write(path)
    return path


@pytest.fixture(scope="session")
def board(tmp_path_factory):
    reason = mpy.unavailable()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("sweep_board")
    names = ("sweep", "decada_cloud", "mutants")
    mpy.build(folder, keep=shorten.words(*((PORTABLE / (name + ".py")).read_text("utf-8") for name in names)))
    for name in names:
        mpy.compile_file(PORTABLE / (name + ".py"), folder / (name + ".mpy"), name + ".py")
    return folder


@pytest.fixture(params=["cpython", "micropython"])
def sweep(request, world_file):
    if request.param == "cpython":
        path = "import sys; sys.path[:0] = [%r, %r, %r]; " % (str(ROOT), str(ROOT / "tools"), str(PORTABLE))
        command, folder = [sys.executable, "-c"], ROOT
    else:
        path, command, folder = "", [*mpy.interpreter("2M"), "-c"], request.getfixturevalue("board")

    def run(second_every, mutant="", world_file=world_file):
        code = path + "import sweep; sweep.main(%r, %d, %r)" % (str(world_file), second_every, mutant)
        ran = subprocess.run([*command, code], cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return [json.loads(line) for line in ran.stdout.splitlines()]

    return run


def test_no_cut_bricks_or_lies(sweep):
    good, bad = sweep(SECOND_EVERY)
    assert good["problems"] == [] and bad["problems"] == []
    assert good["effects"] > 30 and good["lives"] > 3 * good["effects"]


@pytest.mark.parametrize("mutant", mutants.DEFECTS)
def test_a_planted_defect_is_caught(sweep, mutant):
    assert sweep(0, mutant)[-1]["count"] > 0, "the sweep did not notice: " + mutant


def test_a_cut_never_loses_that_new_keys_made_old_versions_void(sweep, tmp_path):
    path = tmp_path / "rotated.json"
    release.write(path, rotated=True)
    good, bad = sweep(0, world_file=path)
    assert good["problems"] == [] and bad["problems"] == []
