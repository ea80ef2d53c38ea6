# SPDX-License-Identifier: MIT
"""An app of asyncio tasks, of which the agent is one.  The same file runs on Linux and on boards."""

import asyncio
import sys

from agent import Agent

if sys.implementation.name == "micropython":
    from platform_adapters.micropython_unix import (
        MicroPythonUnix as Platform,
    )  # on a board: .esp32.ESP32, .pico_w.PicoW
else:
    from platform_adapters.linux import Linux as Platform

readings = []
pumping = 0  # seconds that are left


def on_command(name, args):
    """Commands come between two turns of the loop: start something here, and let a task do it."""
    global pumping
    if name == "pump":
        pumping = min(int(args.get("seconds", 1)), 60)
        return {"pumping": pumping}
    return {"readings": len(readings)}


async def measure(agent):
    while True:
        readings.append(21.5)
        del readings[:-100]
        agent.publish("climate", {"temperature": readings[-1]})
        await asyncio.sleep(1)


async def pump(agent):
    global pumping
    while True:
        if pumping:
            with agent.busy("pumping"):  # no update resets the device now
                while pumping:
                    await asyncio.sleep(1)
                    pumping -= 1
                agent.publish("pumped", 1)
        await asyncio.sleep(0.1)


async def main():
    agent = Agent(Platform(), healthy=lambda: bool(readings), on_command=on_command)
    await asyncio.gather(agent.run(), measure(agent), pump(agent))


asyncio.run(main())
