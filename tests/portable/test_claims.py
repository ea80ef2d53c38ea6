# SPDX-License-Identifier: MIT
"""What a device says of itself: at each boot, on trial, after a fallback, and when its image changes as it runs."""

import binascii
import json

import decada_cloud
import enrolled
from agent import runtime, states, update
from agent.errors import DeviceError
from agent.runtime import Agent
from agent.tasks import measure
from agent.wire import appimage
from platform_adapters import memory
from test_offers import FACTORY, IMAGE, NOW, digest, record, repo, world

HEAP = "2M"
TIMEOUT_S = 120
DAY_MS = 86_400_000
CONFIRMED = {"phase": "idle", "version": "1.1.0", "image": digest(IMAGE), "floor": 0, "slot": "", "release": None}
CONFIRMED.update({"tries": 0, "failure": "", "refused": []})


class Witness(decada_cloud.Cloud):
    """Keeps the claims of every report, and the messages that they came with; `deaf` drops what it hears."""

    def __init__(self, the_world):
        super().__init__(the_world)
        self.heard = []
        self.deaf = False

    def on_publish(self, device, topic, payload, qos):
        params = json.loads(payload).get("params", {})
        if "report" in params:
            self.heard.append((topic.split("/")[-1], params.get("version"), claims_of(params["report"])))
        if not self.deaf:
            super().on_publish(device, topic, payload, qos)


def claims_of(jws):
    text = jws.split(".")[1].replace("-", "+").replace("_", "/")
    return json.loads(binascii.a2b_base64(text + "=" * (-len(text) % 4)))


def updated(**custom):
    """(device, cloud): 1.1.0 is confirmed and told."""
    r = repo(**custom)
    cloud = Witness(dict(world(r), fallback=True))
    device = enrolled.device(cloud, r.files["1.root.json"], NOW, FACTORY)
    enrolled.settle(device, done=lambda agent: cloud.job["state"] == "updated")
    assert cloud.lies == [], cloud.lies
    return device, cloud


def fall_back(device):
    """As a boot loader does that loses its record: the first slot boots."""
    device.boot = [b"", b""]


def live(device, ms=2000, agent=None):
    agent = agent or Agent(device.power_on())
    end = agent.platform.clock.ticks_ms() + ms
    while agent.platform.clock.ticks_ms() < end:
        agent.platform.clock.sleep_ms(max(min(agent.step(20), 60_000), 1))
    return agent


def last(cloud):
    return cloud.heard[-1]


def test_a_trial_says_so_for_its_attempt_and_never_in_the_version_field():
    device, cloud = updated()
    trials = [entry for entry in cloud.heard if entry[2]["outcome"] == "trial"]
    assert [(topic, version) for topic, version, _ in trials] == [("progress", None)]
    claims = trials[0][2]
    assert (claims["version"], claims["target_version"], claims["image"]) == ("1.1.0", "1.1.0", digest(IMAGE))
    assert (claims["job"], claims["nonce"], claims["slot"], claims["measured"]) == ("7", "n7", "b", "boot")
    assert [entry[2]["outcome"] for entry in cloud.heard] == ["running", "trial", "updated"], cloud.heard
    assert [entry[2]["seq"] for entry in cloud.heard] == [1, 2, 3], cloud.heard


def on_trial():
    """(device, cloud) after the boot that begins the trial, the cloud deaf."""
    r = repo()
    cloud = Witness(world(r))
    device = enrolled.device(cloud, r.files["1.root.json"], NOW, FACTORY)
    device.config = dict(device.config, trial_timeout_ms=200_000)
    try:
        live(device, 60_000)
    except memory.Reset:
        pass
    cloud.deaf = True
    cloud.heard = []
    return device, cloud


def test_a_trial_writes_its_counters_and_nothing_else():
    device, cloud = on_trial()
    effects = len(device.trace)
    live(device, 90_000)  # asked again and again
    saves = [name for name in device.trace[effects:] if name.startswith(("store.", "slots."))]
    # the counters, and that it is on trial
    assert [name[:-1] for name in saves] == ["store.save journal."] * 2, saves
    said = [claims for _, _, claims in cloud.heard if claims["outcome"] == "trial"]
    assert len(said) > 2 and [claims for claims in said if claims != said[0]] == [], said


