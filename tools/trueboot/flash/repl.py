# SPDX-License-Identifier: MIT
"""A board's REPL: mpremote's transport over pyserial, behind one class, since neither promises its interface.

Rules kept: every wait has an end; whatever a cable does becomes a Problem of three kinds (busy, gone, silent); a file on
the board is replaced whole, or not at all (aside, hash read back, rename), and not sent again when it is there.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..problem import Problem

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

BAUD = 115200
ANSWER_S = 30
ENTER_S = 4  # a board that was still booting has not heard it
PART_BYTES = 3072  # of a file, in one line of a REPL: a small heap has room for it
NAMES = 16  # of files that are asked for at once
MARK = b"\x1e"
# What pyserial lets through of a port that has gone, and which is no OSError.
_TERMINAL: tuple[type[Exception], ...] = (termios.error,) if termios else ()
SCRIPT = Path(__file__).parent / "on_board.py"


class Repl:
    def __init__(self, port: str):
        from mpremote.transport import TransportError
        from mpremote.transport_serial import SerialTransport

        self._port = port
        self._errors: tuple[type[Exception], ...] = (OSError, TransportError, *_TERMINAL)
        try:
            self._board = SerialTransport(os.path.realpath(port), BAUD, timeout=1)
        except self._errors as error:
            raise opening(port, error) from None

    def enter(self, limit_s: float = ENTER_S) -> None:
        """Its raw REPL, with our functions at hand."""
        self._guarded(lambda: self._board.enter_raw_repl(soft_reset=False, timeout_overall=limit_s))
        self._exec(_script())

    def ask(self, call: str, limit_s: float = ANSWER_S) -> Any:
        """What one of `on_board`'s functions returned; `call`: its name and arguments, `csr, "ab"`."""
        said = self._exec(f"asked({call})", limit_s)
        for line in reversed(said.splitlines()):
            if line.startswith(MARK):
                try:
                    answer = json.loads(line[1:])
                except ValueError:
                    break
                if "ok" in answer:
                    return answer["ok"]
                raise Problem(
                    "board_refused",
                    f"The board says {_short(answer.get('error'))}.",
                    _short(answer.get("detail")),
                )
        raise Problem("board_silent", why="its answer was not whole")

    def lacks(self, files: Mapping[str, bytes]) -> list[str]:
        """Those of the files that it has not, or not so."""
        found: list[str] = []
        wanted = [(name, hashlib.sha256(data).hexdigest()) for name, data in files.items()]
        for at in range(0, len(wanted), NAMES):
            found += self.ask(f"lacks, {wanted[at : at + NAMES]!r}")
        return found

    def put(self, path: str, data: bytes, sent: Callable[[int], None] = lambda size: None) -> None:
        digest = hashlib.sha256(data).hexdigest()
        for at in range(0, max(1, len(data)), PART_BYTES):
            piece = data[at : at + PART_BYTES]
            self.ask(f"part, {path!r}, {at == 0}, {base64.b64encode(piece).decode()!r}")
            sent(len(piece))
        if not self.ask(f"whole, {path!r}, {digest!r}"):
            raise Problem("board_differs", f"{path} does not come back from the board as it was sent.")

    def tell(self, code: str) -> None:
        """Code that ends the conversation: a reset."""
        self._guarded(lambda: self._board.exec_raw_no_follow(code))

    def close(self) -> None:
        try:
            self._board.close()
        except self._errors:
            pass

    def __enter__(self) -> Repl:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _exec(self, code: str, limit_s: float = ANSWER_S) -> bytes:
        def run() -> bytes:
            out, err = self._board.exec_raw(code, timeout=limit_s)
            if err:
                lines = err.decode("utf-8", "replace").strip().splitlines() or [""]
                raise Problem("board_refused", "The board stopped with an error.", _short(lines[-1]))
            return out

        return self._guarded(run)

    def _guarded(self, act: Callable[[], Any]) -> Any:
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints what it did not expect
                return act()
        except self._errors as error:
            raise _lost(self._port, error) from None


def _script() -> str:
    """What is meant for people stays here: a UART takes a while."""
    lines = SCRIPT.read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("#"))


def wait_for(port: str, limit_s: float) -> Repl:
    """The REPL of a board that has just been reset: its port may be gone for a moment, and it takes a while to boot."""
    end = time.monotonic() + limit_s
    while True:
        repl = None
        try:
            repl = Repl(port)
            repl.enter(min(ENTER_S, max(1.0, end - time.monotonic())))
            return repl
        except Problem as problem:
            if repl is not None:
                repl.close()
            if problem.code == "board_refused" or time.monotonic() >= end:
                raise
            time.sleep(0.2)


def opening(port: str, error: Exception) -> Problem:
    why, low = _short(error), str(error).lower()
    if "permission denied" in low:
        return Problem("board_busy", f"{port} may not be opened.", why, "Join the group that owns it: dialout or uucp.")
    if "no such file" in low:
        return Problem("board_gone", why=why)
    # mpremote says no more than that it failed; whether the port is there tells the two apart.
    return Problem("board_busy", why=why) if Path(port).exists() else Problem("board_gone", why=why)


def _lost(port: str, error: Exception) -> Problem:
    if isinstance(error, OSError) or not Path(port).exists():
        return Problem("board_gone", why=_short(error))
    return Problem("board_silent", why=_short(error))


def _short(value: Any) -> str:
    return " ".join(str(value).split())[:200]
