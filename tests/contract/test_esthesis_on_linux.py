# SPDX-License-Identifier: MIT
"""What of esthesis only Linux does: programs by a list, with bounds; a key from outside in the software key store; health."""

import hashlib
import stat

import pytest

import rsa_by_hand
import test_esthesis_agent as portable
from agent.errors import RefusedError
from agent.runtime import Agent
from platform_adapters.keystores.software import SoftwareKeys
from platform_adapters.linux_health import health


def replied(config, *texts):
    device, cloud = portable.start(dict({"commands": "efs"}, **config))
    cloud.commands = ["%024x %s" % (number, text) for number, text in enumerate(texts)]
    platform = device.power_on()
    agent = Agent(platform)
    for _ in range(200_000):
        agent.step(20)
        platform.clock.sleep_ms(1)
        if len(cloud.replies) == len(texts):
            assert cloud.lies == []
            return [reply[1:] for reply in cloud.replies]
    raise AssertionError(cloud.replies)


def test_a_program_of_the_list_runs_without_a_shell():
    assert replied({"programs": "/bin/echo"}, "es /bin/echo a b;c $HOME") == [("s", "a b;c $HOME")]
    assert replied({"programs": "/bin/false"}, "ea /bin/false") == [("f", "exit status 1: ")]
    ((verdict, why),) = replied({"programs": "/bin/echo"}, "es /bin/ls /")
    assert verdict == "f" and "programs" in why
    assert replied({"shutdown_program": "/bin/true"}, "ss") == [("s", "")]


def test_time_and_output_are_bounded():
    ((verdict, why),) = replied({"programs": "/bin/sleep", "program_timeout_s": 1}, "es /bin/sleep 600")
    assert (verdict, why) == ("f", "killed after 1 s: ")
    ((verdict, why),) = replied({"programs": "/usr/bin/yes", "program_timeout_s": 3600}, "es /usr/bin/yes")
    assert verdict == "f" and why.startswith("killed after 16384 bytes") and len(why) < 17_000


def test_an_adopted_key_is_private_and_signs_as_boards_do(tmp_path):
    keys = SoftwareKeys(tmp_path / "keys")
    keys.adopt("foreign", rsa_by_hand.DER)
    assert stat.S_IMODE(keys.file("foreign").stat().st_mode) == 0o600
    assert keys.sign_rsa("foreign", b"dev1") == rsa_by_hand.SIGNATURE
    with pytest.raises(RefusedError):
        keys.adopt("other", hashlib.sha256(b"x").digest())
    assert not keys.has("other")


def test_health_tells_what_the_kernel_does(tmp_path):
    found = health()
    assert found["memoryTotal"] == found["memoryUsed"] + found["memoryFree"] > 0 and found["loadAverage1"] >= 0
    assert "memoryTotal" not in health(str(tmp_path / "none"))
