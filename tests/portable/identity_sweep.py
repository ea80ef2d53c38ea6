# SPDX-License-Identifier: MIT
"""The power-cut sweep of identities: a first boot, and renewals, lived again with the power cut at each of their side effects.

first    from nothing but the product secret to a session over mutual TLS
late     the same without a clock, and every cut lasts longer than a certificate
renewed  two thirds of the life are over
expired  the device slept past its certificate's end
refused  the new certificate is turned down, for good: the old one stays in use
hung     it is turned down, by a server that hangs up instead of saying so, and accepted later
registered  esthesis: from nothing to a session, the key first, then registration with its CSR (see `esthesis_sweep`)
asleep   every cut lasts longer than a certificate: what the server saw in use last is all that counts

After each: one device, one secret, no lie, in session with the certificate that the server saw last, and its key there.
Runs on both interpreters; prints one JSON object, see `sweep.Sweep.told`.
"""

import json

import enrolled
import identity_cloud
import identity_mutants
import remembered
import sweep
from agent.runtime import Agent
from agent.wire import appimage
from platform_adapters import memory

MAX_BOOTS = 16
MAX_STEPS = 400
MAX_CERTIFICATES = 8
LIFE_S = 1000
REST_STEPS = 5
FACTORY = appimage.build({"main.py": b"version = 1\n"})


def blank(cloud, **config):
    """A device that was given a product secret, and nothing else."""
    given = dict(enrolled.CONFIG, device_secret="", product_secret=identity_cloud.PRODUCT_SECRET)
    given["mqtt_activate"] = "mqtts://cloud:3"
    given.update(config)
    device = memory.Device(peer=cloud, config=given, anchors=[cloud.authority.root])
    device.epoch_s = identity_cloud.START
    device.install("a", FACTORY, {"version": "1.0.0", "sha256": "", "security": 0})
    return device


def known(cloud, age_s=0, **config):
    """A device that is enrolled, its certificate `age_s` old."""
    device = blank(cloud, **config)
    platform = device.power_on()
    platform.keys.make("b")  # what the last renewal left
    cloud._certify(device, platform.keys.public("b"), "factory")
    platform.store.save("cert.b", cloud.certificates[0]["der"])
    platform.keys.make("a")
    platform.store.save("secret", identity_cloud.SECRET.encode())
    cloud._certify(device, platform.keys.public("a"), "factory")
    row = cloud.certificates[1]
    cloud.proven = True
    for one in cloud.certificates:
        cloud._used(one)
    platform.store.save("cert.a", b"".join([row["der"]] + cloud.authority.between))
    agent = Agent(platform)
    agent.record["boot"] = 0
    agent.save(identity={"phase": "enrolled", "label": "a", "tries": 0, "since": identity_cloud.START})
    device.now_ms = age_s * 1000
    device.effects, device.trace = 0, []
    return device


class Run:
    """One life."""

    def __init__(self, kind, cuts=None):
        self.kind = kind
        self.cloud = identity_cloud.Cloud(LIFE_S, chained=kind in ("first", "renewed"), backdate_s=3600)
        if kind in ("first", "late"):
            self.device = blank(self.cloud)
            if kind == "late":
                self.device.epoch_s = None
        else:
            self.device = known(self.cloud, LIFE_S + 5 if kind == "expired" else LIFE_S * 7 // 10)
        if kind in ("refused", "hung"):
            self.cloud.life_s = 50 * LIFE_S  # of the new one
            self.cloud.refusals = 6 if kind == "hung" else 1 << 20
            self.cloud.silent = kind == "hung"
        self.device.cuts = cuts or {}
        self.device.tears_records = "mixed"
        self.boots = 0
        self.before_trial = None
        self.problem = ""

    def live(self):
        """Boot until the device rests; False, with the problem named, when it does not or when a promise broke."""
        while self.boots < MAX_BOOTS:
            if self.boots and self.kind in ("asleep", "late"):
                self.device.now_ms += 2000 * LIFE_S  # how long the cut lasted
            self.boots += 1
            try:
                self.boot()
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
        else:
            self.problem = "stranded: no rest after %d boots" % MAX_BOOTS
        return not self.problem

    def boot(self):
        platform = self.device.power_on()
        agent = Agent(platform)
        quiet = 0
        for _ in range(MAX_STEPS):
            wait = agent.step(20)
            quiet = quiet + 1 if self.rests(agent) else 0
            if len(self.cloud.certificates) > MAX_CERTIFICATES:
                raise memory.Illegal("a storm of certificates")
            if quiet > REST_STEPS:
                self.phase = agent.identity
                return
            platform.clock.sleep_ms(max(wait, 1) if not agent.uplink.online else min(max(wait, 1), 1000))
        said = [event for event in self.device.events if event[0] == "error"][-2:]
        raise memory.Illegal("stranded within %d steps: %s, %s" % (MAX_STEPS, agent.identity, said))

    def rests(self, agent):
        if agent.identity["phase"] != "enrolled" or not agent.uplink.online or not agent.uplink.informed:
            return False
        if self.kind == "refused":
            return bool(agent.identity.get("kept"))
        return not agent.identity.get("kept") and (self.kind in ("first", "late") or len(self.cloud.certificates) > 2)

    def judge(self):
        device, cloud = self.device, self.cloud
        label = self.phase["label"]
        last = cloud._last()
        if cloud.lies:
            self.problem = "lies: %s" % cloud.lies
        elif device.secrets.get(label) is None:
            self.problem = "a lost key"
        elif not device.records["cert." + label].startswith(last["der"]):
            self.problem = "lies: it uses another certificate than the server believes"
        elif not last["used"] or last["end"] <= cloud.now(device):
            self.problem = "the certificate in use is over"
        elif device.records.get("secret") != identity_cloud.SECRET.encode():
            self.problem = "a lost secret"
        elif set(self.phase) - {"phase", "label", "tries", "since", "kept" * (self.kind == "refused")}:
            self.problem = "something is left of the renewal: %s" % self.phase


class Sweep(sweep.Sweep):
    def begin(self, kind, _):
        return begin(kind)


def begin(kind, cuts=None):
    if kind == "registered":
        import esthesis_sweep

        return esthesis_sweep.Run(kind, cuts)
    return Run(kind, cuts)


def main(kind, second_every=0, mutant="", seed=0):
    remembered.signatures()
    if mutant:
        identity_mutants.plant(mutant)
    print(json.dumps(Sweep(kind, None, second_every, bool(mutant), seed).told()))


def one(kind, cuts):
    remembered.signatures()
    run = begin(kind, dict(cuts))
    run.live()
    for number, name in enumerate(run.device.trace):
        print(json.dumps([number + 1, name, run.device.cuts.get(number + 1, "")]))
    print(json.dumps({"problem": run.problem, "boots": run.boots, "roads": getattr(run.cloud, "roads", [])}))
