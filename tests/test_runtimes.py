# SPDX-License-Identifier: MIT
"""The two-interpreter harness tells the truth: each way to fail is seen as a failure of the right test."""

import subprocess
import sys
from pathlib import Path

import pytest

from runtimes import Board, PortableFile
from trueboot import mpy

pytestmark = pytest.mark.skipif(bool(mpy.unavailable()), reason=mpy.unavailable() or "-")

ROOT = Path(__file__).parent.parent
PLANTED = """
import sys
HEAP = "64k"
TIMEOUT_S = 2

def test_passes():
    assert sys.implementation.name == "micropython"

def test_fails():
    print("a word")
    assert 1 == 2, "one is not two"

def test_needs_too_much():
    bytearray(100 * 1024)

def test_exits():
    sys.exit(0)

def test_hangs():
    while True:
        pass

def test_comes_last():
    pass
"""


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    portable = tmp_path_factory.mktemp("portable")
    (portable / "test_planted.py").write_text(PLANTED)
    return Board(tmp_path_factory.mktemp("board"), portable), PortableFile.read(portable / "test_planted.py")


def test_a_file_is_described_without_running_it(planted):
    _, file = planted
    assert list(file.tests) == [line[4:-3] for line in PLANTED.splitlines() if line.startswith("def ")]
    assert (file.heap, file.timeout_s) == ("64k", 2)


def test_pass_failure_and_small_heap_are_told_apart(planted):
    board, file = planted
    verdicts = board.run(file, ["test_passes", "test_fails", "test_needs_too_much", "test_comes_last"])
    assert verdicts["test_passes"] == ""
    assert "a word" in verdicts["test_fails"]
    assert "one is not two" in verdicts["test_fails"]
    assert 'test_planted.py", line 11, in test_fails' in verdicts["test_fails"]
    assert "MemoryError" in verdicts["test_needs_too_much"]
    assert verdicts["test_comes_last"] == ""


def test_an_early_exit_fails_its_test_and_all_behind_it(planted):
    board, file = planted
    verdicts = board.run(file, ["test_passes", "test_exits", "test_comes_last"])
    assert verdicts["test_passes"] == ""
    assert "ended early" in verdicts["test_exits"]
    assert "never ran" in verdicts["test_comes_last"]


def test_a_time_out_fails_its_test_and_all_behind_it(planted):
    board, file = planted
    verdicts = board.run(file, ["test_passes", "test_hangs", "test_comes_last"])
    assert verdicts["test_passes"] == ""
    assert "no end after 2 s" in verdicts["test_hangs"]
    assert "never ran, for test_hangs" in verdicts["test_comes_last"]


def test_a_file_that_does_not_import_fails_every_test(tmp_path):
    (tmp_path / "test_broken.py").write_text("import nothing_of_that_name\ndef test_one():\n    pass\n")
    board = Board(tmp_path / "board", tmp_path)
    verdicts = board.run(PortableFile.read(tmp_path / "test_broken.py"), ["test_one"])
    assert "ImportError" in verdicts["test_one"]


def test_elsewhere_the_other_half_is_skipped_by_name():
    other = (
        "import platform, sys; platform.machine = lambda: 'aarch64'; import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    )
    arguments = ["-rs", "-v", "-p", "no:cacheprovider", "tests/portable/test_utf8.py"]
    done = subprocess.run(
        [sys.executable, "-c", other, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout
    assert "test_utf8.py::test_well_formed PASSED" in done.stdout
    assert "test_utf8.py::test_well_formed[micropython] SKIPPED" in done.stdout
    assert "MicroPython from PyPI exists for x86-64 Linux only, this is linux aarch64" in done.stdout


def test_a_file_that_does_not_compile_is_named(tmp_path):
    (tmp_path / "test_broken.py").write_text("def test_one(a, /):\n    pass\n")
    with pytest.raises(mpy.MpyError, match="tests/portable/test_broken.py"):
        Board(tmp_path / "board", tmp_path)
