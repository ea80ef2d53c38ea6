# SPDX-License-Identifier: MIT
"""An app for boards: joins the network, tells a temperature, blinks when it is told to.

Runs from slots/a or slots/b (see boot.py), the same on an ESP32, a Pico W and
MicroPython's unix port.  What is yours to change: `read_sensor` and the loop.
"""

import sys

from app_version import VERSION

from agent import Agent
from agent.errors import UnreachableError

PERIOD_MS = 60_000 if sys.platform in ("esp32", "rp2") else 1000


def platform():
    if sys.platform == "esp32":
        from platform_adapters.esp32 import ESP32

        return ESP32(slots_kind="app")
    if sys.platform == "rp2":
        from platform_adapters.pico_w import PicoW

        return PicoW()
    from platform_adapters.micropython_unix import MicroPythonUnix

    return MicroPythonUnix()


def join():
    """True when there is a network; a board without one goes on, and tries again later."""
    if sys.platform not in ("esp32", "rp2"):
        return True
    import wifi

    try:
        wifi.join()
        return True
    except UnreachableError as error:
        print(error)
        return False


def read_sensor():
    return 21.5


def on_command(name, args):
    if name == "blink":
        return {"blinked": args.get("times", 1), "app": VERSION}
    return {"unknown": name}


def main():
    agent = Agent(platform(), healthy=lambda: True, on_command=on_command)
    while True:
        join()
        agent.publish("climate", {"temperature": read_sensor()})
        agent.serve(PERIOD_MS)


main()
