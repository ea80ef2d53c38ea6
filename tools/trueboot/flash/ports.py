# SPDX-License-Identifier: MIT
"""Serial ports with a board behind them.  A slot is where the port is plugged in, which outlives the board in it.

Serial numbers of USB bridges are no identity: a CH340 has none, and a bridge is not the chip.  Who a board is, its chip says.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from ..problem import Problem
from . import boards


class Port(NamedTuple):
    device: str  # /dev/ttyUSB0
    slot: str  # usb-1-1.3
    usb: str  # 10c4:ea60, or "" for a port that is no USB device
    word: str  # bridge, micropython, or "" when its id is not known
    tool: str = ""  # what writes boards with this id, esptool or uf2; "" when that is not known


def found() -> list[Port]:
    """Those whose USB id is a known board's, in order of their slots."""
    from serial.tools import list_ports

    known = boards.usb_ids()
    ports = [_port(one, known) for one in list_ports.comports()]
    return sorted((port for port in ports if port.word), key=lambda port: port.slot)


def named(device: str) -> Port:
    from serial.tools import list_ports

    known = boards.usb_ids()
    for one in list_ports.comports():
        if one.device == device:
            return _port(one, known)
    if not os.path.exists(device):
        raise Problem("board_missing", f"There is no port {device}.", todo="See which there are: trueboot flash --list")
    return Port(device, os.path.basename(device), "", "")


def chosen(name: str) -> Port:
    """A port by its name; for "auto" the only one there is."""
    if name != "auto":
        return named(name)
    ports = found()
    if not ports:
        raise Problem("board_missing")
    if len(ports) > 1:
        raise Problem(
            "board_missing",
            f"{len(ports)} boards are there.",
            ", ".join(f"{port.device} in {port.slot}" for port in ports),
            "Say which: --port PORT; or flash them all: trueboot bench",
        )
    return ports[0]


def _port(one, known: dict[str, set[str]]) -> Port:
    usb = f"{one.vid:04x}:{one.pid:04x}" if one.vid is not None else ""
    words = known.get(usb, set())
    word = next((word for word in (boards.MICROPYTHON, boards.BRIDGE) if word in words), "")
    where = (one.location or "").partition(":")[0]
    tools = {board.tool for board in boards.load().values() if usb in board.usb}
    slot = f"usb-{where}" if where else os.path.basename(one.device)
    return Port(one.device, slot, usb, word, tools.pop() if len(tools) == 1 else "")
