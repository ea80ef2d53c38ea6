# SPDX-License-Identifier: MIT
"""The test bed: a real server, real signed releases and real device processes, in a folder that goes away.

It is the demo's world with what a benchmark needs besides: devices with a heap of a given size that run a `.mpy` app, the
identity of an enrolled device as files for a peer to use, and a command sent while the devices live on.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from measure import must

from agent.wire.elements import split
from trueboot import fleet, images, mpy, releases
from trueboot.demo.supervisor import Device
from trueboot.demo.world import HARDWARE, World, world
from trueboot.problem import Problem

ON_DEVICE = Path(__file__).parent / "on_device"
ROOMY = "512k"
START_S = 60
COMMAND_S = 10
BOOT = "execfile('boot.py'); execfile('main.py')"


class Identity(NamedTuple):
    """Of an enrolled device, as a peer that is no agent wants it."""

    certificate: Path
    key: Path
    ca: Path


class Bed:
    def __init__(self, here: World):
        self.here = here
        self._mpy = here.folder / "bench-mpy"
        self._boards: dict[str, bytes] | None = None

    # -- releases

    def app(self, runtime: str, version: str) -> dict[str, bytes]:
        """The files of the benches' app.  For boards all is .mpy, and the agent is in the image."""
        stamp = {"version.txt": version.encode()}
        if runtime == "cpython":
            return stamp | {"main.py": (ON_DEVICE / "app.py").read_bytes()}
        if self._boards is None:
            # For this platform, and nothing that it never loads.
            wanted = [p for p in mpy_files() if "memory" not in p]
            mpy.build(self._mpy, files=wanted)
            mpy.compile_file(ON_DEVICE / "app.py", self._mpy / "main.mpy", "main.py")
            found = sorted(self._mpy.rglob("*.mpy"))
            self._boards = {path.relative_to(self._mpy).as_posix(): path.read_bytes() for path in found}
        return stamp | self._boards

    def release(self, runtime: str, version: str, ballast: bytes = b"") -> releases.Release:
        files = self.app(runtime, version)
        if ballast:
            files["ballast.bin"] = ballast
        return releases.Release("app", HARDWARE, version, images.build(files))

    def url(self, release: releases.Release) -> str:
        folder, _, name = release.path.rpartition("/")
        return f"{self.here.server_info['https']}/repo/targets/{folder}/{release.sha256}.{name}"

    # -- devices

    def device(self, name: str, runtime: str, factory: releases.Release, heap: str = ROOMY) -> Device:
        """Provisioned, and off."""
        here = self.here
        device = here.add_device(name, runtime)
        if runtime == "micropython":
            here.devices.remove(device)
            device = self.with_heap(device, heap)
        here.provision(device, factory)
        if runtime == "micropython":
            trampoline = device.folder / "bootrecord.py"
            mpy.compile_file(trampoline, trampoline.with_suffix(".mpy"), "bootrecord.py")
            trampoline.unlink()
        return device

    def with_heap(self, device: Device, heap: str) -> Device:
        """The same board with another heap and an empty log; the former must be off."""
        device.log_file.unlink(missing_ok=True)
        command = [*mpy.interpreter(heap), "-c", BOOT]
        again = Device(device.name, device.runtime, command, device.folder, self.here.record)
        self.here.devices[:] = [d for d in self.here.devices if d.name != device.name] + [again]
        return again

    def enrolled(self, name: str, runtime: str, **settings: str) -> Device:
        """Through its first boot and on.  `settings`: more configuration."""
        device = self.device(name, runtime, self.release(runtime, "1.0.0"))
        if settings and runtime == "cpython":
            with open(device.folder / "agent.toml", "a") as file:
                file.writelines(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        elif settings:
            file_of = device.folder / "trueboot.json"
            file_of.write_text(json.dumps(json.loads(file_of.read_text()) | settings))
        device.power_on()
        must(self.until(lambda: self.said(device, "version.reported"), START_S), f"{name}'s first report")
        return device

    def identity(self, device: Device, form: str) -> Identity:
        """`form`: "pem" or "der"; the key is converted by nobody: CPython's store is PEM, the boards' is DER."""
        state, ca = device.folder / "state", Path(self.here.server_info["ca_file"])
        (chain,) = (path for path in (state / "store").glob("cert.*"))
        (key,) = (state / "keys").glob("*." + form)
        if form == "der":
            return Identity(chain, key, device.folder / "ca.der")
        certificate = self.here.folder / f"{device.name}.pem"
        certificate.write_text("".join(map(ssl.DER_cert_to_PEM_cert, split(chain.read_bytes()))))
        return Identity(certificate, key, ca)

    # -- what happens

    def until(self, reached: Any, timeout_s: float) -> bool:
        return self.here.until(reached, timeout_s)

    def said(self, device: Device, name: str, since: int = 0, **fields: Any) -> bool:
        return self.here.seen(device.name, "device", name, since, **fields)

    def deploy(self, release: releases.Release, device: Device) -> None:
        fleet.create_job(self.here.api, release.version, [device.name], 0)

    def command(self, device: Device, service: str) -> list[dict[str, Any]]:
        """Send a command; its answer appears in the list that is returned."""
        answers: list[dict[str, Any]] = []
        threading.Thread(target=self._command, args=(device, service, answers), daemon=True).start()
        return answers

    def _command(self, device: Device, service: str, answers: list[dict[str, Any]]) -> None:
        api = self.here.new_api()
        path = f"/api/v1/devices/{self.here.server_info['product_key']}/{device.name}/commands"
        try:
            answers.append(api.post(path, {"service": service, "params": {}, "timeout_s": COMMAND_S}))
        except Problem:
            pass  # nobody answered: the list stays empty
        finally:
            api.close()


@contextmanager
def bed() -> Iterator[Bed]:
    with tempfile.TemporaryDirectory(prefix="trueboot-bench-") as folder, world(Path(folder)) as here:
        here.start_server()
        yield Bed(here)


def mpy_files() -> list[str]:
    from trueboot.device_files import device_files

    return device_files(mpy.source_tree())


def run_micropython(
    script: str, folder: Path, config: dict[str, Any], heap: str, timeout_s: float = 30
) -> dict[str, Any]:
    """Run on_device/`script`.mpy with the agent's own .mpy files beside it; its last line of output, as JSON.

    {"error": ...} when it failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "agent").exists():
        mpy.build(folder, files=[path for path in mpy_files() if "memory" not in path])
    mpy.compile_file(ON_DEVICE / f"{script}.py", folder / f"{script}.mpy", f"{script}.py")
    (folder / "bench.json").write_text(json.dumps(config))
    run = f"import sys; sys.path[:] = ['', '.frozen']; import {script}"
    command = [*mpy.interpreter(heap), "-c", run]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return {"error": "timeout"}
    return _last_json(done)


def run_cpython(script: str, folder: Path, config: dict[str, Any], timeout_s: float = 60) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(config))
    command = [sys.executable, str(ON_DEVICE / f"{script}.py")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout_s)
    return _last_json(done)


def _last_json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    try:
        return json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return {"error": (done.stderr.strip().splitlines() or ["it said nothing"])[-1]}
