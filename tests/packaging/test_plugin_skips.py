# SPDX-License-Identifier: MIT
"""In CI, a test that could have run must have run."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEST = """
import pytest

def test_runs():
    pass

@pytest.mark.skipif(True, reason={reason!r})
def test_skips():
    pass
"""


def pytest_in(folder, reason, ci, *more):
    (folder / "test_it.py").write_text(TEST.format(reason=reason))
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"CI": "true"} if ci else {})
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.plugin_skips",
        "-q",
        "-c",
        os.devnull,
        "--rootdir",
        str(folder),
        str(folder),
        *more,
    ]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


def test_unknown_reason_fails_ci(tmp_path):
    done = pytest_in(tmp_path, "I did not feel like it", ci=True)
    assert done.returncode == 1
    assert "test_skips: I did not feel like it" in done.stdout
    assert "1 passed, 1 skipped" in done.stdout.splitlines()[-1]


def test_unknown_reason_fails_ci_in_a_process_of_its_own(tmp_path):
    done = pytest_in(tmp_path, "I did not feel like it", True, "-n", "1")
    assert done.returncode == 1
    assert "test_skips: I did not feel like it" in done.stdout


def test_listed_reason_passes_ci(tmp_path):
    assert pytest_in(tmp_path, "TRUEBOOT_TEST_UF2 is not set", ci=True).returncode == 0


def test_elsewhere_nothing_changes(tmp_path):
    assert pytest_in(tmp_path, "I did not feel like it", ci=False).returncode == 0


def test_every_listed_reason_says_why():
    for line in (ROOT / "tests" / "allowed_skips.txt").read_text().splitlines():
        assert not line.strip() or "#" in line, line
