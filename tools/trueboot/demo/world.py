# SPDX-License-Identifier: MIT
"""The demo's world: a folder, a server, signed releases, devices; and one list of everything that happened.

Order: `pump` first takes all that the devices have said, then what the server has told.  A device writes an event before it
tells the server of it, so an effect at the server never stands before its cause on the device.
"""

from __future__ import annotations

import json
import queue
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import provision, releases
from ..api import Api, Server
from ..problem import Problem
from .chips import Chips
from .cuts import Cuts
from .supervisor import Device, Event, Lines

HARDWARE = "sim"
ESTHESIS = "demo-esthesis"  # the product of the devices that speak it
MICROPYTHON_HEAP = "512k"
SERVER_START_S = 20
SERVER_STOP_S = 10
LONG_POLL_S = 5
PUMP_S = 0.05
# `trueboot-agent`, also where no console script is installed.
AGENT = "import sys; from platform_adapters.linux_service import main; sys.exit(main())"
APPS = Path(__file__).parent / "apps"


class World:
    def __init__(self, folder: Path, tell: Callable[[Event], None] = lambda event: None):
        self.folder = folder
        self.heap = MICROPYTHON_HEAP  # of devices that are added from now on
        self.events: list[Event] = []
        self.cuts: Cuts | None = None
        self.chips: Chips | None = None
        self.queries = 0  # that a device may ask in five minutes; 0: as the server has it
        self.faults = False  # whether the server can be told to misbehave
        self.devices: list[Device] = []
        self.server_info: dict[str, Any] = {}
        self._tell = tell
        self._started = time.monotonic()
        self._server: subprocess.Popen[bytes] | None = None
        self._from_server: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._listener: threading.Thread | None = None
        self._mpy: dict[str, bytes] | None = None

    # -- what happens

    def record(self, event: Event) -> None:
        event["at"] = round(time.monotonic() - self._started, 3)
        self.events.append(event)
        if self.cuts:
            self.cuts.hear(event)
        self._tell(event)

    def say(self, name: str, **fields: Any) -> None:
        self.record({"event": name, "device": None, "runtime": None, "source": "demo", **fields})

    def put(self, event: Event) -> None:
        """From another thread: recorded at the next pump."""
        self._from_server.put(event)

    def pump(self, wait_s: float = PUMP_S) -> None:
        """Wait a little for news, then record what there is."""
        with selectors.DefaultSelector() as waiting:
            for device in self.devices:
                if device.descriptor is not None:
                    waiting.register(device.descriptor, selectors.EVENT_READ)
            waiting.select(wait_s if self._from_server.empty() else 0)
        told = []
        while not self._from_server.empty():
            told.append(self._from_server.get())
        for device in self.devices:
            device.poll()
        if self.cuts:
            self.cuts.pull(self.devices)
        for event in told:
            if event is not None:
                self.record(event)
        if self._server is not None and self._server.poll() is not None:
            raise Problem(
                "demo_failed",
                "The server ended by itself.",
                f"exit code {self._server.returncode}; see {self.folder}/server.log",
            )

    def until(self, reached: Callable[[], bool], timeout_s: float, off: bool = False) -> bool:
        """Pump until `reached`; False when it was not in time, or, unless `off`, when every device is off."""
        deadline = time.monotonic() + timeout_s
        while not reached():
            if time.monotonic() > deadline or not (off or not self.devices or any(d.running for d in self.devices)):
                return False
            self.pump()
        return True

    def seen(self, device: str | None, source: str, name: str, since: int = 0, **fields: Any) -> bool:
        return any(
            e["event"] == name
            and e["source"] == source
            and (device is None or e["device"] == device)
            and all(e.get(key) == value for key, value in fields.items())
            for e in self.events[since:]
        )

    def of(self, device: str, since: int = 0) -> list[Event]:
        return [e for e in self.events[since:] if e["device"] in (device, None)]

    # -- the server

    def start_server(self, ports: tuple[str, str, str] = ("0", "0", "0"), program: str = "trueboot") -> None:
        command = [
            sys.executable,
            "-m",
            program,
            "server",
            "--dev",
            "--state",
            str(self.folder / "server"),
            "--json",
        ]
        if self.faults:
            command.append("--faults")
        if self.queries:
            command += ["--queries", str(self.queries)]
        for flag, port in zip(("--port", "--mqtt-port", "--activate-port"), ports, strict=True):
            command += [flag, port]
        with (self.folder / "server.log").open("ab") as log:
            self._server = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self.server_info = self._first_line(self._server)
        threading.Thread(target=self._drain, args=(self._server,), daemon=True).start()
        self.api = self.new_api()
        if self._listener is None:
            _, last = self.api.events(0, 0)
            self._listener = threading.Thread(target=self._listen, args=(last,), daemon=True)
            self._listener.start()
        self.say("server.ready", https=self.server_info["https"], mqtt=self.server_info["mqtt"])

    def restart_server(self) -> None:
        """SIGKILL, and the same state and ports again."""
        self.kill_server()
        self.start_server(self._ports())

    def kill_server(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            server.kill()
            server.wait()

    def steal_server(self, release: releases.Release) -> None:
        """From now on a thief runs it: `release` is what he would have the devices install."""
        from .thief import forge

        self.kill_server()
        forge(self.folder / "server", release.path, release.image)
        self.start_server(self._ports(), "trueboot.demo.thief")
        self.say("server.stolen", version=release.version, sha256=release.sha256)

    def _ports(self) -> tuple[str, str, str]:
        https, mqtt, activate = (self.server_info[name] for name in ("https", "mqtt", "mqtt_activate"))
        return https.rpartition(":")[2], mqtt.rpartition(":")[2], activate.rpartition(":")[2]

    def new_api(self) -> Api:
        info = self.server_info
        return Api(Server(info["https"], info["ca_file"], info["admin_token"], info))

    def _first_line(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        assert process.stdout is not None
        lines, deadline = Lines(process.stdout.fileno()), time.monotonic() + SERVER_START_S
        while time.monotonic() < deadline:
            for line in lines.read():
                return json.loads(line)
            if process.poll() is not None:
                break
            time.sleep(0.01)
        log = (self.folder / "server.log").read_text("utf-8", "replace").strip().splitlines()
        raise Problem("demo_failed", "The server did not start.", log[-1] if log else "it said nothing")

    def _drain(self, process: subprocess.Popen[bytes]) -> None:
        import os

        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), True)
        with (self.folder / "server.log").open("ab") as log:
            for line in process.stdout:
                log.write(line)

    def _listen(self, last: int) -> None:
        api = self.new_api()
        while not self._stopping.is_set():
            try:
                events, last = api.events(last, LONG_POLL_S)
            except Problem:
                if self._stopping.wait(0.2):
                    return
                continue
            for event in events:
                self._from_server.put(self._named(event))

    def _named(self, event: Event) -> Event:
        name = event.get("device_key")
        device = next((d for d in self.devices if d.name == name), None)
        rest = {k: v for k, v in event.items() if k not in ("event", "device_key", "time")}
        return {
            "event": event["event"],
            "device": name,
            "runtime": device.runtime if device else None,
            "source": "server",
            **rest,
        }

    # -- releases

    def app_files(self, version: str, broken: bool) -> dict[str, bytes]:
        """One image for both interpreters: CPython passes over the .mpy files and uses the agent that is installed."""
        source = (APPS / "main.py").read_bytes()
        if broken:
            source = source.replace(
                b"import sys\n", b"import sys\n\nimport a_driver_that_was_never_shipped  # noqa: F401\n", 1
            )
        return {"main.py": source, "app_version.py": b'VERSION = "%s"\n' % version.encode(), **self.agent_for_boards()}

    def agent_for_boards(self) -> dict[str, bytes]:
        if self._mpy is None:
            self._mpy = {}
            if any(device.runtime == "micropython" for device in self.devices):
                from .. import mpy
                from ..device_files import device_files

                out, root = self.folder / "mpy", mpy.source_tree()
                wanted = [path for path in device_files(root) if not path.startswith("platform_adapters/memory")]
                mpy.build(out, files=wanted, root=root)
                self._mpy = {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*.mpy"))}
        return self._mpy

    def make_release(self, version: str, broken: bool = False, says: str = "") -> releases.Release:
        """`says`: what the app says that it is, if not its version."""
        from ..images import build

        files = self.app_files(version, broken)
        if says:
            files["app_version.py"] = f"VERSION = {says!r}\n".encode()
        return releases.Release("app", HARDWARE, version, build(files))

    def publish(self, release: releases.Release) -> None:
        releases.add(self.api, release, Path(self.server_info["keys_dir"]))
        self.say("release.signed", version=release.version, bytes=len(release.image), sha256=release.sha256)

    # -- devices

    def add_device(self, name: str, runtime: str, cloud: str = "decada") -> Device:
        """Its folder, and its place in the list; `provision` writes what is in the folder."""
        folder = self.folder / "devices" / name
        folder.mkdir(parents=True)
        command = self._command(runtime, folder)
        device = Device(name, runtime, command, folder, self.record)
        device.cloud = cloud
        self.devices.append(device)
        return device

    def power_on_again(self, device: Device) -> Device:
        """The same flash under a new supervisor, with the heap of now; returns the new device."""
        again = Device(
            device.name, device.runtime, self._command(device.runtime, device.folder), device.folder, self.record
        )
        again.cloud = device.cloud
        self.devices[self.devices.index(device)] = again
        again.power_on()
        return again

    def _command(self, runtime: str, folder: Path) -> list[str]:
        if runtime == "cpython":
            config = str(folder / "agent.toml")
            return [sys.executable, "-c", AGENT, "run", "--config", config, "--exit-on-reset"]
        from .. import mpy

        return [*mpy.interpreter(self.heap), "-c", "execfile('boot.py'); execfile('main.py')"]

    def provision(self, device: Device, factory: releases.Release) -> None:
        """A device that will activate itself: known to the server by its key, holding the product's secret.

        One that speaks esthesis holds no secret at all: it registers under its id, with the key that it was born with.
        """
        provision.register(self.api, device.name, self.product(device))
        secret = {"product_secret": self.server_info["product_secret"]} if device.cloud == "decada" else {}
        if self.chips:
            secret |= self.chips.config(device.name)
        what = (device.folder, self.server_info, device.name, device.runtime, factory, secret)
        provision.write(*what, cloud=device.cloud)

    def product(self, device: Device) -> str:
        return ESTHESIS if device.cloud == "esthesis" else self.server_info["product_key"]

    def make_product(self) -> None:
        """For devices that speak esthesis: one product, one language."""
        self.api.post("/api/v1/products", {"product_key": ESTHESIS, "dialect": "esthesis"})

    # -- the end

    def stop(self) -> None:
        """Everything that was started ends; safe to call at any time, more than once."""
        self._stopping.set()
        for device in self.devices:
            device.power_off()
        if self.chips:
            self.chips.stop()
        if self._server is not None:
            server, self._server = self._server, None
            server.terminate()
            try:
                server.wait(SERVER_STOP_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


@contextmanager
def world(folder: Path, tell: Callable[[Event], None] = lambda event: None) -> Iterator[World]:
    made = World(folder, tell)
    try:
        yield made
    finally:
        made.stop()
