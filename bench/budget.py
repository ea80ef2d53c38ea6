# SPDX-License-Identifier: MIT
"""`make check`: what a board carries, what stays loaded on it, and that a whole life fits into the budgeted heap.

    python bench/budget.py [--table]

For each board: bytes of `.mpy` of all that it needs for one cloud, and of what is loaded once it idles in its session, as a
real device of the unix port lists it.  That device runs with the heap of the budget: a boot with everything that follows in
the steady state, and a whole life, from first boot to the signed report of an update.  Budgets are data: the tables `board`
and `heap` of tools/check/size_budget.toml.  `--table` prints each module.
"""

from __future__ import annotations

import os
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools"), str(ROOT / "bench")]

from bed import bed  # noqa: E402
from heap import life_works, steady_works  # noqa: E402
from sizes import module  # noqa: E402

from trueboot import mpy  # noqa: E402
from trueboot.board_files import needed  # noqa: E402
from trueboot.demo.story import micropython_lacks  # noqa: E402

BUDGET = ROOT / "tools" / "check" / "size_budget.toml"
BOARDS = {"esp32": ("esp32", "micropython_machine"), "pico_w": ("pico_w", "micropython_machine")}
SIMULATED = "platform_adapters.micropython_unix"  # whose place those take
CLOUD = "decada"
ANSWER_S = 60
LIMIT_S = 120  # a busy machine is no failure: a device that has run out of memory ends the wait at once


def main(arguments: list[str]) -> int:
    budget = tomllib.loads(BUDGET.read_text("utf-8"))
    sizes = {}
    for board in BOARDS:
        with tempfile.TemporaryDirectory() as folder:
            sizes[board] = mpy.build(Path(folder), files=needed(ROOT, (board,), (CLOUD,)), root=ROOT)
    found = {
        f"{board}: .mpy in all": (sum(built.values()), budget["board"]["mpy_bytes"]) for board, built in sizes.items()
    }
    lacks = micropython_lacks()
    if lacks:
        print(f"what stays loaded, and heap: not measured: {lacks}")
        resident: set[str] = set()
    else:
        resident, failed = _lives(budget["heap"])
        for board, own in BOARDS.items():
            stays = resident - {SIMULATED} | {"platform_adapters." + name for name in own}
            bytes_of = sum(size for path, size in sizes[board].items() if module(path) in stays)
            found[f"{board}: .mpy that stays loaded"] = (bytes_of, budget["board"]["resident_bytes"])
    if "--table" in arguments:
        for path, size in sorted(sizes["esp32"].items(), key=lambda one: -one[1]):
            print(f"{size:7}  {path}{'  stays' if module(path) in resident else ''}")
    for what, (size, limit) in found.items():
        print(f"{size:7}  {what}, of {limit}{'' if size <= limit else ': too much'}")
    over = [what for what, (size, limit) in found.items() if size > limit]
    return 1 if over or not lacks and failed else 0


def _lives(budget: dict[str, int]) -> tuple[set[str], bool]:
    """(the modules that stay loaded, whether a life did not fit)."""
    with bed() as here:
        device = here.enrolled("board", "micropython")
        answers: list[dict] = []
        here.until(lambda: not here.until(lambda: False, 0.5) and _idles(here, device, answers), ANSWER_S)
        resident = set(answers[-1]["data"]["modules"]) if answers else set()
        device.power_off()
        steady = steady_works(here, device, budget["steady_k"], LIMIT_S)
        factory = here.release("micropython", "1.0.0")
        good = here.release("micropython", "1.1.0", os.urandom(100_000))
        here.here.publish(good)
        life = life_works(here, factory, good, 0, budget["life_k"], LIMIT_S)
    for what, fits, heap_k in (("the steady state", steady, budget["steady_k"]), ("a life", life, budget["life_k"])):
        print(f"{heap_k:6}k  heap on the 64-bit unix port: {what} {'fits' if fits else 'does NOT fit'}")
    return resident, not (steady and life and resident)


def _idles(here, device, answers: list[dict]) -> bool:
    """The last list of modules has no task in it."""
    answers[:] = []
    found = here.command(device, "modules")
    here.until(lambda: bool(found), ANSWER_S)
    answers += found
    return bool(found) and not [name for name in found[0]["data"]["modules"] if name.startswith("agent.tasks.")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
