# SPDX-License-Identifier: MIT
"""Plays power and boot ROM for one simulated device: starts its process, starts it again after a reset, stops it for good.

Rules kept: a reset (exit code 3) and a signal start the device again, up to a budget; 0, 77 and 78 and every other code
leave it off.  Standard output is the device's event log, one JSON object a line, read without ever blocking; standard
error goes to a file.  What the events mean is none of its business.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESET_CODE = 3
STARTS_MAX = 200
LINE_MAX_BYTES = 64 * 1024
READ_SIZE_BYTES = 64 * 1024
STOP_TIMEOUT_S = 3

Event = dict[str, Any]


class Lines:
    """Whole lines out of a pipe that never blocks."""

    def __init__(self, descriptor: int):
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._rest = b""

    def read(self) -> list[bytes]:
        while True:
            try:
                data = os.read(self._descriptor, READ_SIZE_BYTES)
            except BlockingIOError:
                break
            if not data:
                break
            self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        if len(self._rest) > LINE_MAX_BYTES:
            self._rest = b""
        return lines


class Device:
    """One simulated device.  `command` is what the boot ROM runs; `folder` is its flash."""

    def __init__(self, name: str, runtime: str, command: list[str], folder: Path, tell: Callable[[Event], None]):
        self.name = name
        self.runtime = runtime
        self.folder = folder
        self.log_file = folder / "stderr.log"
        self.starts = 0
        self.exit_code: int | None = None
        self.cloud = "decada"  # what it speaks
        self._command = command
        self._tell = tell
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: Lines | None = None
        self._wanted = False

    @property
    def descriptor(self) -> int | None:
        """What to wait on for news; None while it is off."""
        return self._process.stdout.fileno() if self._process and self._process.stdout else None

    @property
    def running(self) -> bool:
        return self._process is not None

    def power_on(self) -> None:
        self._wanted = True
        self._say("power.on", start=self.starts + 1)
        self._start()

    def _start(self) -> None:
        self.starts += 1
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=device_environment(),
                umask=0o077,  # a board's flash is its own; MicroPython cannot ask for modes
                start_new_session=True,
            )
        assert self._process.stdout is not None
        self._lines = Lines(self._process.stdout.fileno())

    def poll(self) -> None:
        """Tell everything that the device said; start it again if it has reset."""
        if self._process is None or self._lines is None:
            return
        code = self._process.poll()  # before reading: what a process said before it ended is then all there
        for line in self._lines.read():
            self._hear(line)
        if code is not None:
            self._ended(code)

    def _hear(self, line: bytes) -> None:
        try:
            event = json.loads(line)
            name = event.pop("event")
        except (ValueError, KeyError, AttributeError, TypeError):
            self._tell(self._event("demo", "device.said", {"text": line.decode("utf-8", "replace")[:500]}))
            return
        self._tell(self._event("device", str(name), event))

    def _ended(self, code: int) -> None:
        assert self._process is not None
        if self._process.stdout:
            self._process.stdout.close()
        self._process = None
        again = self._wanted and (code == RESET_CODE or code < 0)
        if again and self.starts >= STARTS_MAX:
            again = False
            self._say("power.budget_spent", starts=self.starts)
        if not again:
            self.exit_code = code
            if self._wanted:
                self._say("power.off", code=code)
            return
        if code == RESET_CODE:
            self._say("power.reset", start=self.starts + 1)
        else:
            self._say("power.cut", signal=signal.Signals(-code).name, start=self.starts + 1)
        self._start()

    def last_words(self) -> str:
        """The last line of its standard error."""
        lines = self.log_file.read_text("utf-8", "replace").strip().splitlines() if self.log_file.exists() else []
        return lines[-1][:300] if lines else ""

    def pull_power(self) -> None:
        """SIGKILL, at once; the power is back at the next poll."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)  # its session: all that it started goes too

    def power_off(self) -> None:
        """For good; waits until the process has gone."""
        self._wanted = False
        if self._process is None:
            return
        self.pull_power()
        self._process.wait(STOP_TIMEOUT_S)
        self.poll()

    def _say(self, name: str, **fields: Any) -> None:
        self._tell(self._event("demo", name, fields))

    def _event(self, source: str, name: str, fields: Event) -> Event:
        return {"event": name, "device": self.name, "runtime": self.runtime, "source": source, **fields}


def device_environment() -> dict[str, str]:
    """A device knows nothing of the operator's shell, least of all its secrets, proxies and CA bundles."""
    kept = ("PATH", "LANG", "LC_ALL", "HOME", "TMPDIR", "PYTHONPATH")
    return {name: os.environ[name] for name in kept if name in os.environ}
