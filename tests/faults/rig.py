# SPDX-License-Identifier: MIT
"""The demo's world, turned into a test bench: a server that can be killed, devices that reach it through doors."""

from __future__ import annotations

import json
import os
import signal
import threading
import tomllib
from pathlib import Path

from door import Door

from trueboot import fleet, mpy, provision, releases
from trueboot.demo.story import micropython_lacks
from trueboot.demo.supervisor import Device
from trueboot.demo.world import HARDWARE, World
from trueboot.images import build

APP = Path(__file__).with_name("app.py")
PATIENCE_S = 30
RUNTIMES = ("cpython", "micropython")
WAYS = ("https", "mqtt", "mqtt_activate")


class Rig(World):
    def __init__(self, folder: Path):
        super().__init__(folder)
        self.queries = 1000
        self.doors: dict[str, dict[str, Door]] = {}
        self._count = 0
        self._made = 0

    # -- the server

    def kill_server(self) -> None:
        """kill -9, and nobody is left who listens to it."""
        server, self._server = self._server, None
        assert server is not None
        server.send_signal(signal.SIGKILL)
        server.wait()
        self._end_listener()

    def _end_listener(self) -> None:
        self._stopping.set()
        if self._listener is not None:
            self._listener.join(PATIENCE_S)
        self._stopping = threading.Event()

    def start_server_again(self) -> None:
        """On other ports, as it happens; the doors then lead there."""
        self.start_server()
        for doors in self.doors.values():
            for way, door in doors.items():
                door.lead_to(self.server_info[way])

    # -- releases

    def agent_for_boards(self) -> dict[str, bytes]:
        if self._mpy is None:
            self._mpy = {} if micropython_lacks() else compiled(self.folder / "mpy", mpy.source_tree())
        return self._mpy

    def release(self, version: str, healthy: bool = True, more: dict[str, bytes] | None = None) -> releases.Release:
        """Published, and made of the tests' own app; `more` files go beside it, or in place of the agent's."""
        about = f'VERSION = "{version}"\nHEALTHY = {healthy}\n'
        files = {
            "main.py": APP.read_bytes(),
            "app_version.py": about.encode(),
            **self.agent_for_boards(),
            **(more or {}),
        }
        release = releases.Release("app", HARDWARE, version, build(files))
        self.publish(release)
        return release

    def next_version(self) -> str:
        self._count += 1
        return f"2.{self._count}.0"

    # -- devices

    def device(self, runtime: str, config=(), wrap=(), secret: str = "", name: str = "") -> Device:
        """Provisioned, behind doors, off.  `wrap`: the command that runs its interpreter, such as env."""
        self._made += 1
        name = name or f"{runtime}-{self._made}"
        device = self.add_device(name, runtime)
        device._command[:0] = wrap
        self.doors[name] = {way: Door(self.server_info[way]) for way in WAYS}
        info = self.server_info | {way: door.url for way, door in self.doors[name].items()}
        provision.register(self.api, name)
        secrets = {"product_secret": secret or self.server_info["product_secret"]}
        provision.write(device.folder, info, name, runtime, self.factory, secrets)
        if config:
            configure(device, **dict(config))
        return device

    def retire(self, *devices: Device) -> None:
        """Off, and out of the world."""
        for device in devices:
            device.power_off()
            self.devices.remove(device)
            for door in self.doors.pop(device.name).values():
                door.close()

    def deploy(self, release: releases.Release, *devices: Device) -> None:
        fleet.create_job(self.api, release.version, [device.name for device in devices], 9)

    def stored(self, device: Device) -> dict:
        return self.api.get(f"/api/v1/devices/{self.server_info['product_key']}/{device.name}")

    def ask(self, device: Device) -> dict:
        """The device's answer to a command: which agent and which app run."""
        path = f"/api/v1/devices/{self.server_info['product_key']}/{device.name}/commands"
        found: list = []

        def call():
            api = self.new_api()
            try:
                found.append(api.post(path, {"service": "about", "params": {}, "timeout_s": 10})["data"])
            except Exception as error:
                found.append(error)
            finally:
                api.close()

        threading.Thread(target=call, daemon=True).start()
        assert self.until(lambda: found, PATIENCE_S), self.told(device)
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    # -- waiting

    def wait(self, device: Device, event: str, source: str = "device", since: int = 0, timeout_s=PATIENCE_S, **fields):
        """The first such event of the device from `since` on."""
        assert self.until(lambda: self.seen(device.name, source, event, since, **fields), timeout_s), (
            f"{event} {fields} did not come{self.told(device)}"
        )
        return next(
            e
            for e in self.events[since:]
            if (e["event"], e["source"], e["device"]) == (event, source, device.name)
            and all(e.get(key) == value for key, value in fields.items())
        )

    def wait_off(self, device: Device) -> int:
        self.until(lambda: not device.running, PATIENCE_S)
        assert not device.running, self.told(device)
        return device.exit_code

    def said(self, device: Device, event: str, since: int = 0) -> list[dict]:
        return [
            e for e in self.events[since:] if (e["event"], e["source"], e["device"]) == (event, "device", device.name)
        ]

    def told(self, device: Device) -> str:
        """The story of a device, for a failing test."""
        kept = [
            e for e in self.events if e["device"] == device.name and e["event"] not in ("telemetry", "update.progress")
        ]
        words = device.log_file.read_text("utf-8", "replace")[-1500:] if device.log_file.exists() else ""
        return "\n" + "\n".join(json.dumps(e) for e in kept[-40:]) + "\n" + words


def compiled(out: Path, root: Path) -> dict[str, bytes]:
    """The agent for boards, made from the source tree `root`: path -> .mpy."""
    from trueboot.device_files import device_files

    wanted = [path for path in device_files(root) if not path.startswith("platform_adapters/memory")]
    mpy.build(out, files=wanted, root=root)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*.mpy"))}


def plain(reason: str) -> str:
    """A reason without the stable word that it begins with."""
    words = ("does not fit: ", "signature: ", "image: ", "network: ")
    return next((reason[len(word) :] for word in words if reason.startswith(word)), reason)


def configuration(device: Device) -> Path:
    return device.folder / ("agent.toml" if device.runtime == "cpython" else "trueboot.json")


def configure(device: Device, **changes) -> None:
    """Change keys of the device's configuration; None removes one."""
    file = configuration(device)
    text = file.read_text()
    values = tomllib.loads(text) if device.runtime == "cpython" else json.loads(text)
    values |= changes
    values = {key: value for key, value in values.items() if value is not None}
    if device.runtime == "cpython":
        file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
    else:
        file.write_text(json.dumps(values))


def environment(**values: str) -> list[str]:
    """For `wrap`: the device's process finds these in its environment."""
    return ["/usr/bin/env", *(f"{name}={value}" for name, value in values.items())]


def journal(device: Device) -> dict:
    from agent.journal import load
    from platform_adapters.filestore import FileStore

    return load(FileStore(str(device.folder / "state" / "store")))


def without_privilege() -> list[str]:
    """For `wrap`: permissions count for root, too.  Empty where they count anyway."""
    if os.geteuid():
        return []
    powers = "-dac_override,-dac_read_search,-fowner"
    return ["setpriv", "--inh-caps", powers, "--bounding-set", powers]
