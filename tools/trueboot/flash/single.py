# SPDX-License-Identifier: MIT
"""`trueboot flash`: one board, its record and its label."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ..api import Api
from ..problem import Problem
from ..tables import show_facts, show_json
from . import labels, ports, record, steps

RECORD, SHEET = "record.ndjson", "labels.html"


def flash(
    port: ports.Port, wanted: steps.Wanted, api: Api, name: str, folder: Path, as_json: bool, quiet: bool = False
) -> dict[str, Any]:
    """All the way; returns the record's last line."""
    with record.Record(folder / RECORD) as kept, Progress(quiet) as progress:
        found = steps.identify(port.device, port.tool, wanted)
        progress.say(
            f"found      {found.board.name}, chip {found.chip_id}, {found.flash_bytes >> 20} MB, in {port.slot}"
        )
        earlier = kept.finished().get(found.chip_id)
        if earlier and not wanted.replace:
            raise Problem(
                "chip_known",
                f"The chip {found.chip_id} was flashed before.",
                f"it is {earlier['device']}, finished {earlier['time']}",
            )
        began = kept.latest(record.CLAIMED, "device").get(found.chip_id)
        device = name or (earlier or {}).get("device") or began or f"{found.board.chip}-{found.chip_id}"
        facts = {"chip_id": found.chip_id, "board": found.board.name, "device": device, "slot": port.slot}
        kept.append(record.CLAIMED, **facts)

        def tell(step: str, done: float, **more: Any) -> None:
            if step == "write" and "plan" in more:
                kept.append(record.WRITTEN, **facts, plan=more["plan"])
            progress(step, done)

        # What is finished begins anew; what is not goes on.
        written = "" if earlier else kept.latest(record.WRITTEN, "plan").get(found.chip_id, "")
        try:
            done = steps.Work(port.device, found, device, api, wanted, tell).run(written=written)
        except Problem as problem:
            kept.append(record.FAILED, **facts, error=problem.code, detail=problem.lines()[0])
            raise
        if earlier and earlier["device"] != device:
            retire(api, wanted, kept, earlier)
        line = kept.append(record.FINISHED, **facts, **finish(done, wanted))
        label = folder / f"{device}.svg"
        labels.write(label, labels.svg(labels.of_line(line)))
        labels.write(folder / SHEET, labels.sheet(labels.of_line(one) for one in kept.finished().values()))
    show(line, label, as_json)
    return line


def finish(done: steps.Done, wanted: steps.Wanted) -> dict[str, Any]:
    return {
        "url": done.url,
        "cert_sha256": done.fingerprint,
        "app": done.app,
        "fw": Path(wanted.firmware).name if wanted.firmware else "",
    }


def retire(api: Api, wanted: steps.Wanted, kept: record.Record, earlier: dict[str, Any]) -> None:
    """A chip has become another device: what it was is revoked at the server, and stays in the record."""
    path = f"/api/v1/devices/{wanted.info['product_key']}/{earlier['device']}/revoke"
    try:
        api.post(path, {"reason": "superseded"})
    except Problem as problem:
        if problem.code != "not_found":
            raise
    kept.append(record.RETIRED, chip_id=earlier["chip_id"], device=earlier["device"])


def show(line: dict[str, Any], label: Path, as_json: bool) -> None:
    if as_json:
        return show_json({**line, "label": str(label)})
    show_facts(
        [
            ("device", line["device"]),
            ("board", line["board"]),
            ("chip", line["chip_id"]),
            ("certificate", line["cert_sha256"]),
            ("proven", f"app {line['app']}, by its signed report"),
            ("label", label),
        ]
    )


class Progress:
    """A bar for the step at hand on a terminal, else a line when a step begins."""

    WORDS = {"write": "write", "identity": "identity", "contact": "contact"}

    def __init__(self, quiet: bool = False):
        self._quiet = quiet
        self._step = ""
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty() and not self._quiet:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                TextColumn("{task.description:<10}"),
                BarColumn(bar_width=30),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
        return self

    def say(self, text: str) -> None:
        if not self._quiet:
            (self._bar.console.print if self._bar else lambda line: print(line, file=sys.stderr, flush=True))(text)

    def __call__(self, step: str, done: float) -> None:
        new = step != self._step
        self._step = step
        if self._bar is not None:
            if new:
                self._task = self._bar.add_task(self.WORDS[step], total=1.0)
            self._bar.update(self._task, completed=done)
        elif new and not self._quiet:
            print(f"{self.WORDS[step]:<10} ...", file=sys.stderr, flush=True)

    def __exit__(self, *_exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()
