# SPDX-License-Identifier: MIT
"""The `trueboot` command: verbs, flags, and the one outermost guard.

Data go to stdout, words for people to stderr.  Exit codes: 0 well, 1 the operation failed, 2 wrong usage,
69 a peer is unavailable, 75 try later, 77 not permitted, 78 the configuration is wrong.  No verb shows a traceback;
TRUEBOOT_DEBUG=1 does.  Verbs import what they need when they run, so that `--help` is quick.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    try:
        sys.exit(_run())
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted.\n")
        sys.exit(130)


def _run() -> int:
    from .problem import Problem

    try:
        try:
            from .verbs import app
        except ModuleNotFoundError as error:
            raise missing_extra(error, "cli") from None
        app()
    except Problem as problem:
        return report(problem)
    except ModuleNotFoundError as error:
        return report(missing_extra(error, "server"))
    except BrokenPipeError:
        # The reader of stdout has left; what it has not read it did not want.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the one outermost guard
        if os.environ.get("TRUEBOOT_DEBUG"):
            raise
        return report(Problem("internal", why=f"{type(error).__name__} at {place(error)}"))
    return 0


def report(problem) -> int:
    if os.environ.get("TRUEBOOT_DEBUG"):
        raise problem
    from .tables import printable

    for line in problem.lines():
        sys.stderr.write(printable(line) + "\n")
    return problem.exit_code


def missing_extra(error: ModuleNotFoundError, extra: str):
    """Which extra brings the module; a missing module of our own is a bug and stays one."""
    from .problem import Problem

    name = (error.name or "").split(".")[0]
    if name in ("trueboot", "trueboot_server", "agent", "platform_adapters", ""):
        raise error
    extras = {"typer": "cli", "rich": "cli", "aiohttp": "server", "sqlalchemy": "server", "tuf": "server"}
    extras |= dict.fromkeys(("serial", "mpremote", "littlefs", "segno"), "flash")
    extra = extras.get(name, extra)
    return Problem(
        "extra_missing",
        f"This needs the extra [{extra}].",
        f"the module {name} is not installed",
        f"pip install 'trueboot[{extra}]'",
    )


def place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else "?"


if __name__ == "__main__":
    main()
