# SPDX-License-Identifier: MIT
"""Runs a statement of the sweeps in a fresh interpreter, CPython or MicroPython, and reads the JSON that it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "raspberry_pi"))
import pi  # noqa: E402
import world  # noqa: E402

from agent.wire import appimage  # noqa: E402
from platform_adapters.memory_esp32 import image  # noqa: E402
from trueboot import mpy, shorten  # noqa: E402
from trueboot.demo.story import micropython_lacks  # noqa: E402

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
PORTABLE = TESTS / "portable"
PATH = [ROOT, ROOT / "tools", PORTABLE, TESTS / "raspberry_pi"]
PYTHONS = ("cpython", "micropython")
HEAP = "8M"  # a sweep keeps what many cuts leave; what an agent may take is measured elsewhere
TIMEOUT_S = 240


class Firmware:
    """Builds firmware where the world builds app images."""

    KIND = "firmware"

    @staticmethod
    def build(files: dict[str, bytes]) -> bytes:
        return image(b"".join(files.values()) + bytes(600))  # more than one sector


class System:
    """Those of the model of a Raspberry Pi, whose firmware knows them."""

    KIND = "system"

    @staticmethod
    def build(files: dict[str, bytes]) -> bytes:
        return appimage.build(pi.NEW if b"2" in files["main.py"] else pi.OLD)


BUILDERS = {"app": appimage, "firmware": Firmware, "system": System}


class Interpreters:
    def __init__(self, folder: Path, timeout_s: float = TIMEOUT_S):
        self.folder = folder
        self.timeout_s = timeout_s

    @staticmethod
    def here() -> list[str]:
        return [python for python in PYTHONS if python == "cpython" or not micropython_lacks()]

    def run(self, python: str, code: str) -> list[Any]:
        command, place = [sys.executable, "-c"], ROOT
        if python == "cpython":
            code = "import sys; sys.path[:0] = %r\n%s" % ([str(path) for path in PATH], code)
        else:
            command, place = [*mpy.interpreter(HEAP), "-c"], self.board()
        ran = subprocess.run([*command, code], cwd=place, capture_output=True, text=True, timeout=self.timeout_s)
        assert ran.returncode == 0, (ran.stdout + ran.stderr)[-5000:]
        return [json.loads(line) for line in ran.stdout.splitlines()]

    def board(self) -> Path:
        """A folder with the agent and the portable tests, compiled."""
        made = self.folder / "board"
        if not made.exists():
            sources = sorted(PORTABLE.glob("*.py"))
            making = self.folder / "board-in-the-making"
            mpy.build(making, keep=shorten.words(*(path.read_text("utf-8") for path in sources)))
            for source in sources:
                mpy.compile_file(source, making / (source.stem + ".mpy"), source.name)
            making.rename(made)
        return made

    def world(self, kind: str, images: str = "app") -> str:
        """The file of a world; `images`: the kind that its images are of."""
        folder = self.folder / images
        path = folder / (kind + ".json")
        if not path.exists():
            folder.mkdir(exist_ok=True)
            before, world.appimage = world.appimage, BUILDERS[images]
            try:
                world.write(folder, kind)
            finally:
                world.appimage = before
        return str(path)
