# SPDX-License-Identifier: MIT
"""Topics, commands and replies of esthesis CORE.  Source: esthesis, protocol 6.2, 7.1 and 7.3."""

from __future__ import annotations

import re
from typing import NamedTuple

TYPES = {"execute": "e", "firmware": "f", "reboot": "r", "shutdown": "s", "ping": "p", "health": "h"}
UP = ("ping", "telemetry", "metadata", "command/reply")
_ID = re.compile(r"[0-9a-f]{24}\Z")
HARDWARE_ID = re.compile(r"[A-Za-z0-9_-]{3,512}\Z")


class Reply(NamedTuple):
    id: str
    succeeded: bool
    output: str


def topic(what: str, hardware_id: str) -> str:
    return f"esthesis/{what}/{hardware_id}"


def own_topics(hardware_id: str) -> tuple[str, ...]:
    """All that a device may publish and subscribe to."""
    return (*(topic(what, hardware_id) for what in UP), request_topic(hardware_id))


def request_topic(hardware_id: str) -> str:
    return topic("command/request", hardware_id)


def request(number: str, kind: str, asynchronous: bool, command: str = "", arguments: str = "") -> bytes:
    """`kind`: a name of TYPES.  The execution type is always there: one letter alone ends the original agent."""
    words = [number, TYPES[kind] + ("a" if asynchronous else "s")]
    if command:
        words += [command, *([arguments] if arguments else [])]
    return " ".join(words).encode()


def parse_reply(payload: bytes) -> Reply | None:
    """None for what is none; the second space has to be there, as in the original."""
    number, _, rest = payload.decode("utf-8", "replace").partition(" ")
    if not _ID.match(number) or rest[:1] not in ("s", "f") or rest[1:2] != " ":
        return None
    return Reply(number, rest[0] == "s", rest[2:])
