# SPDX-License-Identifier: MIT
"""The tables of docs/trials.md: every trial is lived on both interpreters, every journal is put before the machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS / "sweep"))
from interpreters import Interpreters  # noqa: E402

import trials  # noqa: E402
from agent import states, update  # noqa: E402
from trueboot.demo.story import micropython_lacks  # noqa: E402

PAGE = TESTS.parent / "docs" / "trials.md"


def table(title: str) -> list[list[str]]:
    part = PAGE.read_text("utf-8").split("## " + title)[1].split("\n## ")[0]
    rows = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return Interpreters(tmp_path_factory.mktemp("trials"))


@pytest.fixture(params=["cpython", "micropython"])
def python(request):
    if request.param == "micropython" and micropython_lacks():
        pytest.skip(f"no MicroPython for this machine: {micropython_lacks()}")
    return request.param


def test_every_trial_ends_where_the_page_says(here, python):
    found = {end["scenario"]: end for end in here.run(python, "import trials; trials.main()")}
    rows = table("Trials")
    assert {row[0] for row in rows} == set(found)
    for words, runs, server, reason, again in rows:
        end = found[words]
        assert "problem" not in end, end
        assert (end["runs"], end["server"], end["again"]) == (runs, server, again), end
        assert end["reason"].startswith(reason) and bool(end["reason"]) == bool(reason), end


@pytest.mark.parametrize("defect", trials.DEFECTS)
def test_a_planted_defect_leads_elsewhere(here, python, defect):
    words = trials.DEFECTS[defect][1]
    [end] = here.run(python, "import trials; trials.main(%r, %r)" % (words, defect))
    [row] = [row for row in table("Trials") if row[0] == words]
    assert [end.get(name) for name in ("runs", "server")] != row[1:3] or not end["reason"].startswith(row[3]), end


def state(phase: str, activated: bool, lost: int, failure: str) -> dict:
    made = states.initial("1.0.0", "00" * 32)
    if phase != update.IDLE:
        made["release"] = {
            "version": "1.1.0",
            "sha256": "11" * 32,
            "length": 9,
            "security": 0,
            "job": "1",
            "nonce": "n",
        }
        made["slot"] = "b" if activated else ""
    return made | {"phase": phase, "tries": int(activated), "lost": lost, "failure": failure}


def words(commands: list) -> str:
    said = []
    for command in commands:
        if command[0] == "save" and command[2]:
            said.append("save " + command[2]["outcome"])
        elif command[0] != "log":
            said.append(command[0])
    return ", ".join(said)


@pytest.mark.parametrize("row", table("What a boot finds"), ids=lambda row: row[6])
def test_what_a_boot_finds(row):
    phase, activated, lost, failure, runs, loader, _, does = row
    # Of a staged image, only the guard can have told of a failure.
    left = failure if phase == update.STAGED else ""
    boot = {"slot": runs, "confirmed": loader == "confirmed", "failure": left}
    new, commands = update.step(state(phase, activated == "yes", int(lost), "" if left else failure), ("booted", boot))
    assert words(commands) == does, (new, commands)


def test_every_phase_is_in_the_table():
    declared = {line.split()[0] for line in update.TRANSITIONS.strip().splitlines()}
    assert {row[0] for row in table("What a boot finds")} == declared
