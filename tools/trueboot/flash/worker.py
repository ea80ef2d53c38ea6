# SPDX-License-Identifier: MIT
"""One board of a bench, as a child process: what hangs or dies here takes no other board along.

It reads two lines of JSON: what is wanted (with the server's token, which so stands in no list of processes), and, once it
has said which chip is there, which device that shall be.  It writes events, one a line; the last is `done` or `problem`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from ..api import Api, Server
from ..problem import Problem
from . import plan, steps


def main() -> int:
    # Libraries print; what they print must not stand between events.
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is on the disk meanwhile is removed
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def say(event: str, **facts: Any) -> None:
        out.write(json.dumps({"event": event, **facts}) + "\n")

    try:
        job = json.loads(sys.stdin.readline())
        wanted = steps.Wanted(**job["wanted"])
        found = steps.identify(job["port"], job["tool"], wanted)
        say("identified", chip_id=found.chip_id, board=found.board.name, flash_bytes=found.flash_bytes)
        given = json.loads(sys.stdin.readline() or "null")
        if given is None:
            return 0
        if given["wifi"]:
            wanted = wanted._replace(wifi=given["wifi"])
        same = plan.load(Path(given["same"]))
        api = Api(Server(**job["server"]))
        work = steps.Work(
            job["port"], found, given["device"], api, wanted, lambda *args, **more: _tell(say, *args, **more)
        )
        work.tags |= given["tags"]
        done = work.run(same, given["written"])
        say("done", **done._asdict())
        return 0
    except Problem as problem:
        say("problem", code=problem.code, lines=problem.lines(), exit=problem.exit_code)
    except KeyboardInterrupt:
        pass
    except Exception as error:  # noqa: BLE001 - the outermost guard of this process
        from ..cli import place

        bug = Problem("internal", why=f"{type(error).__name__} at {place(error)}")
        say("problem", code=bug.code, lines=bug.lines(), exit=bug.exit_code)
    return 1


def _tell(say: Any, step: str, done: float, **more: Any) -> None:
    say("step", step=step, done=round(done, 3), **more)


if __name__ == "__main__":
    sys.exit(main())
