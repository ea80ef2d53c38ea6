# SPDX-License-Identifier: MIT
"""TPMs in software for tests; `tests/tpm` and `tests/contract` run the same checks over keys in files and in a TPM."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
for folder in (TESTS / "portable", TESTS / "contract"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from far_end import Authority  # noqa: E402

from trueboot.demo import swtpm  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def tpm_here():
    if reason := swtpm.lacks():
        pytest.skip("no TPM in software: " + reason)


@pytest.fixture(scope="session")
def maker(tmp_path_factory, tpm_here):
    return swtpm.Maker(tmp_path_factory.mktemp("maker"))


@pytest.fixture
def chip(tmp_path):
    """A fresh TPM, running; it has no maker's certificate."""
    made = swtpm.Swtpm(tmp_path / "chip").start()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def authority():
    return Authority("TPM test CA")
