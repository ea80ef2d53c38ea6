# SPDX-License-Identifier: MIT
"""Runs a portable test file in the real MicroPython, as a board would: from `.mpy`, in a small heap.

One process runs one file.  It prints a line before and after each test, so
that a crash, an exhausted heap or a time-out is charged to the test that was
running, and the tests behind it are told that they never ran.
"""

from __future__ import annotations

import ast
import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from trueboot import mpy, shorten

DEFAULT_HEAP = "400k"
DEFAULT_TIMEOUT_S = 60
_MARK = "@@trueboot "  # begins each line of the runner's own; see RUNNER

# Runs on MicroPython: argv is the module's name, then those of its tests.
RUNNER = """
import gc, sys
module = __import__(sys.argv[1])
for name in sys.argv[2:]:
    gc.collect()
    print("@@trueboot begin", name)
    try:
        getattr(module, name)()
    except Exception as error:
        sys.print_exception(error, sys.stdout)
        print("@@trueboot failed", name)
    else:
        print("@@trueboot passed", name)
"""


@dataclass
class PortableFile:
    """What a portable test file says about itself, read without importing it."""

    path: Path
    tests: dict[str, int] = field(default_factory=dict)  # name -> line
    heap: str = DEFAULT_HEAP
    timeout_s: int = DEFAULT_TIMEOUT_S

    @classmethod
    def read(cls, path: Path) -> PortableFile:
        found = cls(path)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.tests[node.name] = node.lineno
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                if node.targets[0].id == "HEAP":
                    found.heap = ast.literal_eval(node.value)
                elif node.targets[0].id == "TIMEOUT_S":
                    found.timeout_s = ast.literal_eval(node.value)
        return found


class Board:
    """A folder of `.mpy` files, and the interpreter that runs tests from it."""

    def __init__(self, folder: Path, portable: Path):
        self.folder = folder
        mpy.build(folder, keep=shorten.words(*(source.read_text("utf-8") for source in portable.glob("*.py"))))
        for source in portable.glob("*.py"):
            mpy.compile_file(source, (folder / source.name).with_suffix(".mpy"), "tests/portable/" + source.name)
        self._runner = folder / "run_tests.py"
        self._runner.write_text(RUNNER, encoding="utf-8")

    def run(self, file: PortableFile, names: list[str]) -> dict[str, str]:
        """ "" for each test that passed, else what went wrong."""
        command = [*mpy.interpreter(file.heap), str(self._runner), file.path.stem, *names]
        output, end = _run_bounded(command, self.folder, file.timeout_s)
        return _verdicts(output, end, names)


def _run_bounded(command: list[str], folder: Path, timeout_s: int) -> tuple[str, str]:
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={"PATH": os.environ.get("PATH", "")},  # no MICROPYPATH
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a time-out ends whatever the test started, too
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
        end = "" if process.returncode == 0 else "MicroPython ended with code %d" % process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        end = "no end after %d s" % timeout_s
    return output.decode("utf-8", "backslashreplace"), end


def _verdicts(output: str, end: str, names: list[str]) -> dict[str, str]:
    verdicts: dict[str, str] = {}
    running: str | None = None
    said: list[str] = []
    for line in output.splitlines():
        word, _, name = line.removeprefix(_MARK).partition(" ") if line.startswith(_MARK) else ("", "", "")
        if word == "begin":
            running, said = name, []
        elif word == "passed":
            verdicts[name] = ""
            running, said = None, []
        elif word == "failed":
            verdicts[name] = "\n".join(said)
            running, said = None, []
        else:
            said.append(line)
    last_words = "\n".join([*said, end or "MicroPython ended early"])
    for name in names:
        if name not in verdicts:
            verdicts[name] = last_words if running in (name, None) else "never ran, for %s: %s" % (running, last_words)
    return verdicts
