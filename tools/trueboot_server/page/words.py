# SPDX-License-Identifier: MIT
"""How the page says things: moments, lengths of time, sizes, states.  Every state has a word and a sign, not a colour alone."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from ..clock import iso

_STATIC = Path(__file__).with_name("static")
_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
# state -> (tone, sign); the tone is a class of the style sheet
_TONES = {
    "online": ("good", "●"), "offline": ("dim", "○"), "confirmed": ("good", "✓"), "trial": ("busy", "◐"),
    "on_trial": ("busy", "◐"), "updated": ("good", "✓"), "running": ("busy", "▶"), "done": ("good", "✓"),
    "queued": ("dim", "·"), "pushed": ("busy", "→"), "in_progress": ("busy", "▶"), "claimed": ("warn", "?"),
    "unproven": ("bad", "?"), "failed": ("bad", "✗"), "refused": ("bad", "✗"), "rolled_back": ("bad", "↩"),
    "fell_back": ("bad", "↩"), "timed_out": ("bad", "⌛"), "cancelled": ("dim", "–"), "halted": ("bad", "■"),
    "paused": ("warn", "‖"), "aborted": ("bad", "■"), "scheduled": ("dim", "◷"), "below_floor": ("bad", "▼"),
    "silent": ("warn", "…"), "revoked": ("bad", "✗"), "good": ("good", "✓"), "superseded": ("dim", "–"),
    "expired": ("bad", "✗"), "registered": ("dim", "·"), "activated": ("dim", "·"), "enrolled": ("good", "✓"),
    "begun": ("warn", "…"), "not_permitted": ("bad", "✗"), "updating": ("busy", "▶"), "none": ("dim", "·"), "waiting": ("dim", "·"), "created": ("dim", "·"), "passed": ("good", "✓"),
    "soaking": ("busy", "◷"),
}  # fmt: skip
_WORDS = {
    "updated": "updated, proven", "in_progress": "in progress", "on_trial": "on trial", "timed_out": "timed out",
    "unproven": "claimed, no proof came", "claimed": "claimed, not proven", "not_permitted": "not permitted",
    "begun": "begun, outcome unknown",
}  # fmt: skip


def word(state: Any) -> str:
    return _WORDS.get(str(state), str(state).replace("_", " "))


def tone(state: Any) -> str:
    return _TONES.get(str(state), ("dim", "·"))[0]


def sign(state: Any) -> str:
    return _TONES.get(str(state), ("dim", "·"))[1]


def span(ms: float) -> str:
    """A length of time in its largest unit, cut: "3 h"."""
    seconds = max(0, int(ms / 1000))
    for length, unit in _STEPS:
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return "0 s"


def ago(at: int | None) -> str:
    if at is None:
        return "never"
    past = time.time() * 1000 - at
    return "now" if past < 2000 else f"{span(past)} ago"


def until(at: int) -> str:
    left = at - time.time() * 1000
    return f"in {span(left)}" if left > 0 else f"{span(-left)} ago"


def moment(at: int | None) -> str:
    return (iso(at) or "").replace("T", " ")[:19] + " UTC" if at is not None else ""


def size(length: int) -> str:
    if length < 1024:
        return f"{length} B"
    for unit in ("KiB", "MiB"):
        length_in = length / 1024 if unit == "KiB" else length / 1024**2
        if length_in < 1024 or unit == "MiB":
            return f"{length_in:.1f} {unit}"
    return ""


def said(value: Any) -> str:
    """A field of an event, short: a page is no place for a long one."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        value = [f"{name} {one}" for name, one in value.items()]
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 120 else text[:119] + "…"


def number(value: int) -> str:
    return f"{value:,}".replace(",", " ")  # a narrow space: no country reads it as another number


def static(name: str) -> str:
    """The address of a file of ours, with its hash: it may be kept for ever."""
    return f"/ui/static/{name}?v={FILES[name][0]}"


def _read() -> dict[str, tuple[str, bytes]]:
    found = {}
    for path in sorted(_STATIC.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            found[path.relative_to(_STATIC).as_posix()] = (hashlib.sha256(data).hexdigest()[:16], data)
    return found


FILES = _read()
FILTERS = {f.__name__: f for f in (word, tone, sign, span, ago, until, moment, size, number, said)}
GLOBALS = {"static": static}
