# SPDX-License-Identifier: MIT
"""Tells systemd how the agent does, where its unit asks for that (Type=notify, WatchdogSec=).

    READY=1      at the first turn of the loop: a start that never turns has failed
    WATCHDOG=1   at later turns, four times in the limit, and from nowhere else: a loop that hangs is killed
    STATUS=...   one line for `systemctl status`, made of the events that the agent logs

Source: sd_notify(3), sd_watchdog_enabled(3).  A few lines instead of a library:
one datagram to the socket that the environment names.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Any

# Event -> what the device does, in words; fields of the event in braces.
WORDS = {
    "boot": "starting",
    "identity.revoked": "its identity is revoked",
    "session.online": "online",
    "session.offline": "offline: {code}",
    "update.offered": "considers {version}",
    "update.consented": "consented to {gate}",
    "update.staged": "{version} is verified in the spare slot",
    "update.trial": "TRIAL of {version}",
    "update.confirmed": "confirmed {version}",
    "update.rolled_back": "rolled back from {version}",
    "update.failed": "update to {version} failed",
}


class Notify:
    def __init__(self, environment: Mapping[str, str]):
        """Silent unless systemd listens to this very process."""
        self._address: str | None = None
        self._every_s = self._next = 0.0
        self._ready = False
        self._version = self._slot = self._told = ""
        address, limit = environment.get("NOTIFY_SOCKET", ""), environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        if ours and address[:1] in ("/", "@"):
            self._address = "\0" + address[1:] if address[0] == "@" else address
            self._every_s = int(limit) / 4_000_000 if limit.isdigit() else 0.0

    def turned(self) -> None:
        now = time.monotonic()
        if self._address is None or now < self._next:
            return
        if not self._ready:
            self._ready = self._send("READY=1\nWATCHDOG=1")
        elif self._every_s:
            self._send("WATCHDOG=1")
        else:
            return
        self._next = now + self._every_s

    def event(self, name: str, fields: Mapping[str, Any]) -> None:
        if self._address is None:
            return
        self._slot = str(fields.get("slot", self._slot))
        if name in ("version.reported", "update.confirmed"):
            self._version = str(fields.get("version", self._version))
        if name not in WORDS:
            return
        try:
            words = WORDS[name].format(**fields)
        except (KeyError, IndexError):
            return
        runs = " ".join(part for part in (self._version, "slot " + self._slot if self._slot else "") if part)
        line = ("runs %s; %s" % (runs, words) if runs else words).replace("\n", " ")[:200]
        if line != self._told and self._send("STATUS=" + line):
            self._told = line

    def _send(self, text: str) -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as one:
                one.setblocking(False)
                one.sendto(text.encode(), self._address)
            return True
        except OSError:
            return False  # nobody there, or busy: the next turn tells it again
