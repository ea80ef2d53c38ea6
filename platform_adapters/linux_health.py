# SPDX-License-Identifier: MIT
"""Memory and load of a Linux, in the names of esthesis's health report."""

from __future__ import annotations

import os


def health(path: str = "/proc/meminfo") -> dict[str, int | float]:
    """What the kernel tells; without what it does not."""
    found: dict[str, int | float] = {}
    try:
        with open(path) as file:
            lines = dict(line.split(":", 1) for line in file if ":" in line)
        total, free = (1024 * int(lines[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
        found.update(memoryTotal=total, memoryUsed=total - free, memoryFree=free)
    except (OSError, KeyError, ValueError, IndexError):
        pass
    try:
        found.update(zip(("loadAverage1", "loadAverage5", "loadAverage15"), os.getloadavg(), strict=True))
    except OSError:
        pass
    return found