def test_a_trial_does_not_overtake_reports_that_wait():
    device, cloud = on_trial()
    agent = Agent(device.power_on())
    waiting = {"outcome": "failed", "seq": agent.record["seq"], "job": "6", "nonce": "n6", "reason": "busy", "step": -1}
    waiting.update({"target_version": "1.0.9", "version": "1.0.0", "image": digest(FACTORY), "slot": "a", "boot": 1})
    agent.save(outbox=[waiting])
    live(device, 40_000, agent)
    assert cloud.heard == [] and record(device)["update"]["phase"] == "trial"
    cloud.deaf = False  # the contact counts, with a report or without; then all is told, in order
    live(device, 40_000)
    assert [claims["outcome"] for _, _, claims in cloud.heard] == ["failed", "updated"]
    assert cloud.job["state"] == "updated"


def test_a_boot_tells_its_own_report_after_one_that_waited():
    device, cloud = updated()
    agent = Agent(device.power_on())
    waiting = dict(cloud.heard[-1][2], seq=agent.record["seq"] + 1, reason="already running")
    agent.save(seq=waiting["seq"], outbox=[waiting])
    cloud.job["state"] = "ended"
    cloud.heard = []
    live(device)
    assert [claims["outcome"] for _, _, claims in cloud.heard] == ["updated", "running"], cloud.heard
    assert cloud.heard[0][2]["boot"] < cloud.heard[1][2]["boot"] and cloud.lies == [], cloud.lies


def test_a_silent_fallback_is_told_at_the_next_boot():
    device, cloud = updated()
    fall_back(device)
    agent = live(device)
    topic, version, claims = last(cloud)
    assert (topic, version, claims["version"], claims["image"]) == ("inform", "1.0.0", "1.0.0", digest(FACTORY))
    assert (claims["outcome"], claims["reason"], claims["job"]) == ("fell_back", "fell back from 1.1.0", None)
    assert agent.status()["version"] == "1.0.0" and record(device)["update"]["image"] == digest(FACTORY)
    assert record(device)["last"]["outcome"] == "updated"  # what became of the update
    live(device)
    assert [c["outcome"] for _, _, c in cloud.heard[-2:]] == ["fell_back", "running"]
    assert cloud.lies == [], cloud.lies


def test_no_cut_loses_or_doubles_the_word_of_a_fallback():
    """Boot counter, then state and report in one save: cut before, in and after each."""
    r = repo()
    for at in range(1, 6):
        for way in (memory.BEFORE, memory.TORN, memory.AFTER):
            cloud = Witness(dict(world(r), fallback=True))
            cloud.job["state"] = "none"
            device = enrolled.device(cloud, r.files["1.root.json"], NOW, FACTORY, update=dict(CONFIRMED))
            device.cuts = {device.effects + at: way}
            device.tears_records = True
            for _ in range(4):
                try:
                    live(device)
                except memory.PowerCut:
                    pass
            told = [entry for entry in cloud.told if entry[0] == "fell_back"]
            assert told == [("fell_back", "fell back from 1.1.0")] and cloud.lies == [], (
                at,
                way,
                cloud.told,
                cloud.lies,
            )


def test_below_the_floor_it_says_so_at_each_boot_and_may_only_update():
    device, cloud = updated(security=3)
    fall_back(device)
    asked = []

    def boot():
        agent = Agent(device.power_on(), on_command=lambda name, args: asked.append(name))
        agent.publish("climate", {"temperature": 1})
        return live(device, 2000, agent)

    agent = boot()
    reason = "fell back from 1.1.0"
    assert [last(cloud)[2][name] for name in ("outcome", "reason", "floor")] == ["below_floor", reason, 3]
    agent = boot()
    reason = "security 0 is below the floor 3"
    assert [last(cloud)[2][name] for name in ("outcome", "reason", "version")] == ["below_floor", reason, "1.0.0"]
    assert agent.status()["below_floor"]
    device.push("/sys/pk/dk/thing/service/blink", b'{"id": "1", "params": {}}')
    live(device, 2000, agent)
    assert asked == [] and [name for name in device.trace if "measurepoint" in name] == []
    cloud.job["state"] = "queued"  # it is offered again, and takes it
    enrolled.settle(device, done=lambda agent: cloud.job["state"] == "updated")
    agent = boot()
    assert not agent.status()["below_floor"] and last(cloud)[2]["outcome"] == "running"
    assert [name for name in device.trace if "measurepoint" in name] != []
    assert cloud.lies == [], cloud.lies


