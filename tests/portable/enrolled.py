# SPDX-License-Identifier: MIT
"""A device of the memory platform that is enrolled already: enrolment has tests of its own."""

import sys

import remembered
import vectors
from agent.runtime import Agent
from platform_adapters import memory
from tuf_repo import digest

if sys.implementation.name == "micropython":  # a process for each file of tests; on CPython all share one
    remembered.signatures()

CONFIG = {
    "product_key": "pk",
    "device_key": "dk",
    "device_secret": "secret",
    "https": "https://cloud:1",
    "mqtt": "mqtts://cloud:2",
    "hardware": "sim",
    "trial_timeout_ms": 5000,
}


def device(cloud, root, now, factory, **record):
    """`factory`: the image that runs as version 1.0.0; `record`: what else its journal holds."""
    made = memory.Device(peer=cloud, config=CONFIG, root=root)
    made.epoch_s = now
    made.install("a", factory, {"version": "1.0.0", "sha256": digest(factory), "security": 0})
    platform = made.power_on()
    platform.keys.make("a")
    platform.store.save("cert.a", vectors.CERTIFICATE)
    agent = Agent(platform)
    agent.record["boot"] = 0
    agent.save(identity={"phase": "enrolled", "label": "a", "tries": 0}, **record)
    made.effects, made.trace = 0, []
    return made


def settle(made, healthy=True, done=None, approve=None, max_boots=24, max_steps=600, rest_ms=100):
    """Boot until the device rests, with nothing to tell and nothing under way; gives the last boot's agent.

    `done(agent)`: what else must be true at rest.  AssertionError when it never rests.
    """
    for _ in range(max_boots):
        try:
            platform = made.power_on()
            agent = Agent(platform, healthy=lambda: healthy, approve=approve)
            quiet = 0
            for _ in range(max_steps):
                wait = agent.step(20)
                status = agent.status()
                resting = status["phase"] == "idle" and status["online"] and not status["reports"]
                resting = resting and agent.considering is None and (done is None or done(agent))
                quiet = quiet + 1 if resting else 0
                if quiet > 5:
                    return agent
                platform.clock.sleep_ms(max(wait, 1) if not status["online"] else min(max(wait, 1), rest_ms))
            raise AssertionError(
                "no rest in phase %s: %s" % (agent.status(), [e for e in made.events if e[0] == "error"][-5:])
            )
        except (memory.PowerCut, memory.Reset):
            continue
    raise AssertionError("no rest after %d boots" % max_boots)
