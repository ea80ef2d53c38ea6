# SPDX-License-Identifier: MIT
"""Trials that go wrong, each lived to its end on the memory platform: what docs/trials.md says is held against this.

`main` prints a JSON object for each: what runs in the end, what the server knows of it, and what becomes of the same
release when it is offered once more, by then a healthy one.
"""

import json

import decada_cloud
import enrolled
import remembered
from agent.errors import UnreachableError
from agent.runtime import Agent
from agent.wire import appimage
from platform_adapters import bootrecord, memory
from tuf_repo import NOW, Repo, digest

PATH = "app/sim/1.1.0/app.img"
OLD = appimage.build({"main.py": b"version = 1\n"})
NEW = appimage.build({"main.py": b"version = 2\n" * 30})
MAX_BOOTS = 40
MAX_STEPS = 600


class Cloud(decada_cloud.Cloud):
    away = False

    def connect(self, device, login):
        if self.away:
            raise UnreachableError("unreachable", "nobody is there")
        return super().connect(device, login)


class Life:
    """`trial(life)` is called when a boot is one on trial, before there is an agent."""

    def __init__(self, trial, healthy=lambda: True, approve=None):
        repo = Repo().add(PATH, NEW)
        world = {"files": repo.files, "image": NEW, "sha256": digest(NEW), "version": "1.1.0", "target": PATH}
        self.cloud = Cloud(world)
        self.device = enrolled.device(self.cloud, repo.files["1.root.json"], NOW, OLD)
        self.trial, self.healthy, self.approve = trial, healthy, approve
        self.trials = 0

    def live(self):
        for _ in range(MAX_BOOTS):
            try:
                if self.boot():
                    return
            except (memory.PowerCut, memory.Reset):
                continue
        raise AssertionError("no rest after %d boots" % MAX_BOOTS)

    def boot(self):
        device, cloud = self.device, self.cloud
        platform = device.power_on()
        if device.record()["trial"] == platform.slots.running():
            self.trials += 1
            self.trial(self)
        else:
            cloud.away = False
        agent = Agent(platform, healthy=self.healthy, approve=self.approve)
        quiet = 0
        for _ in range(MAX_STEPS):
            wait = agent.step(20)
            status = agent.status()
            ended = cloud.job["state"] not in ("queued", "pushed")
            quiet = quiet + 1 if status["phase"] == "idle" and not status["reports"] and ended else 0
            if quiet > 5:
                return True
            platform.clock.sleep_ms(max(1, min(wait, 100)))
        raise AssertionError("no rest: %s" % agent.status())

    def watchdog(self):
        self.device.life.end(by_reset=True)
        self.device.cause = "watchdog"
        raise memory.Reset("the watchdog")

    def power_cut(self):
        self.device.life.end()
        raise memory.PowerCut("there is no power")

    def leave(self, reason):
        """What the trampoline leaves when the app ends by an exception."""
        self.device.life.save_boot(bootrecord.fail(self.device.record(), reason))
        self.device.life.end(by_reset=True)
        raise memory.Reset(reason)

    def told(self):
        return [entry for entry in self.cloud.told if entry[0] not in ("step", "version", "running", "trial")]

    def end(self):
        outcome, reason = self.told()[-1]
        runs = "new" if self.device.images[self.device.record()["active"]] == NEW else "old"
        assert outcome == self.cloud.job["state"] and self.cloud.lies == [], (self.told(), self.cloud.lies)
        return {"runs": runs, "server": outcome, "reason": reason, "again": self.again()}

    def again(self):
        """The release is offered by another job."""
        self.trial = self.approve = lambda *arguments: "yes"
        self.healthy = lambda: True
        self.cloud.job = {"id": "8", "nonce": "n8", "state": "queued"}
        self.live()
        return self.cloud.job["state"]


def nothing(life):
    pass


def hangs(life):
    life.watchdog()


def crashes_at_import(life):
    life.leave("exception: ImportError main.py:3")


def loses_the_network(life):
    life.cloud.away = True


def five_cuts(life):
    if life.trials <= 5:
        life.power_cut()


def always_cut(life):
    life.power_cut()


def one_cut(life):
    if life.trials == 1:
        life.power_cut()


def another_image(life):
    image = life.device.images["b"]
    life.device.images["b"] = image[:-1] + b"!"


def no():
    return False


def fails():
    raise ValueError("a sensor")


class Damaged(Life):
    """The spare slot rots while the app says "later", and the power goes before it says yes."""

    def __init__(self):
        super().__init__(nothing, approve=self.say)
        self.asked = 0

    def say(self, stage, release):
        if stage == "activate":
            self.asked += 1
            if self.asked == 1:
                another_image(self)
                self.power_cut()
        return "yes"

    def again(self):
        """Twice: the first may be needed to find out that what the slot holds is of no use."""
        super().again()
        return super().again()


def never(stage, release):
    return "no" if stage == "activate" else "yes"


SCENARIOS = {
    "it is well": lambda: Life(nothing),
    "it hangs, and the watchdog resets it": lambda: Life(hangs),
    "it crashes at import": lambda: Life(crashes_at_import),
    "its health check says no": lambda: Life(nothing, no),
    "its health check raises": lambda: Life(nothing, fails),
    "it is well, but the server is not reached": lambda: Life(loses_the_network),
    "the power is lost once": lambda: Life(one_cut),
    "the power is lost five times": lambda: Life(five_cuts),
    "the power is lost at every boot": lambda: Life(always_cut),
    "what runs is not the signed image": lambda: Life(another_image),
    "the spare slot rots before the activation": Damaged,
    "the app says no to the activation": lambda: Life(nothing, approve=never),
}


def main(only="", defect=""):
    remembered.signatures()
    if defect:
        DEFECTS[defect][0]()
    for name in sorted(SCENARIOS):
        if name == only or not only:
            try:
                life = SCENARIOS[name]()
                life.live()
                end = life.end()
            except AssertionError as error:
                end = {"problem": repr(error)[:300]}
            except memory.Illegal as error:
                end = {"problem": "illegal: %s" % error}
            end["scenario"] = name
            print(json.dumps(end))


def _no_boot_count():
    choose = bootrecord.choose
    bootrecord.choose = lambda record: choose(record)[:2] + (None,)


def _no_count_of_endings():
    from agent import update

    fell_back = update._fell_back
    update._fell_back = lambda state, boot: fell_back(dict(state, lost=0), boot)


def _activated_without_a_look():
    from agent.tasks import consent

    def believe(agent, release):
        yield from ()

    consent.verify = believe


# what is wrong: (what plants it, the scenario that shows it)
DEFECTS = {
    "no boot count": (_no_boot_count, "it hangs, and the watchdog resets it"),
    "no count of endings": (_no_count_of_endings, "the power is lost at every boot"),
    "activated without a look": (_activated_without_a_look, "the spare slot rots before the activation"),
}
