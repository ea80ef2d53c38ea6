# SPDX-License-Identifier: MIT
"""Cannot brick, cannot lie, on the card of a Raspberry Pi: the real agent, its files, its slots, and the cuts.

TRUEBOOT_SWEEP=all leaves no effect out: minutes.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "sweep")]
import defects  # noqa: E402
import whole  # noqa: E402
import world as release  # noqa: E402
from pi import NEW, OLD  # noqa: E402

import sweep  # noqa: E402
from agent.crypto import p256, p256_comb, p256_sign  # noqa: E402
from agent.wire import appimage  # noqa: E402

EVERY = 1 if os.environ.get("TRUEBOOT_SWEEP") == "all" else 24


class Systems:
    """Builds systems where the world builds app images."""

    KIND = "system"

    @staticmethod
    def build(files):
        return appimage.build(NEW if b"2" in files["main.py"] else OLD)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(release, "appimage", Systems)
        return sweep.load_world(release.write(tmp_path_factory.mktemp("pi_world"), "repository"))


@pytest.fixture
def card(monkeypatch, tmp_path):
    """A folder in RAM where there is one: thousands of small files come and go."""
    for module, name in ((p256_sign, "public"), (p256_sign, "sign"), (p256, "verify"), (p256_comb, "verify")):
        monkeypatch.setattr(module, name, sweep.Remembered(getattr(module, name)))
    monkeypatch.setattr(p256_comb, "make", sweep.Remembered(p256_comb.make))
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else tmp_path) as folder:
        whole.plug(monkeypatch, Path(folder))
        gc.freeze()  # the agent collects before it dials; what pytest holds need not be looked at each time
        yield
        gc.unfreeze()


@pytest.mark.parametrize("healthy", [True, False], ids=["good", "bad"])
def test_no_cut_bricks_or_lies(card, world, healthy):
    found = whole.swept(world, healthy, EVERY)
    print(found)
    assert found["problems"] == []
    assert found["effects"] > 150 and found["lives"] > 1.5 * found["effects"] / EVERY


@pytest.mark.parametrize(
    "name", ["autoboot.txt removed first", "confirm is not synced", "the default before its trial"]
)
def test_a_planted_defect_is_caught(card, world, monkeypatch, name):
    defects.plant(name, monkeypatch)
    assert any(whole.swept(world, healthy, EVERY, True)["count"] for healthy in (True, False)), name
