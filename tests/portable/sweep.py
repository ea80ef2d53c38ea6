# SPDX-License-Identifier: MIT
"""The power-cut sweep: one whole update, lived again with the power cut at each of its side effects.

A clean life is lived first; then from what a cut of each of its effects leaves
(before, after, inside it; see forks.py), and from what a second cut leaves while
it recovers.  After each: a whole image boots (the platform crashes otherwise), the
right one; the server was told the truth, and everything; the device rests in a
bounded number of boots; a good release is not condemned, a bad one is refused;
what is trusted is stored root first, and none of it changes on trial.

The worlds are those of tests/sweep/world.py.  Runs on both interpreters: `main`
prints one JSON object for each kind of release.
"""

import binascii
import gc
import hashlib
import json

import decada_cloud
import enrolled
import forks
import mutants
import remembered
import update_mutants
from agent import journal
from agent.runtime import Agent
from platform_adapters import memory

MAX_BOOTS = 24
MAX_STEPS = 600
WAYS = (memory.BEFORE, memory.AFTER, memory.TORN)
VERSIONS = ("timestamp", "snapshot", "targets")


def load_world(path):
    with open(path) as file:
        world = json.load(file)
    world["files"] = {name: binascii.unhexlify(world["files"][name]) for name in world["files"]}
    world["trust"] = {name: binascii.unhexlify(world["trust"][name]) for name in world["trust"]}
    for name in ("image", "factory", "root", "newest", "bundle"):
        world[name] = binascii.unhexlify(world[name])
    world["sha256"] = digest(world["image"])
    if world["kind"] == "bundle":  # a cloud that knows no targets
        data = world["bundle"]
        world["urls"] = {world["url"]: (200, {}, data)}
        world["offer"] = {"target": None, "fileUrl": world["url"], "fileSize": len(data), "sign": digest(data)}
    world["silent"] = world["kind"] == "file"
    return world


def digest(data):
    return binascii.hexlify(hashlib.sha256(data).digest()).decode()


class Run:
    """One life: a device, its cloud, and what the boots came to."""

    def __init__(self, world, healthy=True, cuts=None):
        self.world = world
        self.healthy = healthy
        self.cloud = decada_cloud.Cloud(world)
        clock = {"clock": world["clock"]} if world["clock"] else {}
        self.device = device = enrolled.device(self.cloud, world["root"], world["now"], world["factory"], **clock)
        note_of_a_newer_agent(device)
        for name in world["trust"]:
            device.records[name] = world["trust"][name]
        if world["kind"] == "file":
            device.records["install"] = json.dumps({"file": world["path"], "id": "one"}).encode()
            self.cloud.job["pushed"] = (None, None)
        device.cuts = cuts or {}
        device.tears_records = "mixed"  # as raw flash does; a file system is kinder
        self.boots = 0
        self.problem = ""
        self.before_trial = None

    def live(self):
        """Boot until the device rests; False, with the problem named, when it does not or when a promise broke."""
        while self.boots < MAX_BOOTS:
            self.boots += 1
            saved = len(self.device.trace)
            try:
                if self.boot():
                    self.judge()
                    break
            except (memory.PowerCut, memory.Reset):
                continue
            except memory.Illegal as error:
                self.problem = "illegal: %s" % error
                break
            except Exception as error:
                self.problem = "an error reached the app: %r" % error
                break
            finally:
                self.look_back(self.device.trace[saved:])
        else:
            self.problem = "no rest after %d boots" % MAX_BOOTS
        return not self.problem

    def boot(self):
        platform = self.device.power_on()
        agent = Agent(platform, healthy=lambda: self.healthy)
        quiet = 0
        for _ in range(MAX_STEPS):
            wait = agent.step(20)
            self.watch_trial()
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

    def watch_trial(self):
        """Trust and clock stay as they are while an image is on trial."""
        device = self.device
        if device.record()["trial"] is None:
            self.before_trial = None
            return
        now = [device.records.get(name) for name in ("root",) + VERSIONS] + [journal_of(device).get("clock")]
        if self.before_trial not in (None, now):
            raise memory.Illegal("trust changed on trial")
        self.before_trial = now

    def look_back(self, trace):
        """The root is stored before what it vouches for."""
        saved = [name[11:] for name in trace if name.startswith("store.save ")]
        if "root" in saved and [name for name in saved[: saved.index("root")] if name in VERSIONS]:
            self.problem = self.problem or "versions were stored before their root"

    def judge(self):
        world, device, cloud = self.world, self.device, self.cloud
        record = device.record()
        want = world["sha256"] if self.healthy else digest(world["factory"])
        running = digest(device.images[record["active"]])
        known = journal_of(device)
        refused = known["update"]["refused"]
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
        elif device.records.get("root", b"") != world["newest"]:
            self.problem = "it does not trust the newest root"
        elif [name for name in VERSIONS if name not in device.records]:
            self.problem = "it does not know what is newest"
        elif known.get("clock") != world["issued"]:
            self.problem = "its clock was not set to signed time, but to %s" % known.get("clock")
        elif known["update"]["floor"] != (world["security"] if self.healthy else 0):
            self.problem = "its floor is %d" % known["update"]["floor"]
        elif known.get("from_the_future") != 7 or known["update"].get("from_the_future") != 7:
            self.problem = "what a newer agent had noted is gone"
        elif "install" in device.records:
            self.problem = "a request for a file stayed"


