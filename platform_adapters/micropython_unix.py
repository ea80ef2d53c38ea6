# SPDX-License-Identifier: MIT
"""MicroPython's unix port as a device: a simulated board, with real files, sockets and TLS.

The current folder is the device's root (micropython/boot.py describes it); a
reset ends the process with code 3, and whoever supervises it starts it again.
"""

import os
import sys

from platform_adapters import micropython_base as base
from platform_adapters.micropython_mqtt import Mqtt

RESET_CODE = 3


class MicroPythonUnix:
    chunk = 1024  # bytes that are read from a slot or a socket at a time
    passing = (
        "platform_adapters.micropython_files",
        "platform_adapters.trusted_file",
        "platform_adapters.filestore",
        "platform_adapters.files",
    )

    def __init__(self, root=None):
        root = os.getcwd() if root is None else root
        self.config = config = base.read_config(root)
        base.check_file_systems(config)
        self.slots = base.Late(self._make_slots)
        self.http = base.Late(self._make_http)
        self.store = base.Late(self._make_store)
        self.keys = base.Late(self._make_keys)
        self.mqtt = Mqtt(self.anchors, self._credentials)
        self.clock = base.Clock()
        self.power = Power()
        self.chance = base.Chance()
        self.verify = base.Verify(self.store)

    def _make_slots(self):
        from platform_adapters.dirslots import DirSlots

        return DirSlots(self.config["slots"], self.config["state"])

    def _make_http(self):
        from platform_adapters.micropython_http import Http

        return Http(self.anchors, self._credentials)

    def _make_store(self):
        from platform_adapters.filestore import FileStore

        return FileStore(self.config["state"] + "/store")

    def _make_keys(self):
        return base.FileKeys(self.config["state"] + "/keys")

    def _credentials(self, identity):
        return None if identity is None else self.keys.credentials(identity)

    def idle(self):
        for part in (self.slots, self.http, self.store, self.keys):
            part.let_go()

    def anchors(self):
        return [self._trusted("ca_file")]

    def datagram(self, host, port, data):
        from platform_adapters import micropython_udp

        return micropython_udp.ask(host, port, data)

    def root(self):
        return self._trusted("root_file")

    def _trusted(self, name):
        from platform_adapters.trusted_file import read_trusted

        return read_trusted(self.config[name], name)

    def log(self, event, fields):
        text = self.config.get("log") == "text"
        base.write_line(base.log_line(event, self.clock.ticks_ms(), fields, text))


class Power:
    def reboot(self, reason):
        sys.exit(RESET_CODE)

    def cause(self):
        return "unknown"

    def feed(self):
        """The unix port has no watchdog."""
