# SPDX-License-Identifier: MIT
"""Espressif's esptool, version 5 or newer, as a child process: who is there, write and verify.

A child for two reasons: its licence (GPL) does not reach what it is only started by, and whatever happens to a cable ends in
an exit code.  What it says is read line by line; nothing that it says is an error's text but its own "fatal error".
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from ..problem import Problem

IDENTIFY_S = 60
LEAST_RATE = 4000  # bytes a second; slower than that and something is broken
CONNECT_TRIES = 3
LOOK_S = 0.25  # between looks at the port
_CHIP = re.compile(r"^Detecting chip type\.*\s*(ESP[\w-]+)|^Chip type:\s+(ESP32(?:-[A-Z]\d+)?)", re.M)
_MAC = re.compile(r"^(?:BASE )?MAC:\s+([0-9a-f:]{17})", re.M)
_FLASH = re.compile(r"^Detected flash size:\s+(\d+)([KM])B", re.M)
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)%")
_WROTE = re.compile(r"^Wrote \d+ bytes")
_FATAL = re.compile(r"A fatal error occurred: (.*)")

Progress = Callable[[float], None]


class Chip(NamedTuple):
    chip: str  # esp32s3
    id: str  # its MAC, twelve hex digits
    flash_bytes: int


def identify(port: str, baud: int) -> Chip:
    said = _run(port, baud, ["--after", "hard-reset", "flash-id"], IDENTIFY_S)
    chip, mac, flash = _CHIP.search(said), _MAC.search(said), _FLASH.search(said)
    if not chip or not mac or not flash:
        missing = next(name for name, found in (("chip", chip), ("MAC", mac), ("flash size", flash)) if not found)
        raise Problem("esptool_failed", "esptool does not say who is there.", f"no {missing} in what it said")
    number = int(flash[1]) << (20 if flash[2] == "M" else 10)
    return Chip((chip[1] or chip[2]).lower().replace("-", ""), mac[1].replace(":", ""), number)


def write(port: str, baud: int, chip: str, parts: list[tuple[int, str]], size: int, progress: Progress) -> None:
    """Write files at their offsets, and compare the chip's own hash of them.  `size`: of all, for the time that it may take."""
    done = 0.0

    def heard(line: str) -> None:
        nonlocal done
        if _WROTE.match(line):
            done += 1
            progress(min(1.0, done / len(parts)))
        elif line.startswith("Writing at") and (percent := _PERCENT.search(line)):
            progress(min(1.0, (done + float(percent[1]) / 100) / len(parts)))

    arguments = ["--after", "hard-reset", "write-flash"]
    for offset, name in parts:
        arguments += [hex(offset), name]
    said = _run(port, baud, arguments, IDENTIFY_S + size // LEAST_RATE, heard, chip)
    if said.count("Hash of data verified") < len(parts):
        raise Problem("esptool_failed", "esptool did not verify all that it wrote.")


def _run(
    port: str,
    baud: int,
    arguments: list[str],
    limit_s: float,
    heard: Callable[[str], None] = lambda line: None,
    chip: str = "auto",
) -> str:
    if importlib.util.find_spec("esptool") is None:
        raise Problem(
            "extra_missing",
            "This needs the extra [flash].",
            "esptool is not installed",
            "pip install 'trueboot[flash]'",
        )
    command = [sys.executable, "-m", "esptool", "--chip", chip, "--port", port, "--baud", str(baud)]
    command += ["--connect-attempts", str(CONNECT_TRIES), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ESPTOOL", "TRUEBOOT"))}
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment | {"NO_COLOR": "1", "PYTHONUNBUFFERED": "1", "COLUMNS": "120"},
        text=True,
        errors="replace",
    )
    ended, gone = threading.Event(), threading.Event()
    watch = threading.Thread(target=_watch, args=(child, port, limit_s, ended, gone), daemon=True)
    watch.start()
    said = []
    try:
        assert child.stdout is not None
        for line in child.stdout:
            said.append(line)
            heard(line)
        code = child.wait()
    finally:
        ended.set()
        watch.join()
        if child.poll() is None:
            child.kill()
            child.wait()
    text = "".join(said)
    if gone.is_set():
        raise Problem("board_gone", why=f"{port} went away while esptool worked")
    if code:
        raise _problem(port, text, code)
    return text


def _watch(
    child: subprocess.Popen[str], port: str, limit_s: float, ended: threading.Event, gone: threading.Event
) -> None:
    """End it when its time is over, and when its port has gone: by itself it would wait for a dead one for long."""
    end = time.monotonic() + limit_s
    there = os.path.exists(port)
    while not ended.wait(LOOK_S):
        if there and not os.path.exists(port):
            gone.set()
        if gone.is_set() or time.monotonic() > end:
            child.kill()
            return


def _problem(port: str, text: str, code: int) -> Problem:
    """esptool has one exit code for all; what went wrong is in its words."""
    found = _FATAL.search(text)
    lines = [line.strip() for line in text.splitlines() if line.strip() and "troubleshooting" not in line]
    why = " ".join((found[1] if found else lines[-1] if lines else "it said nothing").split())[:200]
    low = text.lower()
    if code == -signal.SIGKILL:
        return Problem("board_silent", why="esptool did not come to an end")
    if "permission denied" in low:
        return Problem("board_busy", f"{port} may not be opened.", why, "Join the group that owns it: dialout or uucp.")
    if "could not open" in low or "port is busy" in low or "exclusively lock" in low or "resource temporarily" in low:
        gone = "no such file" in low
        return Problem("board_gone" if gone else "board_busy", why=why)
    if "failed to connect" in low or "no serial data received" in low:
        return Problem("board_silent", why=why)
    if any(word in low for word in ("input/output error", "disconnected", "readiness to read", "not configured")):
        return Problem("board_gone", why=why)
    if "this chip is" in low or "unexpected chip" in low or "wrong chip" in low:
        return Problem("board_wrong", "Another chip answers than before.", why)
    return Problem("esptool_failed", why=why)
