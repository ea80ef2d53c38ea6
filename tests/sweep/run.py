# SPDX-License-Identifier: MIT
"""`make sweep`: every sweep, on every interpreter that it knows, and every planted defect; a table, and exit code 1 for any problem.

--short   what the tests do; without it, many more second cuts: minutes
--seed N  which second cuts; by chance without it, and printed
--only WORDS     worlds whose name contains this
--python NAME    one interpreter
--no-defects     without the planted defects
--json    one JSON object a line
--life WORLD:PYTHON:KIND:CUTS   one life alone, as a failing run prints it
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path[:0] = [
    str(Path(__file__).parent),
    *(str(Path(__file__).parents[1] / name) for name in ("portable", "raspberry_pi")),
]

import registry  # noqa: E402
from interpreters import Interpreters  # noqa: E402

LONG_S = 7200
ROW = "%-12s %-22s %-10s %8s %7s %7s %7s %6s %6s %8s"
HEADS = ("python", "world", "release", "effects", "cuts", "lives", "bricks", "lies", "other", "seconds")


def rows(here: Interpreters, sweep: registry.Sweep, python: str, depth: str, seed: int) -> list[dict[str, Any]]:
    """What one sweep found, a row for each kind of release."""
    started = time.monotonic()
    try:
        found = here.run(python, sweep.lives(here, depth, seed))
    except (AssertionError, subprocess.TimeoutExpired) as error:
        found = [{"problems": [[[], "the sweep itself: " + str(error)[-300:]]], "count": 1}]
    seconds = time.monotonic() - started
    made = []
    for index, one in enumerate(found):
        kind = one.get("kind") or sweep.kinds[index % len(sweep.kinds)]
        row = {"python": python, "world": sweep.name, "kind": kind, "problems": one["problems"], "count": one["count"]}
        row |= {"effects": one.get("effects", one.get("operations", 0)), "lives": one.get("lives", 0)}
        row |= {"cuts": one.get("cuts", row["lives"]), "seconds": round(seconds / len(found), 1)}
        row |= sorted_out(one["problems"], one["count"])
        made.append(row)
    return made


BRICKS = ("brick", "wrong image", "another image", "Dead", "does not boot", "mount", "no way back", "not its image")
LIES = ("lies:", "server was told", "believes", "promised", "it says", "ahead", "told before", "floor is")


def sorted_out(problems: list, count: int) -> dict[str, int]:
    """Which of the problems are bricks and which lies; those that were counted and not kept are "other"."""
    words = [text for _, text in problems]
    bricks = sum(any(word in text for word in BRICKS) for text in words)
    lies = sum(any(word in text for word in LIES) and not any(word in text for word in BRICKS) for text in words)
    return {"bricks": bricks, "lies": lies, "other": count - bricks - lies}


def planted(here: Interpreters, sweep: registry.Sweep, python: str, name: str) -> dict[str, Any]:
    started = time.monotonic()
    found = here.run(python, sweep.defect(here, name)) if sweep.defect else []
    lives = sum(one.get("lives", 0) for one in found)
    row = {"python": python, "world": sweep.name, "defect": name, "caught": bool(found and found[-1]["count"])}
    cuts, shown = found[-1]["problems"][0] if found and found[-1]["problems"] else ([], "")
    row |= {"kind": sweep.kinds[len(found) - 1] if found else "", "cuts": cuts}
    return row | {"lives": lives or 1, "by": shown, "seconds": round(time.monotonic() - started, 1)}


class Screen:
    def __init__(self, as_json: bool, seed: int):
        self.as_json, self.seed = as_json, seed
        self.total = dict.fromkeys(("cuts", "lives", "bricks", "lies", "other"), 0)
        self.missed: list[str] = []
        self.failures: list[str] = []

    def head(self) -> None:
        self.say({"seed": self.seed}, "seed %d" % self.seed)
        self.say(None, ROW % HEADS)

    def say(self, data: dict | None, text: str) -> None:
        if self.as_json and data:
            print(json.dumps(data), flush=True)
        elif not self.as_json:
            print(text, flush=True)

    def row(self, row: dict[str, Any]) -> None:
        for name in self.total:
            self.total[name] += row[name]
        names = ("python", "world", "kind", "effects", "cuts", "lives", "bricks", "lies", "other", "seconds")
        self.say(row, ROW % tuple(row[name] for name in names))
        for cuts, text in row["problems"][:1]:
            life = "%s:%s:%s:%s" % (row["world"], row["python"], row["kind"], json.dumps(cuts))
            line = "%s, seed %d, the shortest life that shows it: %s" % (text, self.seed, json.dumps(cuts))
            self.failures.append("%s\n  make sweep ARGS='--life %s'" % (line, life.replace(" ", "")))

    def defect(self, row: dict[str, Any]) -> None:
        verdict = "caught in life %d" % row["lives"] if row["caught"] else "MISSED"
        self.say(row, "%-12s %-22s %-44s %s" % (row["python"], row["world"], row["defect"], verdict))
        if not row["caught"]:
            self.missed.append("%s on %s" % (row["defect"], row["python"]))

    def end(self, seconds: float) -> int:
        total = self.total | {"seconds": round(seconds, 1), "seed": self.seed, "missed": self.missed}
        shown = ROW % ("total", "", "", "", *(self.total[name] for name in self.total), total["seconds"])
        self.say({"total": total}, shown)
        for line in self.failures:
            self.say(None, line)
        for name in self.missed:
            self.say(None, "a planted defect was not noticed: " + name)
        return int(bool(self.failures or self.missed))


def arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make sweep", description=__doc__.split("\n")[0])
    parser.add_argument("--short", action="store_true", help="what the tests do")
    parser.add_argument("--seed", type=int, default=None, help="which second cuts")
    parser.add_argument("--only", default="", help="worlds whose name contains this")
    parser.add_argument("--python", default="", choices=("", *registry.PYTHONS), help="one interpreter")
    parser.add_argument("--no-defects", action="store_true", help="without the planted defects")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--life", default="", metavar="WORLD:PYTHON:KIND:CUTS", help="one life alone")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> int:
    wanted = arguments(given)
    seed = random.SystemRandom().randrange(10000) if wanted.seed is None else wanted.seed
    depth = registry.SHORT if wanted.short else registry.LONG
    with tempfile.TemporaryDirectory(prefix="trueboot-sweep-") as folder:
        here = Interpreters(Path(folder), LONG_S)
        if wanted.life:
            return one_life(here, wanted.life)
        pythons = [python for python in here.here() if wanted.python in ("", python)]
        sweeps = [sweep for sweep in registry.SWEEPS if wanted.only in sweep.name]
        screen, started = Screen(wanted.json, seed), time.monotonic()
        prepare(here, pythons)
        screen.head()
        with ThreadPoolExecutor(os.cpu_count() or 1) as workers:
            jobs = [
                workers.submit(rows, here, sweep, python, depth, seed)
                for sweep in sweeps
                for python in pythons
                if python in sweep.pythons
            ]
            defects = [
                workers.submit(planted, here, sweep, python, name)
                for sweep in ([] if wanted.no_defects else sweeps)
                for python in pythons
                if python in sweep.pythons
                for name in sweep.defects
            ]
            for job in jobs:
                for row in job.result():
                    screen.row(row)
            if defects:
                screen.say(None, "\nPlanted defects")
            for job in defects:
                screen.defect(job.result())
        screen.say(None, "")
        return screen.end(time.monotonic() - started)


def prepare(here: Interpreters, pythons: list[str]) -> None:
    """Before there are threads."""
    for kind in registry.KINDS:
        here.world(kind)
    for images in ("firmware", "system"):
        here.world("repository", images)
    if "micropython" in pythons:
        here.board()


def one_life(here: Interpreters, spec: str) -> int:
    """Live it, and tell each effect and the end."""
    world, python, kind, cuts = spec.split(":", 3)
    sweep = registry.named(world)
    if sweep.life is None:
        print("%s has no single lives." % world)
        return 2
    told = here.run(python, sweep.life(here, kind, json.loads(cuts)))
    for line in told:
        print(json.dumps(line))
    return int(bool(told[-1]["problem"]))


if __name__ == "__main__":
    sys.exit(main())
