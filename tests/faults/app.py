# SPDX-License-Identifier: MIT
"""The app of the fault tests: tells on demand which agent and which app run; unhealthy when its release says so."""

import sys

from app_version import HEALTHY, VERSION

import agent

if sys.implementation.name == "micropython":
    from platform_adapters.micropython_unix import MicroPythonUnix as Platform
else:
    from platform_adapters.linux import Linux as Platform


def on_command(name, args):
    return {"agent": agent.__version__, "app": VERSION}


def main():
    device = agent.Agent(Platform(), healthy=lambda: HEALTHY, on_command=on_command)
    while True:
        device.publish("climate", {"temperature": 21.5})
        device.serve(1000)


main()
