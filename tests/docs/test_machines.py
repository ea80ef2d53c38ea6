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
