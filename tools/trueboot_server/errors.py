# SPDX-License-Identifier: MIT
"""What can go wrong, by who has to act.

`StartError`   the operator: the server does not start; one line says what, why and what to do,
               and the exit code tells a supervisor whether trying again makes sense.
`ApiError`     the caller of the REST interface: becomes the one error format of all answers.
`RefusedReport` a device: its message is answered with a code and changes nothing.

Exit codes follow sysexits.h.
"""

from __future__ import annotations

EXIT_UNAVAILABLE = 69  # a port is taken
EXIT_CANNOT_CREATE = 73  # the state folder is not ours to write
EXIT_TRY_AGAIN = 75  # another server holds the state
EXIT_CONFIG = 78  # a person has to change something; starting again will not help


class StartError(Exception):
    """The server cannot start.  `str(error)` is the one line that the operator reads."""

    def __init__(self, exit_code: int, what: str, why: str, to_do: str):
        super().__init__(f"{what}: {why}. {to_do}")
        self.exit_code = exit_code


class ApiError(Exception):
    """Becomes {"error": {"code", "message", "hint"}} with `status`."""

    def __init__(self, status: int, code: str, message: str, hint: str = "", headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.headers = headers or {}


class RefusedReport(Exception):
    """A boot report that proves nothing.  The text goes back to the device and never holds a secret."""
