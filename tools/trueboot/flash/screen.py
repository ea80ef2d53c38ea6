# SPDX-License-Identifier: MIT
"""What a bench shows while it works: a table with bars on a terminal, else a line when something changes."""

from __future__ import annotations

import sys
import time
from typing import Any

from ..tables import printable
from .bench import DONE, EMPTY, FAILED, SKIPPED, WAITING, WORKING, Bench, Slot

REDRAW_S = 0.2
WORDS = {
    DONE: "PULL: ok",
    FAILED: "PULL: failed",
    SKIPPED: "PULL: was finished",
    EMPTY: "plug in",
    WAITING: "again soon",
}
BAR = 16
SHARES = {"identify": (0.0, 0.05), "write": (0.05, 0.85), "identity": (0.85, 0.95), "contact": (0.95, 1.0)}


class Screen:
    def __init__(self, plain: bool = False):
        self._live: Any = None
        self._said: dict[str, str] = {}
        self._drawn = 0.0
        self._bench: Bench | None = None
        self._plain = plain or not sys.stderr.isatty()

    def __enter__(self) -> Screen:
        if not self._plain:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._live is not None:
            if self._bench is not None:
                self._live.update(self._table(self._bench), refresh=True)
            self._live.stop()

    def __call__(self, bench: Bench, _slot: Slot | None) -> None:
        if self._live is None:
            return self._lines(bench)
        self._bench = bench
        if time.monotonic() - self._drawn >= REDRAW_S:
            self._drawn = time.monotonic()
            self._live.update(self._table(bench), refresh=True)

    def _lines(self, bench: Bench) -> None:
        for slot in bench.slots.values():
            text = words(slot)
            if text != self._said.get(slot.name):
                self._said[slot.name] = text
                serial = slot.row.serial if slot.row else "-"
                print(f"{slot.name:<10} {serial:<16} {text}", file=sys.stderr, flush=True)

    def _table(self, bench: Bench) -> Any:
        from rich.table import Table
        from rich.text import Text  # plain: a code in brackets is no markup

        counts = head(bench)
        table = Table(title=counts, title_justify="left")
        for name in ("slot", "serial", "step", "", "s"):
            table.add_column(name)
        problems = []
        for slot in sorted(bench.slots.values(), key=lambda one: one.name):
            part = share(slot)
            bar = "▓" * round(BAR * part) + "░" * (BAR - round(BAR * part)) + f" {part:4.0%}"
            took = f"{time.monotonic() - slot.began:.0f}" if slot.state in (WORKING, WAITING) else ""
            style = {FAILED: "red", DONE: "green", WAITING: "yellow"}.get(slot.state, "")
            serial = slot.row.serial if slot.row else "–"
            step = slot.step if slot.state == WORKING else WORDS[slot.state]
            table.add_row(
                Text(slot.name), Text(serial), step, bar if slot.state in (WORKING, WAITING) else "", took, style=style
            )
            if slot.lines and slot.state in (FAILED, WAITING):
                problems.append(f"✗ {slot.name} {serial}: {words(slot)}")
                problems += [printable(line) for line in slot.lines if line.startswith("  do:")]
        if problems:
            table.caption = Text("\n".join(problems))
            table.caption_justify = "left"
        return table


def share(slot: Slot) -> float:
    """Of the whole way."""
    low, high = SHARES.get(slot.step, (0.0, 0.0))
    return 1.0 if slot.state == DONE else low + (high - low) * slot.done


def words(slot: Slot) -> str:
    if slot.state == WORKING:
        return slot.step
    if slot.state in (FAILED, WAITING) and slot.lines:
        again = "" if slot.state == FAILED else f", try {slot.tries + 1} follows"
        return printable(slot.lines[0]) + again
    return {DONE: "ok", SKIPPED: "was finished" if slot.row else "no row is left"}.get(slot.state, slot.state)


def head(bench: Bench) -> str:
    total, left = len(bench.rows), len(bench.left())
    failed = sum(slot.state == FAILED for slot in bench.slots.values())
    done = total - left
    text = f"done {done}/{total}  failed {failed}"
    if done:
        took = time.monotonic() - bench.began
        text += f"  {took:.0f} s"
        if left:
            text += f"  ETA {took / done * left / 60:.0f} min"
    return text
