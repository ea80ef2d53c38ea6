# SPDX-License-Identifier: MIT
"""A crowd of simulated devices: a few processes with many devices each, cheap enough for a campaign over hundreds.

    with Crowd(folder, info, factory, bad=("1.1.0",)) as crowd:
        crowd.start("cpython", keys)          # one more process, with these devices

What a device of it is, `apps/crowd.py` says.  Processes end with the crowd, or with the one who started them.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .. import mpy
from ..device_files import device_files
from ..releases import Release
from .supervisor import device_environment

PROGRAM = Path(__file__).parent / "apps" / "crowd.py"
HEAP = "64m"
STOP_S = 10
# What no device of the crowd uses: other platforms' adapters, and what needs hardware.
_LEFT_OUT = ("linux", "raspberry_pi", "esp32", "pico_w", "micropython_umqtt", "micropython_machine", "memory_esp32")


class Crowd:
    def __init__(self, folder: Path, info: Mapping[str, Any], factory: Release, bad: Iterable[str] = ()):
        """`info`: what the server's operator.json says; `bad`: versions whose image crashes at its start."""
        self._folder, self._info, self._factory, self._bad = folder, info, factory, list(bad)
        self._processes: list[subprocess.Popen[bytes]] = []
        folder.mkdir(parents=True)
        (folder / "ca.der").write_bytes(ssl.PEM_cert_to_DER_cert(Path(info["ca_file"]).read_text()))
        (folder / "image").write_bytes(factory.image)

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, runtime: str, keys: list[str], cloud: str = "decada", **config: Any) -> None:
        """One more process of devices.  `config`: keys of their configuration beside the usual ones.

        Those that speak esthesis name no product: one has to be open to them.
        """
        number = len(self._processes)
        root = mpy.source_tree()
        what = {
            "paths": [str(root)],
            "modules": _modules(root) if runtime == "micropython" else [],
            "folder": str(self._folder / f"keys-{number}"),
            "ca_der": str(self._folder / "ca.der"),
            "root_file": self._info["root_file"],
            "image": str(self._folder / "image"),
            "version": self._factory.version,
            "bad": self._bad,
            "devices": [self._config(key, cloud) | config for key in keys],
        }
        for key in keys:
            (self._folder / f"keys-{number}" / key).mkdir(parents=True, mode=0o700)
        file = self._folder / f"crowd-{number}.json"
        file.touch(0o600)
        file.write_text(json.dumps(what))
        command = [sys.executable] if runtime == "cpython" else mpy.interpreter(HEAP)
        with (self._folder / f"crowd-{number}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [*command, str(PROGRAM), str(file)],
                    cwd=self._folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=device_environment(),
                    start_new_session=True,
                )
            )

    def ended(self) -> list[str]:
        """The last words of processes that have ended by themselves: none should."""
        found = []
        for number, process in enumerate(self._processes):
            if process.poll() is not None:
                lines = (self._folder / f"crowd-{number}.log").read_text("utf-8", "replace").strip().splitlines()
                found.append(" / ".join(lines[-3:])[-500:] or f"exit code {process.returncode}")
        return found

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(STOP_S)

    def _config(self, key: str, cloud: str) -> dict[str, Any]:
        info = self._info
        common = {
            "cloud": cloud,
            "device_key": key,
            "https": info["https"],
            "hardware": self._factory.hardware,
            "encodings": "",  # an image of a few bytes has no shorter form
        }
        if cloud == "esthesis":
            return common
        return common | {name: info[name] for name in ("product_key", "product_secret", "mqtt", "mqtt_activate")}


def _modules(root: Path) -> list[str]:
    names = [path.removesuffix(".py").replace("/", ".") for path in device_files(root)]
    wanted = [name for name in names if name.split(".")[0] in ("agent", "platform_adapters")]
    return [name for name in wanted if not name.endswith("__init__") and not name.split(".")[1].startswith(_LEFT_OUT)]
