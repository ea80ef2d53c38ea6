# SPDX-License-Identifier: MIT
"""What a download on MicroPython allocates for each piece of 1 KB in steady state, by a look at the heap with collection off.

The peer, a read of the same size that gives bytes, allocates the piece once and nothing else.
"""

from __future__ import annotations

import os

from bed import bed, run_micropython
from measure import BenchError, Figure

IMAGE_BYTES = 2 * 1024 * 1024
HEAP = "16384k"  # nothing is collected meanwhile
PIECE_BYTES = 1024
AIM_BYTES = 0


def allocations(runs: int) -> list[Figure]:
    with bed() as here:
        device = here.enrolled("board", "micropython")
        release = here.release("micropython", "9.0.0", os.urandom(IMAGE_BYTES))
        here.here.publish(release)
        device.power_off()
        identity = here.identity(device, "der")
        config = {
            "https": here.here.server_info["https"],
            "device": str(device.folder),
            "release": release.note() | {"address": here.url(release).partition("/repo/targets/")[2], "job": "bench"},
            "chain": str(identity.certificate),
            "key": str(identity.key),
        }
        folder = here.here.folder / "allocations"
        found = run_micropython("allocations", folder, config, HEAP)
    if "error" in found:
        raise BenchError(f"the download loop failed: {found}")
    per_piece = found["bytes"] / found["pieces"]
    mean = round(found["image"] / found["pieces"])
    what = f"allocated for each piece of {mean} bytes"
    return [
        Figure(what, round(per_piece), "bytes", mean, "bytes(piece)", round(per_piece / mean, 2), "0", per_piece == 0)
    ]
