# SPDX-License-Identifier: MIT
"""micropython/wifi.py on the real MicroPython; the radio is played (board_wifi.py)."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

from trueboot import mpy

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CHECKS = [
    node.name
    for node in ast.parse((HERE / "board_wifi.py").read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
]


@pytest.mark.skipif(bool(mpy.unavailable()), reason=mpy.unavailable() or "-")
@pytest.mark.parametrize("check", CHECKS)
def test_wifi(check, tmp_path):
    done = subprocess.run(
        [*mpy.interpreter("256k"), str(HERE / "board_wifi.py"), check, str(ROOT / "micropython")],
        cwd=tmp_path,
        env={"MICROPYPATH": "%s:.frozen" % ROOT},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.stdout == "passed\n", done.stdout + done.stderr
