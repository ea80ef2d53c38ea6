# SPDX-License-Identifier: MIT
"""The power is cut at every change that an update makes on the card of a Raspberry Pi, and planted defects are found.

TRUEBOOT_SWEEP=all cuts twice at many more places: minutes.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "portable")]
import defects  # noqa: E402
import life  # noqa: E402


@pytest.fixture
def card(tmp_path):
    """A folder in RAM where there is one: thousands of small files come and go."""
    if not os.path.isdir("/dev/shm"):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="trueboot-") as folder:
        yield Path(folder)


ALL = os.environ.get("TRUEBOOT_SWEEP") == "all"


@pytest.mark.parametrize("kind", life.KINDS)
def test_no_cut_bricks_or_lies(card, monkeypatch, kind):
    every, second = (1, 7) if ALL else (1 if kind == life.HEALTHY else 4, 0)
    found = life.sweep(card, monkeypatch, kind, every, second)
    print(found)
    assert found["problems"] == []
    assert found["effects"] > 60 and found["lives"] > 0.7 * found["effects"]


def test_a_second_cut_in_the_recovery(card, monkeypatch):
    found = life.sweep(card, monkeypatch, life.HEALTHY, 19, 29)
    print(found)
    assert found["problems"] == []


@pytest.mark.parametrize("name", defects.DEFECTS)
def test_a_planted_defect_is_caught(card, monkeypatch, name):
    defects.plant(name, monkeypatch)
    found = (life.sweep(card, monkeypatch, kind, 4, 0, True) for kind in life.KINDS)
    assert any(one["count"] for one in found), "the cuts did not bring it to light: " + name
