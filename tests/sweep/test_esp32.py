# SPDX-License-Identifier: MIT
"""The sweep of the whole agent again, on a device whose slots are those of a simulated ESP32."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from platform_adapters.memory_esp32 import image
from trueboot import mpy, shorten

sys.path.insert(0, str(Path(__file__).parent))
import world as release  # noqa: E402

ROOT = Path(__file__).parents[2]
PORTABLE = ROOT / "tests" / "portable"
TIMEOUT_S = 240
CODE = """
import sweep
from platform_adapters import memory, memory_esp32_device
memory.Device = memory_esp32_device.Device
sweep.main(%r, %d, "")
"""

REFUSED = """
import json, decada_cloud, enrolled, sweep
from platform_adapters import memory, memory_esp32_device
memory.Device = memory_esp32_device.Device
world = sweep.load_world(%r)
cloud = decada_cloud.Cloud(world)
device = enrolled.device(cloud, world["root"], world["now"], world["factory"])
enrolled.settle(device, done=lambda agent: cloud.job["state"] not in ("queued", "pushed"))
assert cloud.lies == [], cloud.lies
told = cloud.told[-1] if cloud.told[-1][0] == "failed" else [one for one in cloud.told if one[0] == "failed"][-1]
print(json.dumps({"outcome": told[0], "reason": told[1], "spare": len(device.images["b"])}))
"""


class Firmware:
    """Builds firmware where the world builds app images."""

    KIND = "firmware"

    @staticmethod
    def build(files):
        return image(b"".join(files.values()) + bytes(600))  # more than one sector


@pytest.fixture(scope="session")
def world_file(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(release, "appimage", Firmware)
        return release.write(tmp_path_factory.mktemp("sweep_esp32"), "repository")


def swept(output):
    good, bad = [json.loads(line) for line in output.splitlines()]
    assert good["problems"] == [] and bad["problems"] == []
    assert good["effects"] > 50 and good["lives"] == 3 * good["effects"] + 1


def run(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_app_is_no_firmware(tmp_path):
    """The same images and the same metadata, but for the kind: none of it gets onto the device."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(release, "appimage", Firmware)
        patch.setattr(Firmware, "KIND", "app")
        world = release.write(tmp_path, "repository")
    path = "import sys; sys.path[:0] = [%r, %r, %r]" % (str(ROOT), str(ROOT / "tools"), str(PORTABLE))
    told = json.loads(run([sys.executable, "-c", path + REFUSED % str(world)], ROOT))
    assert told["outcome"] == "failed" and told["reason"].startswith("release_kind"), told
    assert "app" in told["reason"] and "firmware" in told["reason"] and told["spare"] == 0


def test_no_cut_bricks_or_lies(world_file):
    path = "import sys; sys.path[:0] = [%r, %r, %r]" % (str(ROOT), str(ROOT / "tools"), str(PORTABLE))
    swept(run([sys.executable, "-c", path + CODE % (str(world_file), 0)], ROOT))


def test_no_cut_bricks_or_lies_on_micropython(world_file, tmp_path):
    reason = mpy.unavailable()
    if reason:
        pytest.skip(reason)
    sources = list(PORTABLE.glob("*.py"))
    mpy.build(tmp_path, keep=shorten.words(*(path.read_text("utf-8") for path in sources)))
    for source in sources:
        mpy.compile_file(source, tmp_path / (source.stem + ".mpy"), source.name)
    swept(run([*mpy.interpreter("2M"), "-c", CODE % (str(world_file), 0)], tmp_path))
