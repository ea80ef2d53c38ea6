# SPDX-License-Identifier: MIT
"""A whole platform in RAM, stricter than hardware; public, for your tests too.

A `Device` is what a power cut leaves: records, keys, slots, boot record.
`power_on()` plays the boot loader and returns the platform of one boot: the
ports of `ports.py`, and no more than one boot's worth of RAM.

    device = Device(peer=MyCloud())
    device.install("a", image, {"version": "1.0.0"})
    device.cuts = {7: TORN}                  # the power goes inside the 7th effect
    while True:
        try:
            Agent(device.power_on()).serve(60_000)
        except (PowerCut, Reset):
            continue

Every durable or visible act is an *effect*, counted across boots in
`device.effects` and named in `device.trace`: saves, slot writes and syncs,
boot flags, keys, everything sent.  `device.cuts` maps an effect's number to
BEFORE, AFTER or TORN, `device.failures` to an error to raise instead of it.
After a cut or a reset each port of that boot is dead: it raises PowerCut.

Rules it keeps
  * What was written and not synced is lost; a torn sync keeps a part of it.
  * A torn boot record is really torn, and the other copy has to do.
  * A torn save of a record leaves the old one; with `tears_records` it leaves
    half of the new one, as raw flash would, and with "mixed" the old one's bytes behind it.
  * Wrong use raises Illegal, which no agent can catch by mistake.
  * Time passes in `sleep_ms` and `poll` alone; chance is a sequence.  Two runs are alike.
"""

import hashlib
import json

from agent.crypto import p256_sign, rsa_sign
from agent.errors import DeviceError, MisuseError, UnreachableError
from platform_adapters import anchored, bootrecord, pinned
from platform_adapters.filestore import NAME_CHARACTERS
from platform_adapters.memory_cloud import Http, Mqtt, Peer
from platform_adapters.memory_power import AFTER, BEFORE, TORN, Illegal, Life, PowerCut, Reset
from platform_adapters.memory_slots import Slots, image_is_whole

__all__ = ("AFTER", "BEFORE", "TORN", "Device", "Illegal", "Peer", "PowerCut", "Reset")


class Device:
    """What stays without power, and the hooks of a test."""

    def __init__(self, peer=None, config=None, anchors=(), root=b"", seed=b"trueboot"):
        self.peer = peer or Peer()
        self.config = config or {}
        self.anchors = list(anchors)
        self.root = root
        self.seed = seed
        # the durable half
        self.records = {}
        self.secrets = {}  # label -> secret
        self.images = {"a": b"", "b": b""}
        self.notes = {"a": None, "b": None}  # JSON
        self.boot = [b"", b""]  # the boot record's copies
        # hooks and observations
        self.cuts = {}
        self.failures = {}
        self.tears_records = False
        self.slot_bytes = 1024 * 1024
        self.effects = 0
        self.trace = []
        self.boots = 0
        self.resets = []  # the reasons given
        self.feeds = 0
        self.events = []  # (event, fields) as logged
        self.drawn = 0  # bytes of chance
        self.now_ms = 0
        self.cause = ""  # of the next start; "": as it ended, "power" or "reset"
        self.epoch_s = 1_800_000_000  # the wall clock at `now_ms` == 0, None for a device without one
        self.clock_sets = []  # seconds, as the agent set its clock
        self.life = None

    def wall(self):
        """What the hardware's clock says in this boot, which TLS goes by: it may have been set; seconds since 1970."""
        life = self.life
        seconds = (
            (self.now_ms - (life.started_ms if life else 0)) // 1000
            if self.epoch_s is None
            else self.epoch_s + self.now_ms // 1000
        )
        if life and life.clock and life.clock[0] == self.epoch_s:  # else somebody has set it since
            seconds += life.clock[1]
        return seconds

    def install(self, slot, image, note):
        """What a factory does: no effect."""
        if not image_is_whole(image):
            raise Illegal("install: the image is not whole")
        self.images[slot] = image
        self.notes[slot] = json.dumps(note)

    def record(self):
        """The boot record."""
        return bootrecord.newest(self.boot)[0]

    def power_on(self):
        """Boot, and return the platform.  May raise PowerCut itself: a trial boot is counted by a durable effect."""
        cause = self.cause or ("reset" if self.life is not None and self.life.ended_by_reset else "power")
        self.cause = ""
        if self.life is not None:
            self.life.end()
        self.life = life = Life(self)
        self.boots += 1
        slot, _, after = bootrecord.choose(self.record())
        if after is not None:
            life.save_boot(after)
        if not image_is_whole(self.images[slot]):
            raise Illegal("brick: slot %s is booted and holds no whole image" % slot)
        return Memory(life, slot, cause)

    def push(self, topic, payload):
        """Send a message to the device; False when it has no session."""
        return self._arrive(("message", topic, bytes(payload)))

    def hang_up(self, code="closed", detail="the peer closed the connection"):
        return self._arrive(("closed", code, detail))

    def _arrive(self, event):
        life = self.life
        if life is None or not life.alive or life.session is None:
            return False
        life.inbox.append(event)
        return True


