# SPDX-License-Identifier: MIT
"""`trueboot bench`: many boards at once, a child process a port.

A slot is where a port is plugged in; a board is who its chip says.  Rules kept
  * A row goes to the board that had it before, else to the next board that fits.
  * A chip that is finished is passed over; one that is there twice, or is another device already, is refused.
  * Before a child builds on something, the record has it.  Who is not in it as finished is taken up again.
  * What may pass by itself (a cable, a busy port, the server) is tried again, a few times, later each time.
"""

from __future__ import annotations

import json
import queue
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..api import Api
from ..problem import RETRY, UNAVAILABLE, Problem
from . import boards, plan, record, steps
from .batch import Row
from .ports import Port

TICK_S = 0.2
LOOK_S = 1.0  # between looks at the ports
PLUG_S = 60  # for a cable to come back
PAUSE_S = 1.0  # before the second try; doubles
STOP_S = 5
EMPTY, WORKING, WAITING, DONE, FAILED, SKIPPED = "empty", "working", "waiting", "done", "failed", "skipped"


@dataclass
class Slot:
    name: str
    port: Port
    state: str = EMPTY
    row: Row | None = None
    chip_id: str = ""
    board: str = ""
    step: str = ""
    done: float = 0.0
    began: float = 0.0
    tries: int = 0
    due: float = 0.0
    give_up: float = 0.0
    lines: list[str] = field(default_factory=list)  # of what went wrong last
    code: str = ""
    child: subprocess.Popen[str] | None = None
    gone: bool = False  # its port is not there now


