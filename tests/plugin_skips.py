# SPDX-License-Identifier: MIT
"""A pytest plugin: with CI=true, a test that could have run must have run.

Every skip's reason must match a line of `tests/allowed_skips.txt` (shell patterns, `#` comments); any other
skip fails the run and is named.  Without CI=true it changes nothing.
"""

import fnmatch
import os
from pathlib import Path

import pytest

ALLOWED = Path(__file__).with_name("allowed_skips.txt")


def allowed_patterns(text: str) -> list[str]:
    lines = (line.split("#", 1)[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def reason_of(report) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(getattr(report, "wasxfail", "") or report.longrepr)


class SkipGuard:
    def __init__(self, patterns: list[str]):
        self.patterns = patterns
        self.unexpected: list[tuple[str, str]] = []

    def note(self, report) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = reason_of(report)
            if not any(fnmatch.fnmatch(reason, pattern) for pattern in self.patterns):
                self.unexpected.append((report.nodeid, reason))

    pytest_runtest_logreport = note
    pytest_collectreport = note

    def pytest_sessionfinish(self, session) -> None:
        if self.unexpected and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter) -> None:
        if self.unexpected:
            terminalreporter.section("skipped, but CI must run them (tests/allowed_skips.txt)", red=True)
            for nodeid, reason in self.unexpected:
                terminalreporter.line(f"{nodeid}: {reason}")


def pytest_configure(config) -> None:
    if os.environ.get("CI") == "true":
        config.pluginmanager.register(SkipGuard(allowed_patterns(ALLOWED.read_text())), "skip-guard")
