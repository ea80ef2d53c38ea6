# SPDX-License-Identifier: MIT
"""A batch from its file to its results: `batch.csv` -> `batch.ndjson` (the record), `batch.done.csv`, `batch-labels.html`."""

from __future__ import annotations

import csv
import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..api import Api
from ..problem import Problem
from ..tables import printable, show_json, show_table
from . import labels, record, steps
from .batch import RESULT, Bad, Batch, Row
from .bench import FAILED, Bench, Slot
from .ports import Port
from .screen import Screen


def run(
    path: Path,
    batch: Batch,
    wanted: steps.Wanted,
    api: Api,
    look: Callable[[], dict[str, Port]],
    operator: str,
    tries: int,
    stay: bool,
    as_json: bool,
) -> None:
    """Problem("bench_failed") unless every row of the file is a good board's."""
    with record.Record(path.with_suffix(".ndjson")) as kept, tempfile.TemporaryDirectory() as folder:
        facts = {"batch": path.name, "sha256": batch.sha256, "operator": operator, "rows": len(batch.rows)}
        kept.append("bench.started", **facts)
        for bad in batch.bad:
            kept.append("row.bad", line=bad.line, column=bad.column, why=bad.why)
            print(f"{path.name}: {printable(bad)}", file=sys.stderr)
        with Screen() as screen:
            bench = Bench(api, wanted, batch.rows, kept, look, Path(folder), tries, stay, screen)
            if bench.left():
                bench.run()
        left = bench.left()
        kept.append("bench.ended", done=len(batch.rows) - len(left), left=len(left), bad=len(batch.bad))
        finished = {line["device"]: line for line in kept.finished().values()}
        results(path.with_suffix(".done.csv"), batch.rows, kept)
        mine = [labels.of_line(finished[row.serial]) for row in batch.rows if row.serial in finished]
        labels.write(path.with_name(path.stem + "-labels.html"), labels.sheet(mine))
    summary(path, batch.rows, batch.bad, left, list(bench.slots.values()), as_json)


def results(path: Path, rows: Sequence[Row], kept: record.Record) -> None:
    """What came of each row; references to passwords are left out."""
    finished = {line["device"]: line for line in kept.finished().values()}
    began: dict[str, str] = {}
    failed: dict[str, dict[str, Any]] = {}
    for line in kept.lines:
        device = line.get("device", "")
        if line["event"] == record.CLAIMED:
            began.setdefault(device, line["time"])
        elif line["event"] == record.FAILED and device:
            failed[device] = line
    names = sorted({name for row in rows for name in row.labels})
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["serial", "board", "group", *("label_" + name for name in names), *RESULT])
    for row in rows:
        line = finished.get(row.serial) or {}
        problem = {} if line else failed.get(row.serial, {})
        result = "ok" if line else "failed" if problem else "open"
        table.writerow(
            [row.serial, line.get("board", row.board), row.group, *(row.labels.get(name, "") for name in names)]
            + [line.get("chip_id", problem.get("chip_id", "")), line.get("fw", ""), line.get("cert_sha256", "")]
            + [began.get(row.serial, ""), line.get("time", ""), result, problem.get("error", "")]
        )
    labels.write(path, text.getvalue())


def summary(
    path: Path, rows: Sequence[Row], bad: Sequence[Bad], left: Sequence[Row], slots: list[Slot], as_json: bool
) -> None:
    failed = [slot for slot in slots if slot.state == FAILED]
    done = len(rows) - len(left)
    if as_json:
        show_json(
            {
                "rows": len(rows),
                "done": done,
                "open": [row.serial for row in left],
                "bad": [bad._asdict() for bad in bad],
                "failed": [
                    {"slot": slot.name, "serial": slot.row.serial if slot.row else None, "code": slot.code}
                    for slot in failed
                ],
            }
        )
    else:
        if failed:
            show_table(
                ("SLOT", "SERIAL", "CODE", "WHAT"),
                ((slot.name, slot.row.serial if slot.row else None, slot.code, slot.lines[0]) for slot in failed),
            )
        print(f"{done} of {len(rows)} done, {len(left)} open, {len(failed)} failed, {len(bad)} bad rows")
        sys.stdout.flush()
    if left or bad:
        what = f"{done} of {len(rows) + len(bad)} rows have become devices."
        raise Problem("bench_failed", what, todo=f"Mend what is named, and give the same command again: {path.name}")