HONEST = ("2.0.0", "0.9.0", "1.0.0", "by hand")


def other_image():
    return appimage.build({"main.py": b"version = 9\n"})


def test_a_slot_written_by_cable_is_told_with_its_version_and_hash():
    for version, outcome, reason in (
        ("2.0.0", "running", "runs 2.0.0, not the confirmed 1.0.0"),
        ("0.9.0", "fell_back", "fell back from 1.0.0"),
        ("1.0.0", "running", "image changed"),
        ("by hand", "running", "runs by hand, not the confirmed 1.0.0"),
        (None, "fell_back", "fell back from 1.0.0"),
        ("\x1b[2J", "fell_back", "fell back from 1.0.0"),
        (7, "fell_back", "fell back from 1.0.0"),
    ):
        r = repo()
        cloud = Witness(dict(world(r), fallback=True))
        cloud.job["state"] = "none"
        device = enrolled.device(cloud, r.files["1.root.json"], NOW, FACTORY)
        live(device)
        device.images["a"] = other_image()
        device.notes["a"] = json.dumps({"version": version}) if version else None
        agent = live(device)
        claims = last(cloud)[2]
        assert (claims["outcome"], claims["reason"]) == (outcome, reason), claims
        assert claims["version"] == agent.status()["version"] == (version if version in HONEST else "0.0.0")
        assert claims["image"] == digest(other_image()) and cloud.lies == [], cloud.lies


def test_the_journal_follows_in_every_phase_and_the_phase_stays():
    """What the machine does then is what it does anyway."""
    plain = {"slot": "a", "confirmed": True, "failure": ""}
    release = {"version": "1.1.0", "sha256": digest(IMAGE), "security": 0, "job": "1", "nonce": "n"}
    started = states.initial("1.0.0", digest(FACTORY))
    phases = [
        started,
        dict(started, phase="offered", release=release),
        dict(started, phase="fetching", release=release),
    ]
    phases.append(dict(started, phase="staged", release=release))
    phases += [dict(state, slot="b", tries=1, phase=phase) for state in phases[3:] for phase in ("staged", "trial")]
    for state in phases:
        told = dict(plain, image="ee" * 32, version="0.9.0", below_floor=False)
        same, usual = update.step(state, ("booted", dict(plain)))
        new, commands = update.step(state, ("booted", told))
        assert (new["phase"], new["version"], new["image"]) == (same["phase"], "0.9.0", "ee" * 32), state["phase"]
        assert commands[0][0] == "save" and commands[0][2]["outcome"] == "fell_back" and commands[0][2]["job"] is None
        assert [c[0] for c in commands[2:]] == [c[0] for c in usual], state["phase"]
        # Not of an image on trial, nor of the one that was confirmed a moment ago: these are the trial's business.
        on_trial = dict(told, confirmed=False)
        assert update.step(state, ("booted", on_trial)) == update.step(state, ("booted", dict(plain, confirmed=False)))
    for confirmed in (True, False):
        told = dict(plain, slot="b", confirmed=confirmed)
        assert update.step(phases[-1], ("booted", dict(told, image="ee" * 32))) == update.step(
            phases[-1], ("booted", told)
        )


def test_a_note_that_cannot_be_read_accuses_nobody():
    device, cloud = resting()
    platform = device.power_on()

    def broken(slot):
        raise DeviceError("slot", "it cannot be read")

    agent = Agent(platform)
    agent.record["update"] = dict(agent.update_state, floor=3)
    platform.slots.release = broken
    agent = live(device, 2000, agent)
    assert last(cloud)[2]["outcome"] == "running" and last(cloud)[2]["version"] == "1.0.0"
    assert [fields["code"] for name, fields in device.events if name == "error"] == ["slot"]
    assert not agent.status()["below_floor"]


def resting(**more):
    r = repo()
    cloud = Witness(dict(world(r), **more))
    cloud.job["state"] = "none"
    return enrolled.device(cloud, r.files["1.root.json"], NOW, FACTORY), cloud


