# SPDX-License-Identifier: MIT
"""ESP32 on a battery: wakes up, measures, tells it, looks for an update, and sleeps again."""

import machine
import wifi

from agent import Agent
from agent.errors import UnreachableError
from platform_adapters.esp32 import ESP32

SLEEP_MS = 15 * 60_000
LISTEN_MS = 2000  # once it is online: for offers and commands
AWAKE_MS = 120_000  # a battery's limit; an update that is under way may take longer
battery = machine.ADC(machine.Pin(35))


def volts():
    return battery.read_uv() * 2 / 1_000_000  # behind a divider by two


def wait_for(agent, ready, limit_ms):
    clock = agent.platform.clock
    end = clock.ticks_ms() + limit_ms
    while not ready(agent.status()) and clock.ticks_ms() < end:
        agent.serve(500)


def online(status):
    return status["online"] and not status["reports"]


def at_rest(status):
    """Nothing under way: asleep in the middle of a download it would only take longer, on trial it would fail it."""
    return status["phase"] == "idle" and not status["reports"]


agent = Agent(ESP32(slots_kind="app"), healthy=lambda: volts() > 2.5)
try:
    wifi.join()
except UnreachableError as error:
    print(error)
agent.publish("battery", {"volts": volts()})
wait_for(agent, online, AWAKE_MS)
agent.serve(LISTEN_MS)
while agent.status()["online"] and not at_rest(agent.status()):
    agent.serve(1000)
agent.uplink.close()
machine.deepsleep(SLEEP_MS)
