# SPDX-License-Identifier: MIT
"""RP2 boards: their REPL says who they are, and their boot ROM takes firmware as a file on a drive.

A drive is one when INFO_UF2.TXT is on it.  The boot ROM restarts the board by itself once it has the last block; the drive
goes then, often before the copying program hears that all is well.  Source: RP2040 datasheet, 2.8.4 and 2.8.5.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..problem import Problem
from . import boards, repl
from .firmware import Firmware, must_fit, read

if TYPE_CHECKING:
    from .ports import Port
    from .steps import Found, Wanted

INFO = "INFO_UF2.TXT"
VOLUME_S = 20
TURN_S = 300
POLL_S = 0.1
PIECE_BYTES = 64 * 1024
MACHINES = {"RP2040": "rp2040", "RP2350": "rp2350"}
BOARD_IDS = {"RPI-RP2": "rp2040", "RP2350": "rp2350"}


def first(volume: Path, wanted: Wanted, look: Callable[[], list[Port]], progress: Callable[[float], None]) -> Port:
    """A board in BOOTSEL mode, as a new one is, has a drive and no port: it is given its firmware, and its port comes."""
    if not wanted.firmware:
        raise Problem("usage", "A board in BOOTSEL mode needs a firmware.", todo="Name it: --firmware FILE.uf2")
    board = boards.named(wanted.board) if wanted.board else boards.of_chip(_chip_of(volume))
    if board.tool != "uf2" or board.chip != _chip_of(volume):
        raise Problem("board_wrong", f"This is no {board.name}.", f"its drive says {_chip_of(volume)}")
    image = read(Path(wanted.firmware), board, wanted.unverified)
    must_fit(image, board.flash_bytes)
    before = {port.device for port in look()}
    copy(image, volume, progress)
    end = time.monotonic() + VOLUME_S
    while time.monotonic() < end:
        new = [port for port in look() if port.device not in before]
        if len(new) == 1:
            return new[0]
        time.sleep(POLL_S)
    raise Problem("board_silent", "The board did not come back with its firmware.")


def _chip_of(volume: Path) -> str:
    try:
        text = (volume / INFO).read_text("ascii", "replace")[:1000]
    except OSError as error:
        raise Problem("volume_failed", why=error.strerror or str(error)) from None
    named = re.search(r"^Board-ID: *(\S+)", text, re.M)
    return BOARD_IDS.get(named[1] if named else "", "of another kind")


def identify(port: str, board: boards.Board | None, wanted: Wanted) -> Found:
    from .steps import Found

    with repl.wait_for(port, VOLUME_S) as there:
        about = there.ask("who")
    chip = next((chip for word, chip in MACHINES.items() if word in about["machine"]), "")
    if not chip:
        raise Problem(
            "board_wrong", "This is no board with an RP2 chip.", f"it says {about['machine'][:60] or 'nothing'}"
        )
    board = board or boards.of_chip(chip)
    if board.chip != chip:
        raise Problem("board_wrong", f"This is no {board.name}.", f"its chip is {chip}, not {board.chip}")
    return Found(board, str(about["id"]), board.flash_bytes)


def write(port: str, image: Firmware, wanted: Wanted, progress: Callable[[float], None]) -> None:
    """To its boot loader by the REPL, firmware onto the drive, and back."""
    with _turn(wanted.turn):
        before = set(volumes(wanted.volumes))
        with repl.wait_for(port, VOLUME_S) as board:
            board.tell("import machine; machine.bootloader()")
        copy(image, wait_for_volume(wanted.volumes, before), progress)


@contextmanager
def _turn(name: str) -> Iterator[None]:
    """One board of a bench at a time: nothing on a drive says whose it is."""
    if not name:
        yield
        return
    import fcntl

    with open(name, "ab") as file:
        end = time.monotonic() + TURN_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Problem("board_busy", "Other boards took too long with their drives.") from None
                time.sleep(POLL_S)
        yield


def volumes(where: str = "") -> list[Path]:
    """Drives of boards that wait for firmware; `where`: the folder that they appear in, for systems that have another."""
    user = os.environ.get("USER", "root")
    roots = (
        [Path(where)] if where else [Path("/media") / user, Path("/run/media") / user, Path("/media"), Path("/Volumes")]
    )
    found = []
    for root in roots:
        try:
            found += [place for place in sorted(root.iterdir()) if (place / INFO).is_file()]
        except OSError:
            continue
    return found


def wait_for_volume(where: str, before: set[Path]) -> Path:
    end = time.monotonic() + VOLUME_S
    while time.monotonic() < end:
        new = [place for place in volumes(where) if place not in before]
        if len(new) == 1:
            return new[0]
        time.sleep(POLL_S)
    raise Problem("volume_missing")


def copy(image: Firmware, volume: Path, progress: Callable[[float], None]) -> None:
    data = image.path.read_bytes()
    try:
        with (volume / "firmware.uf2").open("wb", buffering=0) as file:
            for at in range(0, len(data), PIECE_BYTES):
                file.write(data[at : at + PIECE_BYTES])
                progress((at + PIECE_BYTES) / len(data))
            os.fsync(file.fileno())
    except OSError as error:
        if volume.exists() and (volume / INFO).exists():
            raise Problem("volume_failed", why=error.strerror or str(error)) from None
        # Gone with the last block, as it should; whether that was so, the board tells when it answers.
