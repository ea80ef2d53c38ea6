# SPDX-License-Identifier: MIT
"""One campaign over 200 devices of both dialects on both interpreters: 5 % first, a bad release halted by its failures, the
good one completed.  A browser has the campaign's page open meanwhile, which follows by itself."""

import json
import time

import pytest
import watch

from trueboot.demo.crowd import Crowd
from trueboot.demo.story import micropython_lacks
from trueboot.demo.world import ESTHESIS, World
from trueboot.images import build
from trueboot.releases import Release

FACTORY, BAD, GOOD = "1.0.0", "1.1.0", "1.2.0"
DEVICES = 200
PROCESSES = [  # interpreter, dialect, devices
    ("cpython", "decada", 90),
    ("cpython", "esthesis", 90),
    ("micropython", "decada", 10),
    ("micropython", "esthesis", 10),
]
LOOK_S = 1
PATIENCE_S = 240  # of one step, on a machine that has much else to do


def release(version):
    files = {"main.py": b"# an app of a few bytes\n", "app_version.py": b"VERSION = %r\n" % version.encode()}
    return Release("app", "sim", version, build(files))


@pytest.fixture
def here(tmp_path):
    world = World(tmp_path)
    world.start_server()
    yield world
    world.stop()


def until(reached, crowd, what):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := reached()):
        assert not crowd.ended(), crowd.ended()
        assert time.monotonic() < deadline, what()
        time.sleep(LOOK_S)
    return found


def test_a_bad_release_reaches_ten_devices_and_the_good_one_all_two_hundred(here, tmp_path):
    if lacking := micropython_lacks():
        pytest.skip(f"no MicroPython for this machine: {lacking}")
    if watch.lacks:
        pytest.skip(watch.lacks)
    api, factory = here.api, release(FACTORY)
    here.publish(release(BAD))
    here.publish(release(GOOD))
    here.make_product()
    api.post(f"/api/v1/products/{ESTHESIS}/policy", {"registration": "OPEN"})
    with (
        Crowd(tmp_path / "crowd", here.server_info, factory, bad=(BAD,)) as crowd,
        watch.Watch(tmp_path / "browser", here.server_info) as page,
    ):
        first = 0
        for runtime, cloud, count in PROCESSES:
            keys = [f"{runtime}-{cloud}-{number:03}" for number in range(first, first + count)]
            crowd.start(runtime, keys, cloud)
            first += count

        def proven(version):
            rows = api.get("/api/v1/devices?limit=1000")["devices"]
            return [row["device_key"] for row in rows if row["proven_version"] == version]

        there, last = set(), 0

        def all_there():
            nonlocal last
            events, last = api.events(last, 0)
            there.update(event["device_key"] for event in events if event["event"] == "version.reported")
            return len(there) == DEVICES

        until(all_there, crowd, lambda: f"{len(there)} of {DEVICES} are there")
        assert len(proven(FACTORY)) == DEVICES

        body = {"phases": ["5%"], "max_failures": "20%", "success": 80, "scope": {"products": "all"}}
        bad = api.post("/api/v1/campaigns", {**body, "version": BAD, "name": "bad"})
        assert bad["counts"]["devices"] == DEVICES and bad["phases"][0]["devices"] == 10

        page.open(f"/ui/jobs/{bad['id']}")

        def shown(campaign):
            return api.get(f"/api/v1/campaigns/{campaign['id']}")

        def ended(campaign):
            now = shown(campaign)
            return now if now["state"] in ("done", "halted") else None

        halted = until(lambda: ended(bad), crowd, lambda: json.dumps(shown(bad)["counts"]))
        assert (halted["state"], halted["phase"]) == ("halted", 1) and "failed, and 2 may" in halted["reason"]
        assert halted["phases"][1]["waiting"] == DEVICES - 10
        page.sees(halted["reason"])
        page.look("200-halted")
        until(lambda: not shown(bad)["counts"]["begun"], crowd, lambda: json.dumps(shown(bad)["counts"]))
        after = shown(bad)["counts"]
        assert after["proven"] == 0 and after["failed"] + after["cancelled"] == 10
        assert len(proven(FACTORY)) == DEVICES  # who had tried it is back

        good = api.post("/api/v1/campaigns", {**body, "newest": True, "name": "good", "at_once": 60})
        page.open(f"/ui/jobs/{good['id']}")
        done = until(lambda: ended(good), crowd, lambda: json.dumps(shown(good)["counts"]))
        assert (done["state"], done["version"], done["counts"]["proven"]) == ("done", GOOD, DEVICES), done["failures"]
        assert len(proven(GOOD)) == DEVICES
        page.sees(f"{DEVICES} of {DEVICES} proven")
        page.look("200-done")
