# SPDX-License-Identifier: MIT
"""Many devices in one process, on CPython and on MicroPython: the real agent, with real MQTT and TLS, its disk in RAM.

    crowd.py WHAT.json

What is simulated is a board's flash (`platform_adapters.memory`); the network, the clock and the cryptography are those of the
interpreter's platform.  Each device is stepped in its turn.  One whose image is named in `bad` never gets as far as its agent, as
with an app that crashes at its start: the boot loader gives it up after some tries.  Prints a line of JSON for what is remarkable.
"""

import json
import sys

MICROPYTHON = sys.implementation.name == "micropython"
STEP_MS = 10
LOOK_MS = 250  # between two looks at a device that has nothing to do


def modules(names):
    """All that an agent may need is loaded before there are agents, which then forget nothing of it: there is room."""
    for name in names:
        __import__(name)


class Network:
    """The ports of one interpreter, made once; those of one device from them."""

    def __init__(self, anchor):
        self.anchor = anchor
        if MICROPYTHON:
            from platform_adapters import micropython_base

            self.clock = micropython_base.Clock()
        else:
            from platform_adapters.linux import Clock

            self.clock = Clock()

    def keys(self, folder):
        if MICROPYTHON:
            from platform_adapters.micropython_files import FileKeys

            return FileKeys(folder)
        from platform_adapters.keystores.software import SoftwareKeys

        return SoftwareKeys(folder)

    def onto(self, platform, keys):
        """The memory platform's cloud is taken from it, and the interpreter's network put in its place."""
        platform.keys = keys
        platform.clock = self.clock
        if MICROPYTHON:
            from platform_adapters import micropython_base
            from platform_adapters.micropython_http import Http
            from platform_adapters.micropython_mqtt import Mqtt

            platform.chance = micropython_base.Chance()
            platform.mqtt = Mqtt(platform.anchors, keys.credentials)
            platform.http = Http(platform.anchors, keys.credentials)
        else:
            from platform_adapters.linux import Chance
            from platform_adapters.linux_http import RequestsHttp
            from platform_adapters.linux_mqtt import PahoMqtt
            from platform_adapters.linux_net import Net
            from platform_adapters.linux_verify import verify

            net = Net(platform.anchors, keys)
            platform.chance = Chance()
            platform.mqtt = PahoMqtt(net)
            platform.http = RequestsHttp(net)
            platform.verify = verify
        return platform


class One:
    """A device: what stays without power, and the agent of this boot."""

    def __init__(self, network, config, what, image):
        from platform_adapters.memory import Device

        self.network = network
        self.name = config["device_key"]
        self.bad = what["bad"]
        self.keys = network.keys(what["folder"] + "/" + self.name)
        self.flash = Device(config=config, anchors=[network.anchor], root=what["root"])
        self.flash.install("a", image, {"version": what["version"], "kind": "app", "security": 0})
        self.due = 0
        self.boot()

    def boot(self):
        from agent import Agent

        while True:
            platform = self.flash.power_on()
            if self.version(platform) not in self.bad:
                break
        platform.log = self.log
        self.agent = Agent(self.network.onto(platform, self.keys))

    def version(self, platform):
        return (platform.slots.release(platform.slots.running()) or {}).get("version")

    def log(self, event, fields):
        if event == "error":
            tell(self.name, event, fields)

    def step(self, now):
        from platform_adapters.memory import PowerCut, Reset

        try:
            wait = self.agent.step(STEP_MS)
        except (Reset, PowerCut):
            self.agent.platform.mqtt.close()
            self.boot()
            wait = 0
        self.flash.trace = []
        self.due = now + min(wait, LOOK_MS)


def tell(name, event, fields):
    print(json.dumps({"device": name, "event": event, "fields": fields}))


def main(path):
    with open(path) as file:
        what = json.load(file)
    sys.path[:0] = what["paths"]
    modules(what["modules"])
    with open(what["ca_der"], "rb") as file:
        network = Network(file.read())
    with open(what["root_file"], "rb") as file:
        what["root"] = file.read()
    with open(what["image"], "rb") as file:
        image = file.read()
    crowd = [One(network, config, what, image) for config in what["devices"]]
    tell("", "ready", {"devices": len(crowd)})
    while True:
        now = network.clock.ticks_ms()
        rest = LOOK_MS
        for one in crowd:
            if one.due <= now:
                one.step(now)
                rest = 0
            else:
                rest = min(rest, one.due - now)
        if rest > 0:
            network.clock.sleep_ms(rest)


if __name__ == "__main__":
    main(sys.argv[1])
