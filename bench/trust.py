# SPDX-License-Identifier: MIT
"""A refresh of the signed metadata that brings nothing new: bytes of the files that were fetched, and time with a fresh TLS connection."""

from __future__ import annotations

import statistics

from bed import ROOMY, bed, run_cpython, run_micropython
from measure import BenchError, Figure

RELEASES = 3


def trust(runs: int) -> list[Figure]:
    figures = []
    with bed() as here:
        for number in range(RELEASES):
            here.here.publish(here.release("cpython", f"1.{number}.0"))
        info = here.here.server_info
        for runtime in ("cpython", "micropython"):
            device = here.device(runtime, runtime, here.release("cpython", "1.0.0"))
            config = {"https": info["https"], "device": str(device.folder)}
            folder = here.here.folder / f"trust-{runtime}"
            results = []
            for _ in range(runs):
                if runtime == "cpython":
                    results.append(run_cpython("refresh", folder, config))
                else:
                    results.append(run_micropython("refresh", folder, config, ROOMY))
                if "error" in results[-1]:
                    raise BenchError(f"refresh on {runtime}: {results[-1]['error']}")
            figures.append(
                Figure(f"refresh, nothing new, {runtime}", statistics.median(r["ms"] for r in results), "ms")
            )
        figures.append(Figure(f"refresh, nothing new, {RELEASES} releases", results[0]["bytes"], "bytes"))
        figures.append(Figure("refresh, nothing new", results[0]["requests"], "requests"))
    return figures