class Bench:
    def __init__(
        self,
        api: Api,
        wanted: steps.Wanted,
        rows: Sequence[Row],
        kept: record.Record,
        look: Callable[[], dict[str, Port]],
        folder: Path,
        tries: int = 3,
        stay: bool = False,
        told: Callable[[Bench, Slot | None], None] = lambda bench, slot: None,
    ):
        """`look`: slot -> port, of what is plugged in now; `folder`: for what children share; `stay`: wait for more boards."""
        self.api, self.wanted, self.rows, self.kept = api, wanted, list(rows), kept
        self.look, self.folder, self.tries, self.stay, self.told = look, folder, tries, stay, told
        self.slots: dict[str, Slot] = {}
        self.began = time.monotonic()
        self._queue: queue.Queue[tuple[Slot, subprocess.Popen[str], dict[str, Any] | None]] = queue.Queue()
        self._same: dict[str, Path] = {}
        self._finished = kept.finished()
        self._claims = kept.latest(record.CLAIMED, "device")
        self._looked = 0.0

    # What others look at

    def finished(self) -> set[str]:
        """Serials."""
        return {line["device"] for line in self._finished.values()}

    def left(self) -> list[Row]:
        done = self.finished()
        return [row for row in self.rows if row.serial not in done]

    def run(self) -> None:
        try:
            self._look()
            if not self.slots and not self.stay:
                raise Problem("board_missing")
            while self._going():
                self._turn()
        finally:
            self._stop()

    def _going(self) -> bool:
        if any(slot.state in (WORKING, WAITING) for slot in self.slots.values()):
            return True
        return self.stay and bool(self.left())

    def _turn(self) -> None:
        slot: Slot | None = None
        try:
            slot, child, event = self._queue.get(timeout=TICK_S)
            if slot.child is child:
                self._heard(slot, event)
        except queue.Empty:
            pass
        if time.monotonic() - self._looked >= LOOK_S:
            self._look()
        for one in self.slots.values():
            self._due(one)
        self.told(self, slot)

    # Ports come and go

    def _look(self) -> None:
        self._looked = time.monotonic()
        now = self.look()
        for name, port in now.items():
            slot = self.slots.get(name)
            if slot is None:
                slot = self.slots[name] = Slot(name, port)
            slot.port = port
            if slot.state == EMPTY and self.left():
                self._begin(slot)
            slot.gone = False
        for name, slot in self.slots.items():
            slot.gone = name not in now
            if slot.gone and slot.state in (DONE, FAILED, SKIPPED) and self.stay:
                self.slots[name] = Slot(name, slot.port)

    def _due(self, slot: Slot) -> None:
        if slot.state != WAITING or time.monotonic() < slot.due:
            return
        if not slot.gone:
            self._begin(slot)
        elif time.monotonic() > slot.give_up:
            self._fail(slot)

    # A child

    def _begin(self, slot: Slot) -> None:
        slot.state, slot.step, slot.done = WORKING, "identify", 0.0
        slot.tries += 1
        slot.began = slot.began or time.monotonic()
        server = self.api.server
        job = {
            "port": slot.port.device,
            "tool": slot.port.tool,
            "wanted": self.wanted._replace(turn=str(self.folder / "turn"))._asdict(),
            "server": {"url": server.url, "ca_file": server.ca_file, "token": server.token},
        }
        slot.child = subprocess.Popen(
            [sys.executable, "-m", "trueboot.flash.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is this process's to hear
        )
        self._say(slot, job)
        threading.Thread(target=self._listen, args=(slot, slot.child), daemon=True).start()

    def _listen(self, slot: Slot, child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            self._queue.put((slot, child, event))
        self._queue.put((slot, child, None))

    def _say(self, slot: Slot, value: Any) -> None:
        assert slot.child is not None and slot.child.stdin is not None
        try:
            slot.child.stdin.write(json.dumps(value) + "\n")
            slot.child.stdin.flush()
        except OSError:
            pass  # it has ended; its end is heard of

    def _heard(self, slot: Slot, event: dict[str, Any] | None) -> None:
        if slot.state != WORKING:
            return  # it was sent away, and ends
        if event is None:
            return self._problem(slot, "internal", Problem("internal", why="its process ended").lines(), 1)
        name = event["event"]
        if name == "identified":
            self._identified(slot, event["chip_id"], event["board"])
        elif name == "step":
            slot.step, slot.done = event["step"], event["done"]
            if "plan" in event:
                self.kept.append(record.WRITTEN, **self._facts(slot), plan=event["plan"])
        elif name == "done":
            self._done(slot, event)
        elif name == "problem":
            self._problem(slot, event["code"], event["lines"], event["exit"])

    # What a chip is to be

    def _identified(self, slot: Slot, chip_id: str, board: str) -> None:
        if slot.chip_id not in ("", chip_id):
            slot.row, slot.tries = None, 1  # while this one was waited for, another was plugged in
        slot.chip_id, slot.board = chip_id, board
        others = [
            one for one in self.slots.values() if one is not slot and one.chip_id == chip_id and one.state == WORKING
        ]
        earlier = self._finished.get(chip_id)
        if others:
            return self._refuse(slot, Problem("chip_known", f"The chip {chip_id} is in {others[0].name}, too."))
        mine = {row.serial for row in self.rows}
        if earlier and not self.wanted.replace:
            if earlier["device"] in mine:
                self._end(slot, SKIPPED)
                slot.row = next(row for row in self.rows if row.serial == earlier["device"])
                return
            why = f"it is {earlier['device']}, finished {earlier['time']}"
            return self._refuse(slot, Problem("chip_known", f"The chip {chip_id} was flashed before.", why))
        row = slot.row or self._row_for(chip_id, board)
        if row is None:
            if any(not one.board or one.board == board for one in self.left()):
                return self._end(slot, SKIPPED)  # every row has its board
            return self._refuse(slot, Problem("board_wrong", f"No row is for a board of the kind {board}."))
        slot.row = row
        self._claims[chip_id] = row.serial
        self.kept.append(record.CLAIMED, **self._facts(slot), slot=slot.name)
        try:
            same = self.shared(board)
        except Problem as problem:
            return self._refuse(slot, problem)
        tags = {"group": row.group} if row.group else {}
        written = "" if earlier else self.kept.latest(record.WRITTEN, "plan").get(chip_id, "")
        self._say(
            slot,
            {"device": row.serial, "wifi": row.wifi, "same": str(same), "tags": tags, "written": written},
        )

    def _row_for(self, chip_id: str, board: str) -> Row | None:
        # A failed board keeps its row while it is plugged in; then another may have it.
        taken = {one.row.serial for one in self.slots.values() if one.row}
        free = [row for row in self.left() if row.serial not in taken and row.board in ("", board)]
        own = self._claims.get(chip_id)
        claimed = {device for chip, device in self._claims.items() if chip != chip_id}
        # Best the one that it had; else one that nobody had; else one whose board did not come back.
        free.sort(key=lambda row: (row.serial != own, row.serial in claimed))
        return free[0] if free else None

    def shared(self, board: str) -> Path:
        """Agent and app for this board, compiled once."""
        if board not in self._same:
            made = boards.named(self.wanted.board or board)
            path = self.folder / f"{board}.json"
            plan.save(path, steps.everything(made, self.wanted))
            self._same[board] = path
        return self._same[board]

    # Ends

    def _done(self, slot: Slot, event: dict[str, Any]) -> None:
        from .single import finish, retire

        assert slot.row is not None
        done = steps.Done(**{name: event[name] for name in steps.Done._fields})
        earlier = self._finished.get(slot.chip_id)
        if earlier and earlier["device"] != done.device_key:
            retire(self.api, self.wanted, self.kept, earlier)
        labels = {"labels": slot.row.labels} if slot.row.labels else {}
        facts = self._facts(slot) | {"slot": slot.name} | labels
        took = round(time.monotonic() - slot.began, 1)
        self._finished[slot.chip_id] = self.kept.append(
            record.FINISHED, **facts, **finish(done, self.wanted), tries=slot.tries, seconds=took
        )
        self._end(slot, DONE)

    def _problem(self, slot: Slot, code: str, lines: list[str], exit_code: int) -> None:
        slot.code, slot.lines = code, lines
        if exit_code in (RETRY, UNAVAILABLE) and slot.tries < self.tries:
            slot.state = WAITING
            self.kept.append(record.TRIED, **self._facts(slot), slot=slot.name, error=code, tries=slot.tries)
            pause = PAUSE_S * 2 ** (slot.tries - 1) * random.uniform(0.75, 1.25)
            slot.due, slot.give_up = time.monotonic() + pause, time.monotonic() + PLUG_S
            self._looked = 0.0  # is its port there still?
            return
        self._fail(slot)

    def _refuse(self, slot: Slot, problem: Problem) -> None:
        slot.code, slot.lines = problem.code, problem.lines()
        self._fail(slot)

    def _fail(self, slot: Slot) -> None:
        self.kept.append(
            record.FAILED, **self._facts(slot), slot=slot.name, error=slot.code, detail=slot.lines[0], tries=slot.tries
        )
        self._end(slot, FAILED)

    def _end(self, slot: Slot, state: str) -> None:
        slot.state = state
        if slot.child and slot.child.stdin:
            try:
                slot.child.stdin.close()
            except OSError:
                pass

    def _facts(self, slot: Slot) -> dict[str, Any]:
        facts = {"chip_id": slot.chip_id, "board": slot.board, "device": slot.row.serial if slot.row else ""}
        return {name: value for name, value in facts.items() if value}

    def _stop(self) -> None:
        import os
        import signal

        for slot in self.slots.values():
            child = slot.child
            if child is None:
                continue
            if child.poll() is None:
                try:
                    os.killpg(child.pid, signal.SIGTERM)  # esptool goes along
                    child.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
                except ProcessLookupError:
                    child.wait()
