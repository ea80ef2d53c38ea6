# SPDX-License-Identifier: MIT
"""One simulated board behind one port, as a process:

    python -m trueboot.flash.simulated.board FOLDER LINK BOARD ID [--flash-kb N] [--chip C] [--silent] [--bootsel] [--pull WHEN]

FOLDER is all of the board: what is in its flash stays there when its cable is pulled and plugged in again.  LINK is made to
point to the port, and its name is the slot.  ESP32: whoever synchronises with the ROM loader gets it; who types anything else
boots what was flashed: the firmware's hash must hold, and the file system is what the image says.  RP2: `machine.bootloader()`
makes a drive appear in FOLDER/../volumes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
from pathlib import Path

from .. import boards, filesystem, firmware
from . import image, loader
from .terminal import Terminal

HEAP = "512k"
DRIVE_POLL_S = 0.05
# When a cable is pulled: at a call of `on_board`, or a share of the firmware's bytes.
CALLS = {"request": b"asked(csr", "certificate": b"asked(accept", "proof": b"asked(prove", "start": b"asked(go"}
LONGEST_CALL = max(map(len, CALLS.values()))
WRITE_BYTES = 40_000
BOARD_IDS = {"rp2040": "RPI-RP2", "rp2350": "RP2350"}


class Pulled(Terminal):
    """Whose cable is pulled at a moment."""

    def __init__(self, folder: Path, heap: str, about: dict[str, str], pull: str):
        super().__init__(folder, heap, about)
        self.pull = pull
        self._last = b""

    def typed(self, data: bytes) -> None:
        if self.pull in CALLS:
            self._last = (self._last + data)[-len(data) - LONGEST_CALL :]
            if CALLS[self.pull] in self._last:
                os._exit(0)
        super().typed(data)


class Esp(Pulled):
    def __init__(self, folder: Path, board: boards.Board, number: str, flash_bytes: int, chip: str, pull: str):
        self.root = folder / "root"
        self.root.mkdir(parents=True, exist_ok=True)
        super().__init__(self.root, HEAP, {"SIMULATED_ID": number}, pull)
        self.board = board
        self.chip = chip
        self.flash = loader.Flash(folder / "flash.bin", flash_bytes, self._erased)
        self.mounted = folder / "mounted"
        loader.be(chip, bytes.fromhex(number), flash_bytes)

    def power_on(self) -> None:
        if not image.boots(bytes(self.flash.data[: image.APP_AT + 2 * 1024 * 1024]), self.board):
            self.tell(b"invalid header: 0xffffffff\r\n")
            return
        area = self._vfs()
        assert area is not None  # the firmware's hash held
        self._mount(self.flash.read(area.offset, area.size))
        self.start(program=True)

    def _erased(self, offset: int, end: int) -> None:
        """What MicroPython has written is gone with the flash that it was in."""
        area = self._vfs()
        if area is None or offset < area.offset + area.size and area.offset < end:
            self.mounted.unlink(missing_ok=True)

    def _vfs(self) -> firmware.Area | None:
        table = firmware.partitions(self.flash.read(firmware.TABLE_AT, 0xC00))
        return table["vfs"][2] if "vfs" in table else None

    def _mount(self, data: bytes) -> None:
        """The files are those of the flash, until MicroPython changes them; a new image takes their place."""
        digest = hashlib.sha256(data).hexdigest()
        if self.mounted.exists() and self.mounted.read_text() == digest:
            return
        shutil.rmtree(self.root)
        self.root.mkdir()
        if data.strip(b"\xff"):
            filesystem.unpack(data, self.root)
        self.mounted.write_text(digest)

    def typed(self, data: bytes) -> None:
        at = data.find(loader.SYNC)
        if at < 0:
            if not self.pid:
                self.power_on()
            super().typed(data)
            return
        self.stop()
        pulled = WRITE_BYTES if self.pull == "write" else 0
        left = loader.serve(self.port, self.far, self.chip, self.flash, data[at:], pulled)
        self.power_on()
        self.typed(left)


class Rp2(Pulled):
    def __init__(self, folder: Path, board: boards.Board, number: str, chip: str, pull: str, bootsel: bool):
        root = folder / "root"
        root.mkdir(parents=True, exist_ok=True)
        machine = f"{board.product} with {chip.upper()}"
        super().__init__(root, HEAP, {"SIMULATED_ID": number, "SIMULATED_MACHINE": machine}, pull)
        self.board = board
        self.bootsel = bootsel
        self.firmware = folder / "firmware.uf2"
        self.drive = folder.parent / "volumes" / f"RPI-RP2-{folder.name}"

    def power_on(self) -> None:
        if self.bootsel:
            self.bootsel = False
            self.ended(0)
        else:
            super().power_on()

    def ended(self, code: int) -> None:
        self.drive.mkdir(parents=True, exist_ok=True)
        (self.drive / "INFO_UF2.TXT").write_text(
            f"UF2 Bootloader v3.0\nModel: {self.board.product}\nBoard-ID: {BOARD_IDS[self.board.chip]}\n"
        )

    def turn(self) -> float | None:
        """While it is a drive: the board restarts once it has the last block."""
        if not self.drive.is_dir():
            return None
        file = self.drive / "firmware.uf2"
        if file.exists() and file.stat().st_size >= 512:
            data = file.read_bytes()
            if len(data) % 512 == 0 and len(data) // 512 >= int.from_bytes(data[24:28], "little"):
                self.firmware.write_bytes(data)
                shutil.rmtree(self.drive)
                self.start(program=True)
                return None
        return DRIVE_POLL_S


class Silent(Terminal):
    """A board without power, or with a cable that has no data lines."""

    def power_on(self) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m trueboot.flash.simulated.board")
    parser.add_argument("folder", type=Path)
    parser.add_argument("link", type=Path)
    parser.add_argument("board")
    parser.add_argument("id", help="the chip's, hex")
    parser.add_argument("--flash-kb", type=int, default=0)
    parser.add_argument("--chip", default="")
    parser.add_argument("--silent", action="store_true")
    parser.add_argument("--bootsel", action="store_true", help="RP2: its button is held, so that it begins as a drive")
    parser.add_argument("--pull", default="", choices=["", "write", *CALLS])
    given = parser.parse_args()
    board = boards.named(given.board)
    chip, flash_bytes = given.chip or board.chip, given.flash_kb << 10 or board.flash_bytes
    given.folder.mkdir(parents=True, exist_ok=True)
    made: Terminal
    if given.silent:
        made = Silent(given.folder, HEAP)
    elif board.tool == "esptool":
        made = Esp(given.folder, board, given.id, flash_bytes, chip, given.pull)
    else:
        made = Rp2(given.folder, board, given.id, chip, given.pull, given.bootsel)
    new = given.link.with_name(given.link.name + ".new")
    new.unlink(missing_ok=True)
    new.symlink_to(made.name)
    new.rename(given.link)
    print(made.name, flush=True)
    made.run()


if __name__ == "__main__":
    main()
