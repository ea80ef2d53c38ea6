# SPDX-License-Identifier: MIT
"""The power-cut sweep: one whole update, lived again with the power cut at each of its side effects.

A clean life is counted first; then the same life is lived once per effect and
per way of cutting it (before, after, inside), and with a second cut while it
recovers.  After each: a whole image boots (the platform crashes otherwise), the
right one; the server was told the truth, and everything; the device rests in a
bounded number of boots; a good release is not condemned, a bad one is refused.

Runs on both interpreters: `main` prints one JSON object for each of the two releases.
"""

import binascii
import gc
import hashlib
import json

import decada_cloud
import mutants
from agent.crypto import p256, p256_sign
from agent.runtime import Agent
from platform_adapters import memory

MAX_BOOTS = 24
MAX_STEPS = 600
WAYS = (memory.BEFORE, memory.AFTER, memory.TORN)
CONFIG = {
    "product_key": "pk",
    "device_key": "dk",
    "device_secret": "secret",
    "https": "https://cloud:1",
    "mqtt": "mqtts://cloud:2",
    "hardware": "sim",
    "trial_timeout_ms": 5000,
}


def load_world(path):
    with open(path) as file:
        world = json.load(file)
    world["files"] = {name: binascii.unhexlify(world["files"][name]) for name in world["files"]}
    world["trust"] = {name: binascii.unhexlify(world["trust"][name]) for name in world["trust"]}
    for name in ("image", "factory", "root"):
        world[name] = binascii.unhexlify(world[name])
    world["sha256"] = digest(world["image"])
    return world


def digest(data):
    return binascii.hexlify(hashlib.sha256(data).digest()).decode()


class Remembered:
    """A pure function that is asked the same thing in every life: P-256 is most of a life's time otherwise."""

    def __init__(self, function):
        self._function = function
        self._known = {}

    def __call__(self, *arguments):
        if arguments not in self._known:
            if len(self._known) > 200:
                self._known.clear()
            self._known[arguments] = self._function(*arguments)
        return self._known[arguments]


def remember_signatures():
    p256_sign.public = Remembered(p256_sign.public)
    p256_sign.sign = Remembered(p256_sign.sign)
    p256.verify = Remembered(p256.verify)


class Run:
    """One life: a device, its cloud, and what the boots came to."""

    def __init__(self, world, healthy=True, cuts=None):
        self.world = world
        self.healthy = healthy
        self.cloud = decada_cloud.Cloud(world)
        self.device = device = memory.Device(peer=self.cloud, config=CONFIG, root=world["root"])
        device.epoch_s = world["now"]
        device.cuts = cuts or {}
        device.tears_records = True  # as raw flash does; a file system is kinder
        device.install("a", world["factory"], {"version": "1.0.0", "sha256": digest(world["factory"]), "security": 0})
        self.enrol()
        self.boots = 0
        self.problem = ""

    def enrol(self):
        """The identity of an enrolled device; enrolment has a sweep of its own."""
        platform = self.device.power_on()
        cuts, self.device.cuts = self.device.cuts, {}
        platform.keys.make("a")
        platform.store.save("cert.a", b"certificate")
        agent = Agent(platform)
        agent.record["boot"] = 0
        agent.save(identity={"phase": "enrolled", "label": "a", "tries": 0})
        for name in self.world["trust"]:
            platform.store.save(name, self.world["trust"][name])
        self.device.cuts, self.device.effects, self.device.trace = cuts, 0, []

    def live(self):
        """Boot until the device rests; False, with the problem named, when it does not or when a promise broke."""
        while self.boots < MAX_BOOTS:
            self.boots += 1
            try:
                if self.boot():
                    self.judge()
                    break
            except (memory.PowerCut, memory.Reset):
                continue
            except memory.Illegal as error:
                self.problem = "illegal: %s" % error
                break
        else:
            self.problem = "no rest after %d boots" % MAX_BOOTS
        return not self.problem

    def boot(self):
        platform = self.device.power_on()
        agent = Agent(platform, healthy=lambda: self.healthy)
        quiet = 0
        for _ in range(MAX_STEPS):
            wait = agent.step(20)
            # At rest: nothing under way, nothing to tell, and the job has an end.
            status = agent.status()
            ended = self.cloud.job["state"] not in ("queued", "pushed")
            resting = status["phase"] == "idle" and status["online"] and not status["reports"] and ended
            quiet = quiet + 1 if resting else 0
            if quiet > 5:
                self.final = status
                return True
            platform.clock.sleep_ms(max(wait, 1) if not status["online"] else min(max(wait, 1), 100))
        raise memory.Illegal("no rest within %d steps, in phase %s" % (MAX_STEPS, agent.status()["phase"]))

    def judge(self):
        world, device, cloud = self.world, self.device, self.cloud
        record = device.record()
        want = world["sha256"] if self.healthy else digest(world["factory"])
        running = digest(device.images[record["active"]])
        refused = json.loads(device_journal(device))["update"]["refused"]
        if cloud.lies:
            self.problem = "lies: %s" % cloud.lies
        elif record["trial"] is not None or running != want:
            self.problem = "it ends on the wrong image: %s" % record
        elif cloud.job["state"] != ("updated" if self.healthy else "rolled_back"):
            self.problem = "the server was told: %s" % cloud.job["state"]
        elif self.healthy and refused:
            self.problem = "a good release was condemned: %s" % refused
        elif not self.healthy and not refused:
            self.problem = "a bad release was not refused"
        elif self.final["version"] != (world["version"] if self.healthy else "1.0.0"):
            self.problem = "it believes to run %s" % self.final["version"]


def device_journal(device):
    from agent import journal

    copies = [journal.decode(device.records.get(name)) for name in journal.COPIES]
    return json.dumps(max([c for c in copies if c], key=lambda c: c[1])[0])


def sweep(world, healthy, second_every, first_only=False):
    """{"effects", "lives", "problems"}; a second cut at every `second_every`th later effect, none with 0."""
    clean = Run(world, healthy)
    clean.live()
    problems = [["clean", 0, 0, clean.problem]] if clean.problem else []
    lives = 1
    for at in range(1, clean.device.effects + 1):
        for way in WAYS:
            seconds = [0]
            if second_every:  # a recovery has a few effects more than the rest of the clean life
                seconds += list(range(at + 1 + at % second_every, clean.device.effects + 8, second_every))
            for second in seconds:
                if problems and first_only:
                    break
                cuts = {at: way}
                if second:
                    cuts[second] = way
                run = Run(world, healthy, cuts)
                run.live()
                lives += 1
                if run.problem:
                    problems.append([way, at, second, run.problem])
                gc.collect()
    return {"effects": clean.device.effects, "lives": lives, "problems": problems[:5], "count": len(problems)}


def main(path, second_every, mutant):
    """Sweep a good and a bad release; with `mutant`, plant that defect and stop at the first problem."""
    world = load_world(path)
    remember_signatures()
    if mutant:
        mutants.plant(mutant)
    for healthy in (True, False):
        found = sweep(world, healthy, second_every, bool(mutant))
        print(json.dumps(found))
        if mutant and found["count"]:
            break
