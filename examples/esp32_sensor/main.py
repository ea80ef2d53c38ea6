# SPDX-License-Identifier: MIT
"""ESP32: a temperature sensor (TMP36 at GPIO34), a relay at GPIO26 that is switched by command."""

import wifi
from machine import ADC, Pin

from agent import Agent
from agent.errors import UnreachableError
from platform_adapters.esp32 import ESP32

PERIOD_MS = 10_000
sensor = ADC(Pin(34))
relay = Pin(26, Pin.OUT)


def temperature():
    millivolts = sensor.read_uv() // 1000
    return (millivolts - 500) / 10  # TMP36: 10 mV a degree, 500 mV at 0 degrees


def plausible():
    """A new image stays only if this is true: a wrong scale, a wrong pin, and the old one comes back."""
    return -40 < temperature() < 125


def on_command(name, args):
    if name != "relay":
        return {"error": "only relay is known"}
    relay.value(1 if args.get("on") else 0)
    return {"on": bool(relay.value())}


def join():
    try:
        wifi.join()  # returns at once when it is joined
    except UnreachableError as error:
        print(error)  # the app goes on, and tries again in its next turn


agent = Agent(ESP32(slots_kind="app"), healthy={"temperature": plausible}, on_command=on_command)
while True:
    join()
    agent.publish("climate", {"temperature": temperature()})
    agent.serve(PERIOD_MS)
