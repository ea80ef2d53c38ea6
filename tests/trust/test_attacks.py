# SPDX-License-Identifier: MIT
"""Each attack on a repository is refused, with the same code, on both interpreters."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from cases import NOW, PATH, build

from trueboot import mpy

PORTABLE = Path(__file__).parents[1] / "portable"
CASES = build()


@pytest.fixture(scope="module")
def case_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("trust") / "cases.ndjson"
    with path.open("w") as file:
        for name, case in CASES.items():
            visits = [
                {
                    "files": {key: data.hex() for key, data in visit["files"].items()},
                    "now": visit.get("now", NOW + case.repository.late),
                }
                for visit in case.visits()
            ]
            file.write(
                json.dumps({"name": name, "pinned": case.repository.pinned.hex(), "path": PATH, "visits": visits})
                + "\n"
            )
    return path


@pytest.fixture(scope="module")
def cpython(case_file):
    sys.path.insert(0, str(PORTABLE))
    import trust_driver

    printed = io.StringIO()
    with redirect_stdout(printed):
        trust_driver.main(str(case_file))
    return dict(json.loads(line) for line in printed.getvalue().splitlines())


@pytest.fixture(scope="module")
def micropython(case_file, tmp_path_factory):
    reason = mpy.unavailable()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("trust_board")
    mpy.build(folder)
    mpy.compile_file(PORTABLE / "trust_driver.py", folder / "trust_driver.mpy", "trust_driver.py")
    code = "import trust_driver; trust_driver.main(%r)" % str(case_file)
    ran = subprocess.run(
        [*mpy.interpreter("1M"), "-c", code], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr
    return dict(json.loads(line) for line in ran.stdout.splitlines())


@pytest.mark.parametrize("name", CASES)
def test_verdict_on_cpython(cpython, name):
    check(cpython[name], CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_verdict_on_micropython(micropython, name):
    check(micropython[name], CASES[name])


def check(found, case):
    """`found`: [verdict, number of files asked for] of each visit."""
    for (code, asked), visit in zip(found, case.visits(), strict=True):
        assert code == visit["code"]
        assert asked == visit.get("asked", asked)
