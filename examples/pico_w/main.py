# SPDX-License-Identifier: MIT
"""Pico W: its own temperature and LED.  While its button (GPIO15) is held down, no update may reset it."""

import wifi
from machine import ADC, Pin

from agent import Agent
from agent.errors import UnreachableError
from platform_adapters.pico_w import PicoW

PERIOD_MS = 10_000
inside = ADC(4)
led = Pin("LED", Pin.OUT)
button = Pin(15, Pin.IN, Pin.PULL_UP)


def temperature():
    volts = inside.read_u16() * 3.3 / 65535
    return 27 - (volts - 0.706) / 0.001721  # RP2040 datasheet, 4.9.5


def approve(stage, release):
    """Asked before the download, and before the reset; "later" is asked again."""
    if stage == "activate" and not button.value():
        return "later"
    return "yes"


def on_command(name, args):
    if name == "blink":
        led.value(not led.value())
    return {"led": led.value()}


agent = Agent(PicoW(), healthy=lambda: -20 < temperature() < 85, approve=approve, on_command=on_command)
while True:
    try:
        wifi.join()
    except UnreachableError as error:
        print(error)
    agent.publish("climate", {"inside": temperature()})
    agent.serve(PERIOD_MS)
