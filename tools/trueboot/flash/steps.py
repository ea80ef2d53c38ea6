# SPDX-License-Identifier: MIT
"""One board, from bare to heard of.  Each step is durable before the next begins, and may be done again.

    identify    which chip, which board, how much flash                 (esptool, or the REPL)
    write       firmware and file system, verified                      (esptool; UF2; or files over the REPL)
    identity    key made on the chip, request, certificate, read back, proof
    contact     it starts, and the server has a signed report of it

A board that was left in the middle holds NO_AGENT with its plan's digest: it starts nothing, and is gone on with when the
same plan comes again.  Nothing but a signed report that the server has accepted makes a board a good one.
"""

from __future__ import annotations

import json
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..api import Api
from ..problem import Problem
from . import boards, esp, filesystem, firmware, identity, plan, repl, uf2

BOOT_S = 20
CONTACT_S = 120
POLL_S = 0.25
STEPS = ("identify", "write", "identity", "contact")

Tell = Callable[..., None]


class Wanted(NamedTuple):
    """What is the same for every board of a run."""

    info: dict[str, Any]  # the server's, as operator.json has it
    board: str = ""  # "": as the chip says
    firmware: str = ""  # "": the board keeps its own
    unverified: bool = False
    app: str = ""
    version: str = plan.EXAMPLE_VERSION
    config: dict[str, Any] = {}
    wifi: dict[str, Any] | None = None
    baud: int = 460800
    replace: bool = False
    contact_s: float = CONTACT_S
    simulated: bool = False
    fresh: bool = False  # the firmware has just been written (a board that had no port before)
    volumes: str = ""  # where drives of boards in BOOTSEL mode appear
    turn: str = ""  # a file to lock while a board is a drive: two drives at once look alike


class Found(NamedTuple):
    board: boards.Board
    chip_id: str
    flash_bytes: int


class Done(NamedTuple):
    device_key: str
    url: str
    fingerprint: str
    app: str


def identify(port: str, tool: str, wanted: Wanted) -> Found:
    """`tool`: what writes it, as far as its USB id says that; esptool asks best who is there."""
    board = boards.named(wanted.board) if wanted.board else None
    if (board.tool if board else tool) == "uf2":
        return uf2.identify(port, board, wanted)
    chip = esp.identify(port, wanted.baud)
    if board is None:
        board = boards.of_chip(chip.chip)
    if chip.chip != board.chip:
        raise Problem("board_wrong", f"This is no {board.name}.", f"its chip is {chip.chip}, not {board.chip}")
    return Found(board, chip.id, chip.flash_bytes)


