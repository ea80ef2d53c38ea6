# SPDX-License-Identifier: MIT
"""Bytes of `.mpy`: the agent and one board family in all, and what is loaded once a device idles in its session."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bed import bed, mpy_files
from measure import Figure, must

from trueboot import mpy

FAMILY = ("bootrecord", "dirslots", "files", "filestore", "imagewalk", "slotfiles", "micropython_")
SETTLED_S, ANSWER_S = 3, 10


def sizes(runs: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        built = mpy.build(Path(folder), files=[path for path in mpy_files() if wanted(path)])
    agent = sum(size for path, size in built.items() if path.startswith("agent/"))
    total = sum(built.values())
    loaded, heap = _loaded()
    steady = sum(size for path, size in built.items() if module(path) in loaded)
    return [
        Figure(".mpy of agent/", agent, "bytes"),
        Figure(".mpy of agent/ and one platform", total, "bytes"),
        Figure(".mpy loaded in steady state", steady, "bytes", total, "all of them", round(steady / total, 2)),
        Figure("heap alive in steady state", heap, "bytes"),
    ]


def wanted(path: str) -> bool:
    """Of the unix port's family, whose platform is one of several."""
    return path.startswith("agent/") or Path(path).stem.startswith(FAMILY) or path == "platform_adapters/__init__.py"


def module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _loaded() -> tuple[set[str], int]:
    with bed() as here:
        device = here.enrolled("board", "micropython")
        # The boot's own tasks end, and the device forgets them.
        here.until(lambda: False, SETTLED_S)
        answers = here.command(device, "modules")
        must(here.until(lambda: bool(answers), ANSWER_S), "the list of modules")
        return set(answers[0]["data"]["modules"]), answers[0]["data"]["heap"]
