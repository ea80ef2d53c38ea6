# SPDX-License-Identifier: MIT
"""From power to the first session over mutual TLS: a device that has nothing but a product secret, against the same device
at its next start.

Registration, key, CSR, certificate and the first session are in the one; the start of the process, the image's hash and a
session in both.  Real processes against a real server, on each interpreter.
"""

from __future__ import annotations

import statistics
import time

from bed import Bed, bed
from measure import Figure, must, ratio

from trueboot.demo.story import micropython_lacks

LIMIT_S = 60


def first_boot(runs: int) -> list[Figure]:
    figures = []
    with bed() as here:
        for runtime in ("cpython", "micropython"):
            if runtime == "micropython" and micropython_lacks():
                figures.append(Figure("first boot on MicroPython", None, "ms", note=micropython_lacks()))
                continue
            firsts, seconds = zip(*(_one(here, runtime, turn) for turn in range(runs)), strict=True)
            first, second = statistics.median(firsts), statistics.median(seconds)
            what = f"power to mutual TLS at first boot, {'CPython' if runtime == 'cpython' else 'MicroPython'}"
            figures.append(Figure(what, round(first), "ms", round(second), "its next start", ratio(first, second)))
    return figures


def _one(here: Bed, runtime: str, turn: int) -> tuple[float, float]:
    """ms of a device's first start, and of its second."""
    device = here.device(f"first-{runtime}-{turn}", runtime, here.release(runtime, "1.0.0"))
    found = [_start_ms(here, device) for _ in range(2)]
    return found[0], found[1]


def _start_ms(here: Bed, device) -> float:
    since, started = len(here.here.events), time.perf_counter()
    device.power_on()
    must(here.until(lambda: here.said(device, "session.online", since), LIMIT_S), f"{device.name}'s session")
    took = (time.perf_counter() - started) * 1000
    here.until(lambda: here.said(device, "version.reported", since), LIMIT_S)
    device.power_off()
    return took
