# SPDX-License-Identifier: MIT
"""A device whose slots are those of a simulated ESP32 takes firmware, and nothing else."""

import interpreters
import pytest
import registry

REFUSED = """
import json, decada_cloud, enrolled, sweep
world = sweep.load_world(%r)
cloud = decada_cloud.Cloud(world)
device = enrolled.device(cloud, world["root"], world["now"], world["factory"])
enrolled.settle(device, done=lambda agent: cloud.job["state"] not in ("queued", "pushed"))
assert cloud.lies == [], cloud.lies
told = [one for one in cloud.told if one[0] == "failed"][-1]
print(json.dumps({"reason": told[1], "spare": len(device.images["b"])}))
"""


def test_an_app_is_no_firmware(tmp_path):
    """The same images and the same metadata, but for the kind: none of it gets onto the device."""
    here = interpreters.Interpreters(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreters.Firmware, "KIND", "app")
        world = here.world("repository", "firmware")
    (told,) = here.run("cpython", registry.ESP32 + REFUSED % world)
    assert told["reason"].startswith("release_kind"), told
    assert "app" in told["reason"] and "firmware" in told["reason"] and told["spare"] == 0
