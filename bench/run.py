#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`make bench`: what the agent costs, as ratios of measurements taken in turns in one run.

    python bench/run.py                 all of them, as a table
    python bench/run.py install heap    some of them
    python bench/run.py --json          one JSON object: {benchmark: [figure, ...]}

docs/benchmarks.md says what each figure means.  Exit code: 0 when everything was measured, whether aims are met or not.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial

import allocations
import deltas
import enrol
import first_boot
import flashing
import fleet
import heap
import imports
import sizes
import throughput
from measure import BenchError, Figure

import crypto
import tpm
import trust
from trueboot.demo.story import micropython_lacks

BENCHES: dict[str, Callable[[int], list[Figure]]] = {
    "install": throughput.install,
    "micropython": throughput.micropython,
    "alloc": allocations.allocations,
    "heap": heap.heap,
    "sizes": sizes.sizes,
    "imports": imports.imports,
    "crypto": crypto.crypto,
    "trust": trust.trust,
    "deltas": deltas.deltas,
    "tpm": tpm.tpm,
    "enrol": enrol.enrol,
    "first_boot": first_boot.first_boot,
    "fleet": fleet.fleet,
    "flashing": flashing.flashing,
}
ON_MICROPYTHON = ("micropython", "alloc", "heap", "sizes", "crypto", "trust", "deltas", "flashing")
ROW = "{:<12} {:<38} {:>16} {:>16} {:>7}  {:<15} {}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/run.py", description="What the agent costs, as ratios.")
    parser.add_argument("name", nargs="*", help=", ".join(BENCHES))
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--runs", type=int, default=5, help="turns that each side of a comparison takes (%(default)s)")
    parser.add_argument("--mb", type=int, default=throughput.INSTALL_MB, help="the image of install (%(default)s MB)")
    arguments = parser.parse_args()
    benches = BENCHES | {"install": partial(throughput.install, mb=max(arguments.mb, 1))}
    for name in arguments.name:
        if name not in BENCHES:
            parser.error(f"no benchmark is called {name}; there are {', '.join(BENCHES)}")
    results: dict[str, list[Figure]] = {}
    failed = False
    for name in arguments.name or BENCHES:
        started = time.monotonic()
        lacking = micropython_lacks() if name in ON_MICROPYTHON else ""
        if lacking:
            print(f"{name}: left out: {lacking}", file=sys.stderr)
            continue
        try:
            results[name] = benches[name](max(arguments.runs, 1))
        except BenchError as error:
            failed = True
            print(f"{name}: not measured: {error}", file=sys.stderr)
            continue
        if not arguments.json:
            show(name, results[name], first=len(results) == 1)
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    if arguments.json:
        print(json.dumps({name: [figure.as_dict() for figure in found] for name, found in results.items()}, indent=2))
    return 1 if failed else 0


def show(name: str, figures: list[Figure], first: bool) -> None:
    if first:
        print(ROW.format("benchmark", "what", "ours", "peer", "ratio", "aim", "the peer is"))
    for figure in figures:
        ours = "not measured" if figure.value is None else f"{figure.value:.6g} {figure.unit}"
        peer = "" if figure.peer is None else f"{figure.peer:.6g} {figure.unit}"
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        aim = figure.aim and f"{figure.aim} {'met' if figure.met else 'MISSED'}"
        print(
            ROW.format(name, figure.what, ours, peer, ratio, aim, f"{figure.peer_is} {figure.note}").rstrip(),
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