class Work:
    """One board's way.  `tell(step, done, **facts)`: how far it is, `done` from 0 to 1."""

    def __init__(self, port: str, found: Found, device_key: str, api: Api, wanted: Wanted, tell: Tell):
        self.port, self.found, self.device_key = port, found, device_key
        self.api, self.wanted, self.tell = api, wanted, tell
        self.product_key = str(wanted.info["product_key"])
        self.tags = {"chip_id": found.chip_id, "board": found.board.name}

    def run(self, same: dict[str, bytes] | None = None, written: str = "") -> Done:
        """`same`: agent and app, if they are compiled already; `written`: the digest of what an earlier try wrote."""
        board, wanted = self.found.board, self.wanted
        image = None
        if wanted.firmware:
            image = firmware.read(Path(wanted.firmware), board, wanted.unverified)
            firmware.must_fit(image, self.found.flash_bytes)
        same = same or everything(board, wanted)
        made = plan.make(
            board,
            self.device_key,
            same,
            wanted.info,
            wanted.config,
            wanted.wifi,
            image.sha256 if image else "",
            self.api.server.token,
        )
        self._write(made, image, written == made.digest)
        self.tell("write", 1.0, plan=made.digest)
        with repl.wait_for(self.port, BOOT_S) as there:
            certified = self._identity(there, made)
            self.tell("identity", 1.0, certificate=certified.fingerprint)
            self._start(there)
        self._contact(certified)
        self.tell("contact", 1.0)
        url = f"{wanted.info['https']}/ui/devices/{self.product_key}/{self.device_key}#{certified.fingerprint[:16]}"
        return Done(self.device_key, url, certified.fingerprint, wanted.version)

    # -- write

    def _write(self, made: plan.Plan, image: firmware.Firmware | None, earlier: bool) -> None:
        if earlier and self._still_holds(made.digest):
            return
        if not self.wanted.replace:
            identity.refuse_in_use(identity.known(self.api, self.product_key, self.device_key), self.device_key)
        self.tell("write", 0.0)
        if image is not None and self.found.board.tool == "uf2":
            if not self.wanted.fresh:
                uf2.write(self.port, image, self.wanted, lambda done: self.tell("write", done * 0.3))
        elif image is not None:
            self._write_flash(made, image)
            if image.vfs is not None:
                return
        self._write_files(made)

    def _still_holds(self, digest: str) -> bool:
        """Whether the board still is where an earlier try has left it."""
        try:
            with repl.wait_for(self.port, BOOT_S / 4) as board:
                return _holds(board, digest)
        except Problem as problem:
            if problem.code in ("board_silent", "board_refused"):
                return False
            raise

    def _write_flash(self, made: plan.Plan, image: firmware.Firmware) -> None:
        """Firmware and file system in one pass; the latter last, so that what was cut off holds no plan."""
        board = self.found.board
        with tempfile.TemporaryDirectory() as folder:  # 0700: Wi-Fi's password is in it
            parts = [(board.offset, str(image.path))]
            size = image.path.stat().st_size
            if image.vfs is not None:
                files = Path(folder) / "files.img"
                files.write_bytes(filesystem.build(made.files, image.vfs.size))
                parts.append((image.vfs.offset, str(files)))
                size += image.vfs.size
            esp.write(
                self.port,
                self.wanted.baud,
                board.chip,
                parts,
                size,
                lambda done: self.tell("write", done * (1.0 if image.vfs else 0.5)),
            )

    def _write_files(self, made: plan.Plan) -> None:
        """File by file; NO_AGENT first, empty, so that nothing starts meanwhile, and again last, with the digest."""
        total = sum(map(len, made.files.values()))
        sent = 0

        def count(size: int) -> None:
            nonlocal sent
            sent += size
            self.tell("write", 0.3 + 0.7 * sent / total)

        with repl.wait_for(self.port, BOOT_S) as board:
            if board.ask("who")["mpy"] != 6:
                raise Problem("board_wrong", "The board's MicroPython loads other .mpy files.", "ours are of version 6")
            board.ask("halt, ''")  # whatever it ran
            own = {"trueboot.json": made.files["trueboot.json"]}
            if self.wanted.firmware or self.wanted.replace or board.lacks(own):
                board.ask("wipe, 'state'")  # of another device, or of an earlier life
            files = {name: data for name, data in made.files.items() if name != plan.HALT}
            lacking = board.lacks(files)
            count(sum(len(data) for name, data in files.items() if name not in lacking))
            for name in lacking:
                board.put(name, files[name], count)
            board.ask(f"halt, {made.digest!r}")

    # -- identity

    def _identity(self, board: repl.Repl, made: plan.Plan) -> identity.Certified:
        self.tell("identity", 0.0)
        if not _holds(board, made.digest):
            raise Problem("board_differs", "The board does not hold what was written.", "its plan is another")
        certified = identity.on_board(board, self.api, self.product_key, self.device_key)
        if certified is None:
            board.ask("wipe, 'state'")
            secret = identity.secret_for(self.api, self.product_key, self.device_key, self.wanted.replace)
            request = board.ask(f"csr, {secrets.token_bytes(32).hex()!r}")
            self.tell("identity", 0.3)
            certified = identity.certify(self.api, self.product_key, self.device_key, secret, request)
            self.tell("identity", 0.6)
            document = {
                "product_key": self.product_key,
                "device_key": self.device_key,
                "device_secret": secret,
                "certificate": certified.chain,
            }
            board.ask(f"accept, {json.dumps(document)!r}")
        self.tell("identity", 0.8)
        identity.check_read_back(board, certified)
        identity.prove(board, certified)
        return certified

    # -- contact

    def _start(self, board: repl.Repl) -> None:
        self.tell("contact", 0.0)
        # At the server, so that somebody with a chip in his hand finds its device.
        path = f"/api/v1/devices/{self.product_key}/{self.device_key}/attributes"
        self.api.post(path, {"tags": self.tags})
        board.ask("go")
        board.tell("import machine; machine.reset()")

    def _contact(self, certified: identity.Certified) -> None:
        """The server tells of a report that was signed by the certified key."""
        began = time.monotonic()
        _, last = self.api.events(0, 0)
        while True:
            device = identity.known(self.api, self.product_key, self.device_key) or {}
            mine = (device.get("certificate") or {}).get("serial") == certified.serial
            if mine and device.get("last_report") and device.get("proven_version"):
                return
            left = self.wanted.contact_s - (time.monotonic() - began)
            if left <= 0:
                self._halt_again()
                raise Problem("no_contact", why=f"the server has heard nothing of {self.device_key}")
            self.tell("contact", min(0.9, (time.monotonic() - began) / self.wanted.contact_s))
            _, last = self.api.events(last, min(POLL_S, left))

    def _halt_again(self) -> None:
        """A board that nobody has heard of shall not go on by itself, unseen, as if it were good."""
        try:
            with repl.wait_for(self.port, BOOT_S / 4) as board:
                board.ask("stay")
        except Problem:
            pass  # the record says that it is not good


def _holds(board: repl.Repl, digest: str) -> bool:
    return bool(board.ask("who")["plan"] == digest)


def everything(board: boards.Board, wanted: Wanted) -> dict[str, bytes]:
    source = Path(wanted.app) if wanted.app else None
    return plan.agent_files(board, wanted.simulated) | plan.app_files(source, board.name, wanted.version)
