# SPDX-License-Identifier: MIT
"""Cannot brick, cannot lie: the short sweeps of whole updates on both interpreters."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "raspberry_pi")]
import registry  # noqa: E402
import run  # noqa: E402

WHOLE = [sweep for sweep in registry.SWEEPS if sweep.name.startswith(("memory/", "esp32/agent/"))]


@pytest.mark.parametrize("name", [sweep.name for sweep in WHOLE])
def test_no_cut_bricks_or_lies(here, python, name):
    rows = run.rows(here, registry.named(name), python, registry.SHORT, 0)
    assert [row["problems"] for row in rows] == [[]] * len(registry.named(name).kinds)
    for row in rows:
        assert row["effects"] > 25 and row["cuts"] >= 3 * row["effects"]
        assert row["lives"] >= row["effects"] * (2 if name == "memory/repository" else 0.9), row


@pytest.mark.parametrize(("kind", "firmware", "every"), [("repository", False, 12), ("repository", True, 20)])
def test_lives_from_points_are_those_that_are_really_cut(here, python, kind, firmware, every):
    before = registry.ESP32 if firmware else ""
    code = before + "import sweep; sweep.alike(%r, %d)" % (here.world(kind, "firmware" if firmware else "app"), every)
    assert here.run(python, code)[0] > 4


def test_a_problem_is_told_with_seed_and_the_command_that_repeats_it(here, monkeypatch, capsys):
    broken = "import mutants; mutants.plant('request forgotten when read')\n"
    sweep = registry.named("memory/file")
    lives = sweep.lives
    monkeypatch.setattr(sweep, "lives", lambda *depth: broken + lives(*depth))
    monkeypatch.setattr(registry, "SWEEPS", [sweep])
    assert run.main(["--short", "--seed", "3", "--python", "cpython", "--no-defects"]) == 1
    said = capsys.readouterr().out
    assert "seed 3" in said and "make sweep ARGS='--life memory/file:cpython:good:[[" in said, said
    spec = said.split("--life ")[1].split("'")[0]
    life = sweep.life
    monkeypatch.setattr(sweep, "life", lambda *which: broken + life(*which))
    assert run.main(["--life", spec]) == 1
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["problem"]


def test_json_is_one_object_a_line(monkeypatch, capsys):
    monkeypatch.setattr(registry, "SWEEPS", [registry.named("memory/file")])
    assert run.main(["--short", "--seed", "3", "--python", "cpython", "--no-defects", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {"seed": 3} and lines[-1]["total"]["lives"] == lines[1]["lives"]
