# SPDX-License-Identifier: MIT
"""The demo's app: a made-up climate sensor.  The same file runs on MicroPython and on CPython."""

import sys

from app_version import VERSION

from agent import Agent

if sys.implementation.name == "micropython":
    from platform_adapters.micropython_unix import MicroPythonUnix as Platform
else:
    from platform_adapters.linux import Linux as Platform

READING_PERIOD_MS = 1000


def sensor_works():
    return True


def on_command(name, args):
    if name == "blink":
        return {"blinked": args.get("times", 1), "app": VERSION}
    return {"unknown": name}


def main():
    agent = Agent(Platform(), healthy=sensor_works, on_command=on_command)
    while True:
        agent.publish("climate", {"temperature": 21.5})
        agent.serve(READING_PERIOD_MS)


main()
