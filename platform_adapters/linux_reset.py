# SPDX-License-Identifier: MIT
"""What a reset is on Linux; standard library only, shared by the adapter and the guard.

"exec": the process becomes the trampoline again, same PID, lock still held.
"exit": it ends with RESET_CODE, and whoever supervises it starts it again.
The trampoline leaves its own command line in TRUEBOOT_TRAMPOLINE; without one
(an app started by hand) a reset is an exit.
"""

from __future__ import annotations

import json
import os
import sys
from typing import NoReturn

RESET_CODE = 3
TRAMPOLINE = "TRUEBOOT_TRAMPOLINE"
MODE = "TRUEBOOT_RESET"
CAUSE = "TRUEBOOT_CAUSE"


def reset(mode: str = "exec") -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    command = json.loads(os.environ.get(TRAMPOLINE, "[]"))
    if command and mode == "exec" and os.environ.get(MODE) != "exit":
        os.environ[CAUSE] = "reset"
        try:
            os.execv(command[0], command)  # noqa: S606
        except OSError:
            pass  # the interpreter is gone, say after an upgrade: a supervisor may know better
    os._exit(RESET_CODE)
