# SPDX-License-Identifier: MIT
"""Every sweep there is: which world, on which interpreters, how deep, and the defects that it must catch.

Another adapter is a line in SWEEPS.  A sweep's `lives(depth, seed)` is a
statement that prints one JSON object for each kind of release, with "effects",
"lives", "count" of problems and the first "problems", the shortest life first;
`defect(name)` prints the same with that defect planted, and stops at the first
problem.  `life(kind, cuts)` is a statement that lives one life, cut for cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import defects
from interpreters import PORTABLE, PYTHONS, Interpreters

import esp32_mutants
import identity_mutants
import mutants
import update_mutants

SHORT, LONG = "short", "long"
KINDS = ("repository", "rotated", "bundle", "file")  # see world.py


@dataclass
class Sweep:
    name: str
    lives: Callable[[Interpreters, str, int], str]
    kinds: tuple[str, ...]
    pythons: tuple[str, ...] = PYTHONS
    defects: Iterable[str] = ()
    defect: Callable[[Interpreters, str], str] | None = None
    life: Callable[[Interpreters, str, list], str] | None = None


ESP32 = """from platform_adapters import memory, memory_esp32_device
memory.Device = memory_esp32_device.Device
"""


def memory(kind: str, short: int = 0, long: int = 3, firmware: bool = False) -> Sweep:
    """The whole agent.  `short`, `long`: of the second cuts one in so many is made; none with 0."""
    before = (ESP32 if firmware else "") + "import sweep; sweep."

    def lives(here: Interpreters, depth: str, seed: int) -> str:
        return before + "main(%r, %d, '', %d)" % (
            here.world(kind, "firmware" if firmware else "app"),
            long if depth == LONG else short,
            seed,
        )

    def life(here: Interpreters, what: str, cuts: list) -> str:
        return before + "one(%r, %r, %r)" % (here.world(kind, "firmware" if firmware else "app"), what == "good", cuts)

    def defect(here: Interpreters, name: str) -> str:
        return before + "main(%r, 0, %r)" % (here.world(kind), name)

    planted = mutants.DEFECTS | update_mutants.DEFECTS
    return Sweep(
        ("esp32/agent/" if firmware else "memory/") + kind,
        lives,
        ("good", "bad") if kind in ("repository", "rotated") else ("good",),
        defects=() if firmware else [name for name in planted if planted[name][1] == kind],
        defect=defect,
        life=life,
    )


def esp32_slots() -> Sweep:
    def lives(here: Interpreters, depth: str, seed: int) -> str:
        seconds = (0, 1, 2, 5) if depth == LONG else (0, 1 + seed % 5)
        return "import esp32_sweep; esp32_sweep.main(%r)" % (seconds,)

    def life(here: Interpreters, what: str, cuts: list) -> str:
        return "import esp32_sweep; esp32_sweep.one(%r, %r)" % (what, cuts)

    def defect(here: Interpreters, name: str) -> str:
        return "import esp32_mutants; esp32_mutants.main(%r)" % name

    return Sweep(
        "esp32/slots",
        lives,
        ("good", "crashing", "sick"),
        defects=esp32_mutants.DEFECTS,
        defect=defect,
        life=life,
    )


def littlefs(geometry: str, short: tuple[int, int], long: tuple[int, int], planted: Iterable[str] = ()) -> Sweep:
    """Depth: the power goes at one in so many operations, and again at one in so many of each recovery's."""

    def lives(here: Interpreters, depth: str, seed: int) -> str:
        return "import littlefs_cuts; littlefs_cuts.main(%r, %d, %d)" % (geometry, *(long if depth == LONG else short))

    def life(here: Interpreters, what: str, cuts: list) -> str:
        return "import littlefs_cuts; littlefs_cuts.one(%r, %r, %r)" % (geometry, what, cuts)

    def defect(here: Interpreters, name: str) -> str:
        return "import littlefs_cuts; littlefs_cuts.main(%r, 3, 0, %r, True)" % (geometry, name)

    kinds = ("healthy", "crashing", "refusing")
    return Sweep("littlefs/" + geometry, lives, kinds, ("micropython",), planted, defect, life)