def note_of_a_newer_agent(device):
    """It ran here once, and was rolled back."""
    known = journal_of(device)
    known["update"]["from_the_future"] = known["from_the_future"] = 7
    Store = type("Store", (), {"load": device.records.get, "save": device.records.__setitem__})
    journal.save(Store, known)


def journal_of(device):
    copies = [journal.decode(device.records.get(name)) for name in journal.COPIES]
    return max([c for c in copies if c], key=lambda c: c[1])[0]


class Sweep:
    """All lives of one kind of release with the power cut once, and some of those with a second cut.

    A second cut comes at one in `second_every` of the effects of each recovery, which ones by `seed`; none with 0.
    """

    def __init__(self, world, healthy, second_every=0, first_only=False, seed=0):
        self.seen, self.problems = set(), []
        self.second_every, self.first_only, self.seed = second_every, first_only, seed
        self.run = self.begin(world, healthy)
        clean = forks.Watch(self.run, self.seen)
        clean.live()
        self.effects, self.lives = self.run.device.effects, 1
        self.cuts = clean.count
        if self.run.problem:
            self.found([])
        self.recover(clean.points, bool(second_every))

    def begin(self, world, healthy):
        return Run(world, healthy)

    def recover(self, points, again):
        """Live on from each of `points`; with `again`, from what another cut would leave, too."""
        while points and not (self.first_only and self.problems):
            point = points.pop(0)
            point.back(self.run)
            if again:
                watch = forks.Watch(self.run, self.seen, point.cuts, self.chosen(point.cuts[0][0]))
                watch.live()
                self.cuts += watch.count
            else:
                self.run.live()
            self.lives += 1
            if self.run.problem:
                self.found(point.cuts)
            elif again:
                self.recover(watch.points, False)
            gc.collect()

    def chosen(self, first):
        return lambda at: (at + first + self.seed) % self.second_every == 0

    def found(self, cuts):
        """Kept in order: the life with the fewest cuts, the earliest, stands first."""
        self.problems.append([len(cuts), cuts, self.run.problem])
        self.problems.sort(key=lambda one: (one[0], [cut[0] for cut in one[1]]))

    def told(self):
        return {
            "effects": self.effects,
            "cuts": self.cuts,
            "lives": self.lives,
            "count": len(self.problems),
            "lies": len([one for one in self.problems if "lie" in one[2] or "told" in one[2]]),
            "bricks": len([one for one in self.problems if "brick" in one[2] or "wrong image" in one[2]]),
            "problems": [one[1:] for one in self.problems[:5]],
        }


def plant(name):
    """How often a second cut is needed to show it; 0 for never."""
    if name not in update_mutants.DEFECTS:
        mutants.plant(name)
        return 0
    update_mutants.DEFECTS[name][0]()
    return update_mutants.SECOND_EVERY.get(name, 0)


def kinds(world):
    """Whether the release is healthy.  A bundle differs from the repository until its image is activated, so there the
    good release will do."""
    return (True, False) if world["kind"] in ("repository", "rotated") else (True,)


def main(path, second_every, mutant, seed=0):
    """Sweep a good and a bad release; with `mutant`, plant that defect and stop at the first problem."""
    world = load_world(path)
    remembered.signatures()
    if mutant:
        second_every = plant(mutant)
    for healthy in kinds(world):
        found = Sweep(world, healthy, second_every, bool(mutant), seed).told()
        print(json.dumps(found))
        if mutant and found["count"]:
            break


def one(path, healthy, cuts):
    """One life from its start, really cut: prints each effect, then how it ended."""
    remembered.signatures()
    run = Run(load_world(path), healthy, dict(cuts))
    run.live()
    for number, name in enumerate(run.device.trace):
        print(json.dumps([number + 1, name, run.device.cuts.get(number + 1, "")]))
    print(json.dumps({"problem": run.problem, "boots": run.boots, "job": run.cloud.job["state"]}))


def alike(path, every):
    """Lives from points and lives that were really cut come to the same end, one in `every`: prints how many did."""
    world = load_world(path)
    remembered.signatures()
    count = 0
    for healthy in kinds(world):
        run = Run(world, healthy)
        watch = forks.Watch(run, set())
        watch.live()
        for point in watch.points[::every]:
            point.back(run)
            run.live()
            real = Run(world, healthy, dict(point.cuts))
            real.live()
            ends = [end(one) for one in (run, real)]
            if ends[0] != ends[1]:
                raise AssertionError("%s: %s" % (point.cuts, ends))
            count += 1
    print(json.dumps(count))


def end(run):
    device = run.device
    return [run.problem, run.boots, device.effects, journal_of(device), device.record(), run.cloud.job, run.cloud.lies]
