# SPDX-License-Identifier: MIT
"""The power goes at random moments of real updates, on both interpreters; the end is the same.

SIGKILL at a moment that the seed chooses; the supervisor starts the device again.  A failing run prints its seed:
TRUEBOOT_TEST_SEED=N repeats it (the moments, not the scheduler's choices).
"""

import json
import os
import random
from itertools import pairwise

import pytest

from trueboot import fleet
from trueboot.demo import expect
from trueboot.demo.story import micropython_lacks
from trueboot.demo.world import world

CUTS = 20
CUTS_AN_UPDATE = 2  # a trial has three boots, and a trial that only ever met cuts is tried three times
UPDATE_S = {"cpython": 1.2, "micropython": 3.0}  # about how long an update takes here, so that cuts meet all of it
SETTLE_S = 60


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """All devices' lives in one world, side by side, each cut at moments of its own: name -> what the end was."""
    runtimes = ("cpython",) if micropython_lacks() else ("cpython", "micropython")
    seed = int(os.environ.get("TRUEBOOT_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"seed {seed}")
    chance = random.Random(seed)
    versions = [f"1.{number}.0" for number in range(CUTS // CUTS_AN_UPDATE + 1)]
    with world(tmp_path_factory.mktemp("power")) as here:
        here.start_server()
        devices = [here.add_device(f"cut-{runtime}", runtime) for runtime in runtimes]
        names = [device.name for device in devices]
        ends = {name: [] for name in names}
        factory = here.make_release(versions[0])
        for device in devices:
            here.provision(device, factory)
            device.power_on()
        for name in names:
            assert here.until(lambda name=name: reported(here, name, versions[0]), SETTLE_S), told(here)
        for _, version in pairwise(versions):
            release = here.make_release(version)
            here.publish(release)
            since = len(here.events)
            fleet.create_job(here.api, version, names, 0)
            for pause, device in moments(chance, devices):
                here.until(lambda: False, pause)
                device.pull_power()
            assert here.until(lambda since=since: here.seen(None, "server", "job.done", since), SETTLE_S), told(
                here, since
            )
            for name in names:
                stored = here.api.get(f"/api/v1/devices/{here.server_info['product_key']}/{name}")
                lies = expect.lies(here.events, name, tuple(versions[1:]))
                proven = (stored["proven_version"], stored["image"])
                ends[name].append((proven, (version, release.sha256), lies, stored))
        yield ends, here.events, seed


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["cpython", "micropython"])
def test_power_cuts_at_random_moments(lived, runtime):
    if runtime == "micropython" and micropython_lacks():
        pytest.skip(f"no MicroPython for this machine: {micropython_lacks()}")
    ends, events, seed = lived
    name = f"cut-{runtime}"
    assert len(ends[name]) == CUTS // CUTS_AN_UPDATE
    for proven, expected, lies, stored in ends[name]:
        assert proven == expected and lies == [], (seed, stored)
    cuts = [event for event in events if event["event"] == "power.cut" and event["device"] == name]
    assert len(cuts) >= CUTS - 2, seed  # two cuts may fall into one start


def moments(chance, devices):
    """(seconds since the last cut of any device, device), in order."""
    times = []
    for device in devices:
        at = 0.0
        for _ in range(CUTS_AN_UPDATE):
            at += chance.uniform(0, UPDATE_S[device.runtime])
            times.append((at, device))
    times.sort(key=lambda one: one[0])
    return [(at - before, device) for (before, _), (at, device) in pairwise([(0.0, None), *times])]


def reported(here, name, version):
    return here.seen(name, "device", "version.reported", version=version)


def told(here, since=0):
    """The story so far, for a failing run."""
    kept = [event for event in here.events[since:] if event["event"] not in ("telemetry", "update.progress")]
    return "\n" + "\n".join(json.dumps(event) for event in kept[-80:])