def raspberry_pi() -> Sweep:
    def lives(here: Interpreters, depth: str, seed: int) -> str:
        return "import life; life.main(%r, %d)" % ([(1, 7)] if depth == LONG else [(4, 0), (19, 29)], seed)

    def one(here: Interpreters, what: str, cuts: list) -> str:
        return "import life; life.one(%r, %r)" % (what, cuts)

    def defect(here: Interpreters, name: str) -> str:
        return "import life; life.main([(4, 0)], 0, %r)" % name

    kinds = ("healthy", "crashing", "refusing")
    return Sweep("raspberry_pi", lives, kinds, ("cpython",), defects.DEFECTS, defect, one)


def identities(kind: str, long: int = 3) -> Sweep:
    """First boots and renewals: see tests/portable/identity_sweep.py.  `long`: one in so many of the second cuts."""

    def lives(here: Interpreters, depth: str, seed: int) -> str:
        second = long if depth == LONG else 0
        return "import identity_sweep; identity_sweep.main(%r, %d, '', %d)" % (kind, second, seed)

    def life(here: Interpreters, what: str, cuts: list) -> str:
        return "import identity_sweep; identity_sweep.one(%r, %r)" % (kind, cuts)

    def defect(here: Interpreters, name: str) -> str:
        return "import identity_sweep; identity_sweep.main(%r, 0, %r)" % (kind, name)

    planted = [name for name in identity_mutants.DEFECTS if identity_mutants.DEFECTS[name][1] == kind]
    return Sweep("identity/" + kind, lives, (kind,), defects=planted, defect=defect, life=life)


IDENTITIES = ("first", "late", "registered", "renewed", "expired", "refused", "hung", "asleep")
WHOLE_DEFECTS = ["confirm after save", "version told on trial"]


def agent_on(name: str, module: str, kind: str, python: str, short: int, found: int, planted: list[str]) -> Sweep:
    """The whole agent on a medium of its own.  Depth: the power goes at one in so many effects; defects are `found` so."""

    def lives(here: Interpreters, depth: str, seed: int) -> str:
        every = 1 if depth == LONG else short
        return "import %s; %s.main(%r, %d, %d)" % (module, module, here.world("repository", kind), every, seed)

    def life(here: Interpreters, what: str, cuts: list) -> str:
        return "import %s; %s.one(%r, %r, %r)" % (module, module, here.world("repository", kind), what == "good", cuts)

    def defect(here: Interpreters, name: str) -> str:
        return "import %s; %s.main(%r, %d, 0, %r)" % (module, module, here.world("repository", kind), found, name)

    return Sweep(name, lives, ("good", "bad"), (python,), planted, defect, life)


def littlefs_defects() -> list[str]:
    """Read, since only MicroPython imports them."""
    lines = (PORTABLE / "littlefs_mutants.py").read_text("utf-8").splitlines()
    return [line.split('"')[1] for line in lines if line.startswith('    "')]


SWEEPS = [
    memory("repository", 9),
    memory("rotated"),
    memory("bundle"),
    memory("file"),
    memory("repository", 0, 9, firmware=True),
    *(identities(kind) for kind in IDENTITIES),
    esp32_slots(),
    littlefs("pico", (6, 0), (1, 0), littlefs_defects()),
    littlefs("esp32", (35, 0), (1, 0)),
    raspberry_pi(),
    agent_on("littlefs/agent", "littlefs_whole", "app", "micropython", 23, 1, WHOLE_DEFECTS),
    agent_on(
        "raspberry_pi/agent", "whole", "system", "cpython", 36, 36, ["autoboot.txt removed first", *WHOLE_DEFECTS]
    ),
]


def named(name: str) -> Sweep:
    return next(sweep for sweep in SWEEPS if sweep.name == name)
