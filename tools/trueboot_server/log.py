# SPDX-License-Identifier: MIT
"""The server's own log: one line an event, stable names, never a secret.

Fields are what the caller names, one by one; no object, body or header is ever logged whole.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, TextIO

Log = Callable[..., None]


def make_log(as_json: bool, stream: TextIO | None = None) -> Log:
    """log(event, **fields) -> one line on `stream` (standard error when None)."""

    def log(event: str, /, **fields: Any) -> None:
        out = stream or sys.stderr
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if as_json:
            line = json.dumps({"time": now, "event": event, **fields}, default=str, separators=(",", ":"))
        else:
            line = " ".join([now, event, *(f"{name}={_text(value)}" for name, value in fields.items())])
        try:
            out.write(line + "\n")
            out.flush()
        except (OSError, ValueError):
            pass  # nobody reads the log any more; that must not fail what was committed

    return log


def tell_fault(log: Log, error: BaseException) -> None:
    """A fault of ours: its type and its line, never its text, which may hold what was being worked on."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"
    log("fault", type=type(error).__name__, where=where)


def _text(value: Any) -> str:
    # JSON quoting keeps a line a line, whatever a peer put into a name.
    text = value if isinstance(value, str) else json.dumps(value, default=str, separators=(",", ":"))
    return text if text.isascii() and text.isprintable() and " " not in text else json.dumps(text)


def silent(event: str, /, **fields: Any) -> None:
    """A log that nobody reads."""
