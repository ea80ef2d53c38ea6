# SPDX-License-Identifier: MIT
"""Tells systemd that the agent turns, where its unit asks for that (WatchdogSec=).

Source: sd_notify(3), sd_watchdog_enabled(3).  A few lines instead of a library:
one datagram to the socket that the environment names.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Notify:
    def __init__(self, environment: Mapping[str, str]):
        """Silent unless systemd watches this very process."""
        self._address: str | None = None
        self._every_s = self._next = 0.0
        address, limit = environment.get("NOTIFY_SOCKET", ""), environment.get("WATCHDOG_USEC", "")
        watched = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        if watched and address[:1] in ("/", "@") and limit.isdigit() and int(limit):
            self._address = "\0" + address[1:] if address[0] == "@" else address
            self._every_s = int(limit) / 4_000_000

    def turned(self) -> None:
        now = time.monotonic()
        if self._address is None or now < self._next:
            return
        self._next = now + self._every_s
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as one:
                one.setblocking(False)
                one.sendto(b"WATCHDOG=1", self._address)
        except OSError:
            pass  # nobody there, or busy: the next turn tells it again
