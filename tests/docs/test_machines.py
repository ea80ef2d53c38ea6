# SPDX-License-Identifier: MIT
"""The page of the machines is the tables' own drawing."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_tables_say():
    drawn = subprocess.run(
        [sys.executable, "tools/check/diagrams.py"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert (ROOT / "docs" / "machines.md").read_text() == drawn, "run: python tools/check/diagrams.py --write"


def test_every_phase_has_a_way_out_and_a_way_in():
    """To rest, from wherever it is; and no phase is out of reach.  From `revoked` nothing leads but from outside."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "portable")]
    from agent import identity, session, update
    from edges import declared

    for machine, first, rest in (
        (update, "idle", "idle"),
        (identity, "blank", "enrolled"),
        (session, "offline", "online"),
    ):
        ways = {(phase, to) for (phase, _), targets in declared(machine).items() for to in targets}
        phases = {phase for way in ways for phase in way}
        assert reached(first, ways) == phases, machine
        assert reached(rest, {(to, phase) for phase, to in ways}) == phases - {"revoked"}, machine


def reached(start, ways):
    found = {start}
    while more := {to for phase, to in ways if phase in found} - found:
        found |= more
    return found
