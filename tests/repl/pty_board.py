# SPDX-License-Identifier: MIT
"""A serial port with a MicroPython board behind it: the real REPL of the unix port, and the way a board starts.

    python pty_board.py FOLDER HEAP       FOLDER is the board's flash; the first line of stdout is the port's name

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
import sys
import termios
import tty
from pathlib import Path

from trueboot import mpy

STAND_IN = Path(__file__).parent / "stand_in"
RESET_CODE = 3
BOOT = "try:\n    execfile('boot.py')\nexcept OSError:\n    pass\n"
MAIN = "try:\n    execfile('main.py')\nexcept OSError as error:\n    if error.errno != 2:\n        raise\n"
PROMPT = b">>> "
WAITING_BYTES_MAX = 4096
DROPPED_AFTER_S = 0.5  # as ports/rp2 does with USB


class Board:
    def __init__(self, folder: Path, heap: str):
        self.folder = folder.resolve()
        self.heap = heap
        self.port, far = pty.openpty()
        tty.setraw(far)
        tty.setraw(self.port)
        self.name = os.ttyname(far)
        self._far = far  # open as long as the board has power, so that a tool that leaves hangs nobody up
        self.raw = False
        self.program = False
        self.waiting = b""
        self.hard = False

    def run(self) -> None:
        signal.signal(signal.SIGHUP, self._press_reset)
        self._start(program=True)
        while True:
            try:
                ready, _, _ = select.select([self.port, self.child], [], [])
            except InterruptedError:
                ready = []
            if self.hard:
                self.hard = False
                os.kill(self.pid, signal.SIGKILL)
                self._ended(reset=True)
                continue
            if self.port in ready:
                self._typed(os.read(self.port, 4096))
            if self.child in ready:
                self._printed()

    def _press_reset(self, *_) -> None:
        self.hard = True
        raise InterruptedError

    def _start(self, program: bool) -> None:
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
            os.execve(command[0], command, {"PATH": os.environ["PATH"], "MICROPYPATH": path, "TERM": "dumb"})
        if not program:
            self._banner()

    def _banner(self) -> None:
        said = b""
        while not said.endswith(PROMPT):
            said += os.read(self.child, 1)
        if self.raw:
            os.write(self.child, b"\x01")
        else:
            self._tell(said)
        if self.waiting:
            waiting, self.waiting = self.waiting, b""
            self._typed(waiting)

    def _typed(self, data: bytes) -> None:
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

    def _printed(self) -> None:
        try:
            data = os.read(self.child, 4096)
        except OSError:
            data = b""
        if data:
            self._tell(data.replace(b"\r\r\n", b"\r\n"))
        else:
            self._ended()

    def _tell(self, data: bytes) -> None:
        if self.program:
            os.write(1, data)
        while data:
            try:
                data = data[os.write(self.port, data) :]
            except BlockingIOError:  # nobody reads
                if not select.select([], [self.port], [], DROPPED_AFTER_S)[1]:
                    return

    def _ended(self, reset: bool = False) -> None:
        _, status = os.waitpid(self.pid, 0)
        os.close(self.child)
        reset = reset or os.waitstatus_to_exitcode(status) == RESET_CODE
        if reset:
            self.raw = False
            self._start(program=True)
        elif self.program:  # it came to its end
            self._start(program=False)
        else:
            self._tell(b"MPY: soft reboot\r\n")
            self._start(program=not self.raw)


if __name__ == "__main__":
    board = Board(Path(sys.argv[1]), sys.argv[2])
    os.set_blocking(board.port, False)
    print(board.name, flush=True)
    board.run()