def test_once_a_day_the_image_is_measured_and_nothing_is_said_of_it_while_it_stays():
    device, cloud = resting()
    agent = live(device)
    effects, said = device.effects, len(cloud.heard)
    assert agent.status()["measured"] == "boot"
    live(device, DAY_MS - 10_000, agent)
    assert agent.status()["measured"] == "boot"
    live(device, 200_000, agent)
    assert agent.status()["measured"] == "daily"
    assert [name for name in device.trace[effects:] if name.startswith("store")] == [] and len(cloud.heard) == said


def test_an_image_that_changes_while_it_runs_is_told_at_once():
    device, cloud = resting()
    agent = live(device)
    device.images["a"] = other_image()
    live(device, DAY_MS + 200_000, agent)
    topic, version, claims = last(cloud)
    assert (topic, version, claims["outcome"], claims["reason"]) == ("inform", "1.0.0", "running", "image changed")
    assert (claims["image"], claims["measured"]) == (digest(other_image()), "daily")
    said = len(cloud.heard)
    live(device, DAY_MS + 200_000, agent)
    assert len(cloud.heard) == said  # once
    live(device)
    assert last(cloud)[2]["measured"] == "boot" and last(cloud)[2]["reason"] == ""
    assert cloud.lies == [], cloud.lies


def test_a_change_that_comes_before_the_boots_own_report_was_heard_takes_its_place():
    device, cloud = resting()
    cloud.deaf = True
    agent = live(device)
    device.images["a"] = other_image()
    agent._measure = 0
    live(device, 5000, agent)
    cloud.deaf, cloud.heard = False, []
    live(device, 65_000, agent)
    assert [claims["reason"] for _, _, claims in cloud.heard] == ["image changed"] and cloud.lies == [], cloud.lies


def test_a_report_that_is_said_again_after_the_daily_measurement_is_the_same():
    device, cloud = resting()
    cloud.deaf = True
    agent = live(device, 65_000)
    agent._measure = 0
    live(device, 65_000, agent)
    assert agent.when == "daily"
    said = [claims for _, _, claims in cloud.heard]
    assert len(said) > 3 and [claims for claims in said if claims != said[0]] == []


def test_no_measurement_on_trial_nor_while_something_is_downloaded():
    device, cloud = resting()
    agent = live(device)
    runs = []
    plain = measure.run

    def spied(agent, when="boot"):
        runs.append(when)
        return plain(agent, when)

    measure.run = spied
    try:
        for phase in ("trial", "fetching"):
            agent.record["update"] = dict(agent.update_state, phase=phase, release={"job": None})
            agent.uplink.contact = True
            live(device, DAY_MS + 200_000, agent)
            assert runs == [], phase
        agent.record["update"] = dict(agent.update_state, phase="idle", release=None)
        live(device, 1000, agent)
        assert runs == ["daily"]
    finally:
        measure.run = plain


def test_a_daily_measurement_pauses_for_a_download_and_is_a_piece_at_a_time():
    device, cloud = resting()
    agent = live(device)
    agent.chunk = 8
    task = measure.run(agent, "daily")
    assert [next(task), next(task)] == [measure.REST_MS] * 2
    state = agent.update_state
    agent.record["update"] = dict(state, phase="fetching")
    assert [next(task), next(task)] == [measure.PAUSE_MS] * 2
    agent.record["update"] = dict(state, phase="staged", release={"sha256": "read back soon"})
    assert next(task) == measure.PAUSE_MS
    agent.verified = "read back soon"
    assert next(task) == measure.REST_MS
    agent.record["update"] = state
    for _ in task:
        pass
    assert agent.when == "daily" and agent.image == digest(FACTORY)


def test_an_image_that_cannot_be_measured_again_is_told_as_at_install():
    device, cloud = resting()
    platform = device.power_on()
    platform.slots.at_install = True
    device.images["a"] = other_image()  # as a root file system that is written to
    live(device, 2000, Agent(platform))
    claims = last(cloud)[2]
    assert (claims["measured"], claims["image"]) == ("at-install", digest(FACTORY))


def test_the_day_is_told_by_ticks():
    assert runtime.DAY_MS == DAY_MS < 1 << 30  # a small int on 32 bits