class Memory:
    """The platform of one boot."""

    def __init__(self, life, slot, cause):
        device = life.device
        self._life = life
        self._met = {}  # by `verify`
        self.config = dict(device.config)
        self.slots = Slots(life, slot)
        self.store = Store(life)
        self.chance = Chance(life)
        self.keys = Keys(life, self.chance)
        self.clock = Clock(life)
        self.power = Power(life, cause)
        self.mqtt = Mqtt(life)
        self.http = Http(life)

    def anchors(self):
        return anchored.read(list(self._life.device.anchors), self.store)

    def anchors_kept(self):
        return self.anchors()[len(self._life.device.anchors) :]

    def keep_anchors(self, kept):
        anchored.write(list(self._life.device.anchors), self.store, kept)

    def root(self):
        return self._life.device.root

    def verify(self, key_type, scheme, public, message, signature):
        self._life.check()
        return pinned.verify(self._met, self.store, key_type, scheme, public, message, signature)

    def datagram(self, host, port, data):
        device = self._life.device
        answer = self._life.effect("datagram", lambda: device.peer.datagram(device, host, port, bytes(data)))
        if answer is None:
            raise UnreachableError("timeout", "%s:%d is silent" % (host, port))
        return answer

    def log(self, event, fields):
        self._life.check()
        json.dumps(fields)
        self._life.device.events.append((event, dict(fields)))


class Store:
    def __init__(self, life):
        self._life = life

    def load(self, name):
        self._life.check()
        _check_name(name)
        return self._life.device.records.get(name)

    def save(self, name, data):
        _check_name(name)
        if not isinstance(data, (bytes, bytearray)):
            raise Illegal("store.save: not bytes")
        records, data = self._life.device.records, bytes(data)

        def save():
            records[name] = data

        def tear():
            if self._life.device.tears_records:
                half = len(data) // 2
                old = records.get(name) or b""
                records[name] = data[:half] + (
                    old[half : len(data)] if self._life.device.tears_records == "mixed" else b""
                )

        self._life.effect("store.save " + name, save, tear)

    def drop(self, name):
        _check_name(name)
        records = self._life.device.records
        if name in records:
            self._life.effect("store.drop " + name, lambda: records.pop(name))


def _check_name(name):
    if not 1 <= len(name) <= 32 or name in (".", "..") or any(c not in NAME_CHARACTERS for c in name):
        raise MisuseError("store_name", repr(name))


class Keys:
    def __init__(self, life, chance):
        self._life = life
        self._chance = chance

    def has(self, label):
        self._life.check()
        return label in self._life.device.secrets

    def make(self, label):
        self._life.check()
        secrets = self._life.device.secrets
        if label not in secrets:
            secret = p256_sign.generate(self._chance.random)

            def make():
                secrets[label] = secret

            self._life.effect("keys.make " + label, make)

    def public(self, label):
        return p256_sign.public(self._secret(label))

    def sign(self, label, message):
        return p256_sign.sign(self._secret(label), hashlib.sha256(message).digest())

    def adopt(self, label, private):
        rsa_sign.read(private)
        secrets = self._life.device.secrets
        self._life.effect("keys.adopt " + label, lambda: secrets.__setitem__(label, bytes(private)))

    def sign_rsa(self, label, message):
        return rsa_sign.sign(self._secret(label), message)

    def drop(self, label):
        secrets = self._life.device.secrets
        if label in secrets:
            self._life.effect("keys.drop " + label, lambda: secrets.pop(label))

    def _secret(self, label):
        self._life.check()
        if label not in self._life.device.secrets:
            raise MisuseError("no_key", "the key store has no key %r" % label)
        return self._life.device.secrets[label]


class Clock:
    def __init__(self, life):
        self._life = life
        self._started_ms = life.started_ms
        self._floor = 0

    def ticks_ms(self):
        self._life.check()
        return self._life.device.now_ms - self._started_ms

    def sleep_ms(self, duration_ms):
        self._life.check()
        if duration_ms < 0:
            raise Illegal("clock.sleep_ms: negative")
        self._life.device.now_ms += duration_ms

    def wall(self):
        self._life.check()
        return max(self._life.device.wall(), self._floor)

    def set(self, seconds):
        device = self._life.device
        self._life.clock = None
        self._life.clock = (device.epoch_s, seconds - device.wall())
        device.clock_sets.append(seconds)

    def set_floor(self, seconds):
        self._floor = seconds


class Power:
    def __init__(self, life, cause):
        self._life = life
        self._cause = cause

    def reboot(self, reason):
        self._life.check()
        self._life.device.resets.append(reason)
        self._life.end(by_reset=True)
        raise Reset(reason)

    def cause(self):
        return self._cause

    def feed(self):
        self._life.check()
        self._life.device.feeds += 1


class Chance:
    """A sequence: of use in tests alone."""

    def __init__(self, life):
        self._life = life

    def random(self, size):
        self._life.check()
        device = self._life.device
        data = b""
        while len(data) < size:
            data += hashlib.sha256(device.seed + device.drawn.to_bytes(8, "big")).digest()
            device.drawn += 1
        if size < 0:
            raise DeviceError("random", "negative size")
        return data[:size]
