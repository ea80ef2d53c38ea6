# SPDX-License-Identifier: MIT
"""The app of the benchmarked devices: telemetry twice a second, and a command that tells what is loaded."""

import gc
import sys

from agent import Agent

if sys.implementation.name == "micropython":
    from platform_adapters.micropython_unix import MicroPythonUnix as Platform
else:
    from platform_adapters.linux import Linux as Platform


def on_command(name, args):
    if name == "modules":
        gc.collect()
        return {"modules": list(sys.modules), "heap": gc.mem_alloc()}
    return {"heard": name}


def main():
    agent = Agent(Platform(), on_command=on_command)
    while True:
        agent.publish("climate", {"temperature": 21.5})
        agent.serve(500)


main()
