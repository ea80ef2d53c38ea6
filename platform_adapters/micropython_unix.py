# SPDX-License-Identifier: MIT
"""MicroPython's unix port as a device: a simulated board, with real files, sockets and TLS.

The current folder is the device's root (micropython/boot.py describes it); a
reset ends the process with code 3, and whoever supervises it starts it again.
"""

import sys

from platform_adapters import micropython_base as base
from platform_adapters.micropython_board import Board

RESET_CODE = 3


class MicroPythonUnix(Board):
    def __init__(self, root=None, mqtt_codec=None):
        super().__init__(Power(), root, mqtt_codec=mqtt_codec)
        self.clock = base.Clock()  # the system looks after its clock


class Power:
    def reboot(self, reason):
        sys.exit(RESET_CODE)

    def cause(self):
        return "unknown"

    def feed(self):
        """The unix port has no watchdog."""
