# SPDX-License-Identifier: MIT
"""The device asks by itself, in both dialects: when, how far it goes, and what it passes over."""

import json

import decada_cloud
import enrolled
import test_esthesis_agent
from agent.runtime import Agent
from agent.wire import appimage
from expect import misuse
from platform_adapters import memory
from tuf_repo import NOW, Repo, digest

HEAP = "2M"
TIMEOUT_S = 240
PATH, FACTORY, IMAGE = test_esthesis_agent.PATH, test_esthesis_agent.FACTORY, test_esthesis_agent.IMAGE
BAD = appimage.build({"main.py": b"version = 3\n" * 300})
REST_MS = 60_000


class Decada(decada_cloud.Cloud):
    """It pushes nothing; what there is, getversion tells: a list, as EnOS's documents have it, our members beside."""

    asked = None
    others = ()

    def on_publish(self, device, topic, payload, qos):
        message = json.loads(payload)
        if not topic.endswith("getversion"):
            return super().on_publish(device, topic, payload, qos)
        self.asked = (self.asked or []) + [(device.now_ms, message["params"])]
        offer = json.loads(self._push()[1])["params"]
        data = [dict(offer, **other) for other in self.others] + [offer]
        reply = {"id": message["id"], "code": 200, "message": "", "data": data}
        device.push(topic + "_reply", json.dumps(reply).encode())


def decada(**config):
    """(device, cloud) of an enrolled device."""
    repo = Repo().add(PATH, IMAGE)
    world = {"files": repo.files, "image": IMAGE, "sha256": digest(IMAGE), "version": "1.1.0", "target": PATH}
    cloud = Decada(dict(world, silent=True))
    device = enrolled.device(cloud, repo.files["1.root.json"], NOW, FACTORY)
    device.config = dict(device.config, **config)
    return device, cloud


def live(device, hours=3, until=None, approve=None, before=None, healthy=True):
    """Hours of a device's life, over resets, in steps as long as it wants to rest; gives the last agent."""
    end = device.now_ms + hours * 3_600_000
    agent = None
    while device.now_ms < end:
        platform = device.power_on()
        agent = Agent(platform, healthy=lambda: healthy, approve=approve)
        if before:
            before(agent)
            before = None
        try:
            while device.now_ms < end:
                rest = agent.step(20)
                if until and until(agent):
                    return agent
                calm = agent.waiting or not (agent._tasks or agent.uplink.waiting) and agent.uplink.informed
                platform.clock.sleep_ms(REST_MS if calm else max(1, min(rest, 100)))
        except memory.Reset:
            continue
    assert until is None, (agent.status(), device.events[-5:])
    return agent


def logged(device, name):
    return [fields for event, fields in device.events if event == name]


def test_off_asks_for_nothing_and_a_wish_for_no_more_than_news():
    device, cloud = decada()
    live(device, 6)
    assert cloud.asked is None and logged(device, "update.check") == []
    agent = live(device, 1, lambda agent: agent.status()["available"], before=lambda agent: agent.check_for_update())
    assert agent.status()["available"] == "1.1.0" and agent.status()["phase"] == "idle"
    assert cloud.asked[0][1] == {"version": "1.0.0", "wanted": "latest"}
    misuse("auto_update", agent.check_for_update, "now")


def test_install_updates_and_reports_in_both_dialects():
    device, cloud = decada(auto_update="install")
    live(device, until=lambda agent: agent.status()["version"] == "1.1.0" and agent.uplink.informed)
    assert cloud.lies == [] and cloud.job["state"] == "updated"
    device, cloud = test_esthesis_agent.start({"auto_update": "install"})
    live(device, until=test_esthesis_agent.updated)
    assert cloud.lies == [] and [one["outcome"] for one in cloud.reports] == ["running", "trial", "updated"]
    live(device, 27)
    assert logged(device, "update.none") and len(cloud.finds) < 6  # it asks on, and there is nothing


def test_download_stops_at_the_last_gate_until_somebody_says_yes():
    device, cloud = decada(auto_update="download")
    agent = live(device, 4)
    assert agent.status()["phase"] == "staged" and agent.status()["waiting"] == "consent to activate"
    live(device, 1, lambda agent: agent.status()["version"] == "1.1.0", approve=lambda stage, release: "yes")
    assert cloud.lies == []


def test_check_tells_and_does_no_more():
    device, cloud = decada(auto_update="check")
    agent = live(device, 2)
    assert agent.status()["available"] == "1.1.0" and agent.status()["phase"] == "idle"
    assert device.images["b"] == b"" and logged(device, "update.available") == [{"version": "1.1.0"}]


def test_intervals_are_spread_and_no_check_costs_a_write():
    device, cloud = decada(auto_update="check", auto_update_interval_s=3600)
    live(device, 25)
    times = [at for at, _ in cloud.asked]
    gaps = [times[at + 1] - times[at] for at in range(len(times) - 1)]
    assert len(times) >= 18 and min(gaps) >= 2_600_000 and max(gaps) <= 4_600_000 and len(set(gaps)) > 9
    written = [name for name in device.trace if name.startswith("store.save journal")]
    assert device.boots == 2 and len(written) <= 3, written


def test_the_last_check_is_known_over_a_reset_where_the_clock_is_set():
    device, cloud = decada(auto_update="check")
    agent = live(device, 2)
    agent.defer(1)  # a write that is made anyway
    count = len(cloud.asked)
    for _ in range(5):
        live(device, 2)
    assert len(cloud.asked) == count == 1


def test_a_pinned_version_is_the_only_one():
    device, cloud = decada(auto_update="install", auto_update_version="2.0.0")
    agent = live(device, 2)
    assert agent.status()["version"] == "1.0.0" and cloud.asked[0][1]["wanted"] == "2.0.0"
    assert logged(device, "update.none")


def test_the_newest_of_a_list_is_taken_and_what_is_not_newer_passed_over():
    device, cloud = decada(auto_update="check")
    cloud.others = ({"version": "0.9.0"}, {"version": "1.0.0"}, {"version": "1.1.0-rc.1"})
    assert live(device, 2).status()["available"] == "1.1.0"
    device, cloud = decada(auto_update="install")
    cloud.world["offer"] = {"version": "0.9.0"}
    agent = live(device, 2)
    assert agent.status()["available"] == "" and agent.status()["phase"] == "idle"
    assert not [one for one in cloud.told if one[0] == "failed"]


def test_what_failed_its_trial_is_not_fetched_again_each_day():
    device, cloud = decada(auto_update="install", auto_update_interval_s=3600)
    live(device, 3, healthy=False)
    assert len(logged(device, "update.trial")) == 1 and len(cloud.asked) >= 2


def test_the_window_is_kept():
    device, cloud = decada(auto_update="install", window="03:00-04:00")
    agent = live(device, 3, lambda agent: agent.status()["phase"] == "staged")
    agent = live(device, 1, lambda agent: agent.status()["waiting"])
    assert agent.status()["waiting"] == "the window 03:00-04:00"
