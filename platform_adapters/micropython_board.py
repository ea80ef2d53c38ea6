# SPDX-License-Identifier: MIT
"""What the boards of the MicroPython family share: a file system, slots for apps, the network.

A board's own file (`esp32`, `pico_w`, `micropython_unix`) says what is
particular: power, reset causes, slots for firmware, the radio.

Rules it keeps
  * littlefs or nothing: on FAT it does not start (`file_system`).
  * Hardware is asked for when a board is made, never at import.
"""

import os
import time

from agent.errors import MisuseError
from platform_adapters import micropython_base as base
from platform_adapters.micropython_mqtt import Mqtt


class Board:
    chunk = 1024  # bytes that are read from a slot or a socket at a time
    kinds = ("app",)  # of slots that it has; the first is what it has without being asked
    passing = (
        "platform_adapters.micropython_files",
        "platform_adapters.trusted_file",
        "platform_adapters.filestore",
        "platform_adapters.files",
    )

    def __init__(self, power, root=None, slots_kind=None, mqtt_codec=None):
        """`root`: the folder of micropython/boot.py, by default the current one.  `slots_kind` goes before the
        configuration's key of that name.  `mqtt_codec`: see `micropython_mqtt`.  MisuseError("config"),
        DeviceError("file_system")."""
        root = os.getcwd().rstrip("/") if root is None else root
        self.config = config = base.read_config(root)
        kind = slots_kind or config.get("slots_kind") or self.kinds[0]
        if kind not in self.kinds:
            raise MisuseError("config", "slots_kind %s: this board has slots for %s" % (kind, " or ".join(self.kinds)))
        base.check_file_systems(config)
        self._kind = kind
        self.slots = base.Late(self._make_slots)
        self.http = base.Late(self._make_http)
        self.store = base.Late(self._make_store)
        self.keys = base.Late(self._make_keys)
        self.mqtt = Mqtt(self.anchors, self._credentials, codec=mqtt_codec)
        self.clock = Clock()
        self.power = power
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

    def idle(self, busy=False):
        """Nothing is under way; or (`busy`) tasks are, which may be in the middle of a download."""
        for part in (self.store, self.keys) if busy else (self.slots, self.http, self.store, self.keys):
            part.let_go()

    def anchors(self):
        from platform_adapters import anchored

        return anchored.read([self._trusted("ca_file")], self.store)

    def anchors_kept(self):
        return self.anchors()[1:]

    def keep_anchors(self, kept):
        from platform_adapters import anchored

        anchored.write([self._trusted("ca_file")], self.store, kept)
        self.http.let_go()  # a connection by the old ones is not kept

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


class Clock(base.Clock):
    def set(self, seconds):
        """The chip's clock, which TLS reads as well; it forgets when the power goes."""
        from machine import RTC

        year, month, day, hour, minute, second, weekday = time.gmtime(seconds - self._epoch)[:7]
        RTC().datetime((year, month, day, weekday, hour, minute, second, 0))
