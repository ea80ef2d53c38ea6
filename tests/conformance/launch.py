# SPDX-License-Identifier: MIT
"""Runs client.py with the arguments given, on the runtime that TRUEBOOT_RUNTIME names."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEAP = "224k"


def board() -> Path:
    """The folder of `.mpy` files, made once for all calls and made anew when a source is newer."""
    from trueboot import mpy

    folder = Path(os.environ.get("TRUEBOOT_BOARD") or HERE / ".board")
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "built"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        root = mpy.source_tree()
        newest = max(path.stat().st_mtime for path in [HERE / "client.py", *(root / "agent").rglob("*.py")])
        if not done.exists() or done.stat().st_mtime < newest:
            mpy.build(folder)
            mpy.compile_file(HERE / "client.py", folder / "client.mpy", "client.py")
            done.touch()
    return folder


def main() -> None:
    runtime = os.environ.get("TRUEBOOT_RUNTIME", "cpython")
    if runtime == "cpython":
        sys.path.insert(0, str(HERE))
        import client

        sys.exit(client.main(sys.argv[1:]))
    if runtime != "micropython":
        sys.exit("TRUEBOOT_RUNTIME must be cpython or micropython")
    from trueboot import mpy

    start = "import sys; sys.path.insert(0, %r); import client; sys.exit(client.main(%r))"
    command = [*mpy.interpreter(HEAP), "-c", start % (str(board()), sys.argv[1:])]
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
