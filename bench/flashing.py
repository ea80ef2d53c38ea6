# SPDX-License-Identifier: MIT
"""Eight boards at once against one: simulated ones, at the true rate of 460,800 baud, each with real esptool, REPL and server.

A firmware of some 1.4 MB, as MicroPython's for the ESP32 is; from plugged in to heard of.  One board is limited by its wire;
eight are limited by this machine, too, which plays the boards as well.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from measure import Figure, in_turns, must

from trueboot.api import Api
from trueboot.flash import batch, boards, record, steps
from trueboot.flash.bench import Bench
from trueboot.flash.ports import Port
from trueboot.flash.simulated import bed

BAUD = 460_800
BOARDS = 8
FIRMWARE_BYTES = 1_400_000
AIM = 1.2
TURNS_MOST = 1  # it takes more than a minute


def flashing(runs: int) -> list[Figure]:
    with bed.own_server() as server:
        api = Api(server)
        turn = in_turns(min(runs, TURNS_MOST), lambda: _seconds(api, 1), lambda: _seconds(api, BOARDS))[0]
        api.close()
    what = f"{BOARDS} boards at {BAUD} baud, from bare to heard of"
    return [
        Figure(
            what, round(turn.ours, 1), "s", round(turn.peer, 1), "one board", turn.ratio, f"<= {AIM}", turn.ratio <= AIM
        )
    ]


def _seconds(api: Api, count: int) -> float:
    board = boards.named("ESP32_GENERIC")
    with (
        tempfile.TemporaryDirectory() as folder,
        bed.boards_of(board, count, firmware_bytes=FIRMWARE_BYTES) as (there, firmware),
        record.Record(Path(folder) / "record.ndjson") as kept,
    ):
        stamp = time.time_ns()
        rows = [batch.Row(n, f"bench-{stamp}-{n}", "", "", None, {}) for n in range(count)]
        wanted = steps.Wanted(api.server.info, firmware=str(firmware), unverified=True, baud=BAUD, simulated=True)
        ports = {one.name: Port(str(one), one.name, "", "", board.tool) for one in there.ports}
        bench = Bench(api, wanted, rows, kept, lambda: ports, Path(folder))
        bench.shared(board.name)  # compiled once for all, however many they are
        started = time.perf_counter()
        bench.run()
        took = time.perf_counter() - started
    must(not bench.left(), "all boards")
    return took
