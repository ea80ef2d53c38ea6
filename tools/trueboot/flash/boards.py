# SPDX-License-Identifier: MIT
"""What is known of boards (boards/*/board.json), and which board a chip or a USB device may be.

Only boards that run MicroPython are flashed here.  A folder of one's own is named by its path.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from ..problem import Problem

FOLDER = Path(__file__).parent / "boards"  # a link to the repository's; a copy in a wheel
MICROPYTHON, BRIDGE, BOOTLOADER = "micropython", "bridge", "bootloader"


class Board(NamedTuple):
    name: str
    product: str
    chip: str
    adapter: str  # a module's name, of platform_adapters
    flash_bytes: int
    file_system_bytes: int
    tool: str  # esptool or uf2
    offset: int
    family: int
    page: str
    known: frozenset[str]  # SHA-256 of firmwares that were compared with the vendor's
    usb: dict[str, str]  # "10c4:ea60" -> bridge, micropython, bootloader

    @property
    def slots_kind(self) -> str:
        """Apps are what is flashed; a board whose adapter takes firmware first has to be told."""
        return "app" if self.tool == "esptool" else ""


def load() -> dict[str, Board]:
    found = {}
    for path in sorted(FOLDER.glob("*/board.json")):
        about = json.loads(path.read_text("utf-8"))
        if about["runtime"] == "micropython":
            found[about["name"]] = _board(about)
    return found


def named(name: str) -> Board:
    """By its name, or by the path of its folder."""
    path = Path(name)
    if path.is_dir() and (path / "board.json").is_file():
        try:
            return _board(json.loads((path / "board.json").read_text("utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            raise Problem("file_unusable", f"{path}/board.json cannot be used.", str(error)) from None
    boards = load()
    if name not in boards:
        raise Problem("usage", f"No board is called {name}.", todo=f"One of {', '.join(boards)}, or a folder's path.")
    return boards[name]


def of_chip(chip: str) -> Board:
    """The one board that has this chip; who has another names it."""
    found = [board for board in load().values() if board.chip == chip]
    if len(found) != 1:
        raise Problem("board_wrong", f"No board is known for the chip {chip}.", todo="Name yours: --board NAME")
    return found[0]


def usb_ids() -> dict[str, set[str]]:
    """What a USB device with this id may be: the words of all boards that have it."""
    found: dict[str, set[str]] = {}
    for board in load().values():
        for usb_id, word in board.usb.items():
            found.setdefault(usb_id, set()).add(word)
    return found


def _board(about: dict[str, Any]) -> Board:
    firmware = about["firmware"]
    return Board(
        about["name"],
        about["product"],
        about["chip"],
        about["adapter"].split(".")[1],
        about["flash_bytes"],
        about["file_system_bytes"],
        firmware["tool"],
        firmware.get("offset", 0),
        int(firmware.get("family", "0"), 16),
        firmware["page"],
        frozenset(known["sha256"] for known in firmware.get("known", ())),
        {one["id"]: one["as"] for one in about["usb"]},
    )
