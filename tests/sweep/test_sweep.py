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
SECOND_EVERY = 9  # of the second cuts one in so many; with 1, all of them, it takes many minutes


@pytest.fixture(scope="session")
def worlds(tmp_path_factory):
    """kind -> file."""
    folder = tmp_path_factory.mktemp("sweep")
    return {kind: release.write(folder, kind) for kind in ("repository", "rotated", "bundle", "file")}


@pytest.fixture(scope="session")
def board(tmp_path_factory):
    reason = mpy.unavailable()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("sweep_board")
    names = ("sweep", "decada_cloud", "mutants", "enrolled", "tuf_repo", "scratch", "expect")
    names += ("test_offers", "test_downloads")
    mpy.build(folder, keep=shorten.words(*((PORTABLE / (name + ".py")).read_text("utf-8") for name in names)))
    for name in names:
        mpy.compile_file(PORTABLE / (name + ".py"), folder / (name + ".mpy"), name + ".py")
    return folder


@pytest.fixture(params=["cpython", "micropython"])
def python(request):
    """Runs a statement in a fresh interpreter; gives the lines that it prints, read as JSON."""
    if request.param == "cpython":
        path = "import sys; sys.path[:0] = [%r, %r, %r]; " % (str(ROOT), str(ROOT / "tools"), str(PORTABLE))
        command, folder = [sys.executable, "-c"], ROOT
    else:
        path, command, folder = "", [*mpy.interpreter("2M"), "-c"], request.getfixturevalue("board")

    def run(code):
        ran = subprocess.run([*command, path + code], cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return [json.loads(line) for line in ran.stdout.splitlines()]

    return run


@pytest.fixture
def sweep(python, worlds):
    def run(second_every, mutant="", kind="repository"):
        return python("import sweep; sweep.main(%r, %d, %r)" % (str(worlds[kind]), second_every, mutant))

    return run


def test_no_cut_bricks_or_lies(sweep):
    good, bad = sweep(SECOND_EVERY)
    assert good["problems"] == [] and bad["problems"] == []
    assert good["effects"] > 30 and good["lives"] > 3 * good["effects"]


# With one cut each; the second cut is the same machine's, whatever road the metadata came.
@pytest.mark.parametrize("kind", ["rotated", "bundle", "file"])
def test_no_cut_spoils_trust(sweep, kind):
    found = sweep(0, kind=kind)
    assert [one["problems"] for one in found] == [[]] * len(found)
    assert found[0]["lives"] == 3 * found[0]["effects"] + 1 > 70


@pytest.mark.parametrize("mutant", mutants.DEFECTS)
def test_a_planted_defect_is_caught(sweep, mutant):
    kind = mutants.DEFECTS[mutant][1]
    assert sweep(0, mutant, kind)[-1]["count"] > 0, "the sweep did not notice: " + mutant


@pytest.mark.parametrize("mutant", [*mutants.TRUST_DEFECTS, *mutants.DOWNLOAD_DEFECTS])
def test_a_planted_defect_of_trust_or_downloads_is_caught(python, mutant):
    caught = python("import mutants; mutants.try_out(%r)" % mutant)
    assert caught == [True], "the attacks did not notice: " + mutant
