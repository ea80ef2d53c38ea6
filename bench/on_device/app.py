# SPDX-License-Identifier: MIT
"""The app of the benchmarked devices: telemetry twice a second, and a command that tells what is loaded."""

import gc
import sys

from agent import Agent

if sys.implementation.name == "micropython":
    from platform_adapters.micropython_unix import MicroPythonUnix as Platform
else:
    from platform_adapters.linux import Linux as Platform


idle = {}  # what is loaded, and alive, between two turns


def on_command(name, args):
    return idle if name == "modules" else {"heard": name}


def main():
    agent = Agent(Platform(), on_command=on_command)
    while True:
        agent.publish("climate", {"temperature": 21.5})
        agent.serve(500)
        if sys.implementation.name == "micropython":
            gc.collect()
            idle.update({"modules": list(sys.modules), "heap": gc.mem_alloc()})


main()
