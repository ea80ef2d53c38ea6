# SPDX-License-Identifier: MIT
"""Raspberry Pi, Linux: load and temperature of the processor, as a service whose key is in a TPM (README.md beside this file)."""

import os
from pathlib import Path

from agent import Agent
from platform_adapters.linux import Linux

PERIOD_MS = 10_000
THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")


def temperature():
    """Degrees; None on a machine that does not tell."""
    try:
        return int(THERMAL.read_text()) / 1000
    except (OSError, ValueError):
        return None


def not_too_hot():
    found = temperature()
    return found is None or found < 85


agent = Agent(Linux(), healthy={"temperature": not_too_hot})
while True:
    told = {"load": os.getloadavg()[0], "temperature": temperature()}
    agent.publish("processor", {name: value for name, value in told.items() if value is not None})
    agent.serve(PERIOD_MS)
