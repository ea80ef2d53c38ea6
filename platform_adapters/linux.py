# SPDX-License-Identifier: MIT
"""Linux: files, app slots in folders, paho-mqtt, requests, keys in files.

    Linux()                     configuration from the file that TRUEBOOT_CONFIG names (trueboot-agent sets it)
    Linux("agent.toml")         from this file
    Linux({...})                from a dict with the same keys; paths as given

Puts the pieces together; each has its own file.  Of the configuration it uses
`state`, `slots`, `ca_file`, `root_file`, `log`, `reset`, `keys` and `tpm`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from agent.errors import DeviceError, MisuseError, RefusedError
from agent.wire import pem
from platform_adapters import anchored, linux_config, linux_health, linux_notify, linux_reset, ports
from platform_adapters.filestore import FileStore
from platform_adapters.keystores.software import SoftwareKeys
from platform_adapters.linux_http import RequestsHttp
from platform_adapters.linux_lists import Lists
from platform_adapters.linux_mqtt import PahoMqtt
from platform_adapters.linux_net import Net
from platform_adapters.linux_packages import Packages
from platform_adapters.linux_slots import LinuxSlots
from platform_adapters.linux_verify import verify

TRUST_BYTES = 256 * 1024
LOOK_MS = 1000  # between two looks for a request of `trueboot-agent install`


class Linux:
    keys: ports.Keys
    store: Any  # a Store that has a folder
    chance: ports.Chance
    floor: ports.Floor  # only with a TPM
    weak: tuple[str, ...] = ()  # policies in use, for `status()`
    chunk = 1024 * 1024  # bytes that the agent moves between two looks at everything else

    def __init__(self, config: str | os.PathLike[str] | dict[str, Any] | None = None):
        self.config = dict(config) if isinstance(config, dict) else linux_config.read(config)
        for key, default in linux_config.PATHS.items():
            self.config.setdefault(key, default)
        state = self.config["state"]
        _make_private(state)
        self.slots = LinuxSlots(self.config["slots"], state)
        self.packages = Packages(state + "/packages", self.slots)
        if self.config.get("esthesis_packages", "signed") != "signed":
            self.weak = ("packages that nobody signed are installed by a script",)
        self.store = FileStore(state + "/store")
        self.chance = Chance()
        self.keys = SoftwareKeys(state + "/keys")
        if self.config.get("keys") == "tpm":
            self._use_tpm(state)
        self._provisioned()  # wrong, it is the configuration that is wrong: now and not later
        self.clock = Clock()
        self.lists = Lists(self.store, self.clock.wall) if self.config.get("crl", "auto") == "auto" else None
        net = Net(self.anchors, self.keys, lists=self.lists)
        self.mqtt = PahoMqtt(net)
        self.http = RequestsHttp(net, bandwidth_bytes_s=_number(self.config.get("bandwidth_bytes_s")))
        if self.lists is not None:
            self.lists.forget = self.http.forget
        self._notify = linux_notify.Notify(os.environ)
        self.power = Power(self.config.get("reset", "exec"), self._notify)
        self.verify = verify
        self._text = self.config.get("log") == "text"
        self._journal = _is_journal(sys.stdout)
        self._look = 0

    def _use_tpm(self, state: str) -> None:
        from platform_adapters.keystores import tpm_device, tpm_link, tpm_nv

        link = tpm_link.Link(self.config.get("tpm") or "")
        self.keys = tpm_device.TpmKeys(state + "/keys", link)
        self.store = tpm_device.TpmStore(self.store, self.keys, link)
        self.chance = tpm_device.TpmChance(link)
        self.floor = tpm_nv.TpmFloor(link)

    def anchors(self) -> list[bytes]:
        return anchored.read(self._provisioned(), self.store)

    def anchors_kept(self) -> list[bytes]:
        return self.anchors()[len(self._provisioned()) :]

    def keep_anchors(self, kept: list[bytes]) -> None:
        anchored.write(self._provisioned(), self.store, kept)
        self.http.forget()

    def _provisioned(self) -> list[bytes]:
        name = self.config["ca_file"]
        data = _read("ca_file", name)
        if data[:1] == b"\x30":  # DER
            return [data]
        try:
            found = pem.decode_all(data, "CERTIFICATE")
        except RefusedError as error:
            raise MisuseError("config", "ca_file %s: %s" % (name, error.detail)) from None
        if not found:
            raise MisuseError("config", "ca_file %s holds no certificate" % name)
        return found

    def root(self) -> bytes:
        return _read("root_file", self.config["root_file"])

    def health(self) -> dict[str, int | float]:
        return linux_health.health()

    def requested(self) -> bool:
        now = self.clock.ticks_ms()
        if now < self._look:
            return False
        self._look = now + LOOK_MS
        return os.path.exists(self.store.folder + "/install")

    def log(self, event: str, fields: dict[str, Any]) -> None:
        ticks = self.clock.ticks_ms()
        if self._text:
            words = ["%s=%s" % (name, value) for name, value in fields.items()]
            line = " ".join(["%10.3f" % (ticks / 1000), event, *words]).replace("\n", "\\n")
        else:
            line = json.dumps({"event": event, "t": ticks, **fields}, default=str)
        self._notify.event(event, fields)
        if self._journal:
            line = ("<4>" if event == "error" else "<6>") + line  # a priority, sd-daemon(3)
        try:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        except (OSError, ValueError):
            pass  # nobody reads any more; that must not stop a device


def _number(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0  # the agent's own check tells what is wrong with it


def _make_private(folder: str) -> None:
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise DeviceError("state", "cannot make %s: %s" % (folder, error.strerror)) from None


def _read(key: str, name: str) -> bytes:
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        raise MisuseError("config", "cannot read %s %s: %s" % (key, name, error.strerror)) from None
    if len(data) > TRUST_BYTES:
        raise MisuseError("config", "%s %s is too big" % (key, name))
    return data


class Clock:
    def __init__(self) -> None:
        self._floor = 0

    def ticks_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def sleep_ms(self, duration_ms: int) -> None:
        time.sleep(max(0, duration_ms) / 1000)

    def wall(self) -> int:
        return max(int(time.time()), self._floor)

    def set_floor(self, seconds: int) -> None:
        self._floor = seconds


class Power:
    """The reset is `linux_reset`'s.  The watchdog is systemd's, where a service has WatchdogSec=: a service that
    does not tell in time that it turns is killed and started again, which counts as a trial's boot."""

    def __init__(self, reset: str, notify: linux_notify.Notify):
        self._reset = reset
        self._notify = notify

    def reboot(self, reason: str) -> None:
        linux_reset.reset(self._reset)

    def cause(self) -> str:
        return "reset" if os.environ.get(linux_reset.CAUSE) == "reset" else "unknown"

    def feed(self) -> None:
        self._notify.turned()


def _is_journal(stream: Any) -> bool:
    """Whether what is printed goes to systemd's journal, as JOURNAL_STREAM says: systemd.exec(5)."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return os.environ.get("JOURNAL_STREAM") == "%d:%d" % (found.st_dev, found.st_ino)


class Chance:
    def random(self, size: int) -> bytes:
        return os.urandom(size)
