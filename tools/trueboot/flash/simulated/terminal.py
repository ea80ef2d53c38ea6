# SPDX-License-Identifier: MIT
"""A serial port with MicroPython's REPL behind it: the unix port, and the way that a board starts.

Played is what lies around the interpreter on a board, after MicroPython's ports/rp2/main.c:
  * a hard reset (exit code 3, or SIGHUP to this process) runs boot.py, then main.py, then the REPL;
  * Ctrl-D at the raw REPL runs boot.py alone and stays at the raw REPL; at the friendly one it is as a reset;
  * while a program runs, Ctrl-C interrupts it, and what else is typed waits for the REPL.
What a program prints goes to the port, and to stdout.
"""

from __future__ import annotations

import os
import pty
import select
import signal
import termios
import tty
from pathlib import Path

from ... import mpy

STAND_IN = Path(__file__).parent / "stand_in"
RESET_CODE, BOOTLOADER_CODE = 3, 4
BOOT = "try:\n    execfile('boot.py')\nexcept OSError:\n    pass\n"
MAIN = "try:\n    execfile('main.py')\nexcept OSError as error:\n    if error.errno != 2:\n        raise\n"
PROMPT = b">>> "
WAITING_BYTES_MAX = 4096
DROPPED_AFTER_S = 0.5  # as ports/rp2 does with USB


class Terminal:
    """`folder`: the board's files; `about`: more of its environment."""

    def __init__(self, folder: Path, heap: str, about: dict[str, str] | None = None):
        self.folder = folder.resolve()
        self.heap = heap
        self.about = about or {}
        self.port, self.far = pty.openpty()  # the far end stays open as long as the board has power
        tty.setraw(self.far)
        tty.setraw(self.port)
        os.set_blocking(self.port, False)
        self.name = os.ttyname(self.far)
        self.pid = 0  # of the interpreter; 0 when none runs
        self.child = -1
        self.raw = False
        self.program = False
        self.waiting = b""
        self.hard = False

    def run(self) -> None:
        signal.signal(signal.SIGHUP, self._press_reset)
        self.power_on()
        while True:
            try:
                watched = [self.port] + ([self.child] if self.pid else [])
                ready, _, _ = select.select(watched, [], [], self.turn())
            except InterruptedError:
                ready = []
            if self.hard:
                self.hard = False
                self.stop()
                self.power_on()
                continue
            if self.port in ready:
                self.typed(self.read())
            if self.pid and self.child in ready:
                self._printed()

    # What a kind of board changes

    def power_on(self) -> None:
        self.start(program=True)

    def turn(self) -> float | None:
        """Called at each turn; the seconds until the next one is wanted."""
        return None

    def read(self) -> bytes:
        return os.read(self.port, 4096)

    def ended(self, code: int) -> None:
        """The interpreter came to its end; `code` is neither a reset nor its own."""

    # The interpreter

    def start(self, program: bool) -> None:
        """A program, with all that a start does; or the REPL."""
        self.program = program
        script = BOOT + MAIN if program else BOOT
        command = [*mpy.interpreter(self.heap), *([] if program else ["-i"]), "-c", script]
        self.pid, self.child = pty.fork()
        if self.pid == 0:
            os.chdir(self.folder)
            mode = termios.tcgetattr(0)
            mode[1] &= ~termios.OPOST
            if program:
                mode[3] &= ~termios.ECHO
            termios.tcsetattr(0, termios.TCSANOW, mode)
            path = f".frozen:{self.folder}:{self.folder}/lib:{STAND_IN}"
            environment = {"PATH": os.environ["PATH"], "MICROPYPATH": path, "TERM": "dumb"}
            os.execve(command[0], command, environment | self.about)  # noqa: S606
        if not program:
            self._banner()

    def stop(self) -> None:
        """Power off, as far as the interpreter goes."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            self._reap()
        self.raw = False
        self.waiting = b""

    def typed(self, data: bytes) -> None:
        if not self.pid:
            return
        if self.program:
            before, interrupt, after = data.rpartition(b"\x03")
            if interrupt:
                os.kill(self.pid, signal.SIGINT)
                self.waiting = b""
            self.waiting = (self.waiting + after if interrupt else self.waiting + data)[-WAITING_BYTES_MAX:]
            return
        for at in data:
            if at == 1:
                self.raw = True
            elif at == 2:
                self.raw = False
        os.write(self.child, data)

    def tell(self, data: bytes) -> None:
        if self.program:
            os.write(1, data)
        while data:
            try:
                data = data[os.write(self.port, data) :]
            except BlockingIOError:  # nobody reads
                if not select.select([], [self.port], [], DROPPED_AFTER_S)[1]:
                    return

    def _press_reset(self, *_: object) -> None:
        self.hard = True
        raise InterruptedError

    def _banner(self) -> None:
        said = b""
        while not said.endswith(PROMPT):
            said += os.read(self.child, 1)
        if self.raw:
            os.write(self.child, b"\x01")
        else:
            self.tell(said)
        if self.waiting:
            waiting, self.waiting = self.waiting, b""
            self.typed(waiting)

    def _printed(self) -> None:
        try:
            data = os.read(self.child, 4096)
        except OSError:
            data = b""
        if data:
            self.tell(data.replace(b"\r\r\n", b"\r\n"))
            return
        code = os.waitstatus_to_exitcode(self._reap())
        if code == RESET_CODE:
            self.raw = False
            self.power_on()
        elif code == BOOTLOADER_CODE:
            self.ended(code)
        elif self.program:  # it came to its end
            self.start(program=False)
        else:
            self.tell(b"MPY: soft reboot\r\n")
            self.start(program=not self.raw)

    def _reap(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        os.close(self.child)
        self.pid, self.child = 0, -1
        return status
