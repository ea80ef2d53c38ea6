# SPDX-License-Identifier: MIT
"""Portable tests run twice: by pytest as they are, and as `test_x[micropython]` in the real MicroPython.

A file in tests/portable imports no pytest; its tests are plain functions
without arguments.  HEAP = "128k" at its top sets MicroPython's heap for it,
TIMEOUT_S the seconds that all its tests may take together.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

from runtimes import Board, PortableFile
from trueboot import mpy

PORTABLE = Path(__file__).parent / "portable"
sys.path.insert(0, str(PORTABLE))  # its helpers serve other tests, too
_BOARD = pytest.StashKey[Board]()


def pytest_report_header(config):
    reason = mpy.unavailable()
    return "micropython: portable tests %s" % ("skipped: " + reason if reason else "run on it too")


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    collectors = list((yield) or [])
    if file_path.parent == PORTABLE and file_path.match("test_*.py"):
        collectors.append(OnMicroPython.from_parent(parent, path=file_path, name=file_path.name + "[micropython]"))
    return collectors


# Files that take longest, the longest first: a file is one worker's, and a long one that comes last is waited for alone.
LONGEST = (
    "sweep/test_sweep.py",
    "sweep/test_defects.py",
    "faults/",
    "repl/",
    "examples/",
    "e2e/test_power.py",
    "docs/",
    "cli/test_signing.py",
    "portable/test_walk.py",
    "portable/test_offers.py",
    "sweep/",
    "e2e/",
    "server/",
    "portable/test_esp32_slots.py",
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: _place(item.path.relative_to(PORTABLE.parent).as_posix()))


def _place(path):
    return next((number for number, prefix in enumerate(LONGEST) if path.startswith(prefix)), len(LONGEST))


@pytest.fixture(autouse=True, scope="module")
def kept_answers(request):
    """See tests/portable/remembered.py."""
    if not getattr(request.module, "REMEMBERS", False):
        yield
        return
    import remembered

    real = [getattr(module, name) for module, name in remembered.PLACES]
    remembered.signatures()
    yield
    for (module, name), function in zip(remembered.PLACES, real, strict=True):
        setattr(module, name, function)


class OnMicroPython(pytest.File):
    def collect(self):
        self.portable = PortableFile.read(self.path)
        self.verdicts = {}
        for name, line in self.portable.tests.items():
            yield PortableTest.from_parent(self, name=name + "[micropython]", function=name, line=line)

    def verdict(self, function):
        if function not in self.verdicts:
            # One process for all the tests of this file that were selected.
            chosen = [item.function_name for item in self.session.items if item.parent is self]
            self.verdicts = self.board().run(self.portable, chosen)
        return self.verdicts[function]

    def board(self):
        stash = self.config.stash
        if _BOARD not in stash:
            folder = tempfile.TemporaryDirectory(prefix="trueboot-board-")
            self.config.add_cleanup(folder.cleanup)
            stash[_BOARD] = Board(Path(folder.name), PORTABLE)
        return stash[_BOARD]


class PortableTest(pytest.Item):
    def __init__(self, *, function, line, **kwargs):
        super().__init__(**kwargs)
        self.function_name = function
        self.line = line

    def runtest(self):
        reason = mpy.unavailable()
        if reason:
            pytest.skip(reason)
        failure = self.parent.verdict(self.function_name)
        if failure:
            raise FailedOnMicroPython(failure)

    def repr_failure(self, excinfo):
        if isinstance(excinfo.value, (FailedOnMicroPython, mpy.MpyError)):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self):
        return self.path, self.line - 1, self.name


class FailedOnMicroPython(Exception):
    """Carries what MicroPython printed."""
