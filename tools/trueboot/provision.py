# SPDX-License-Identifier: MIT
"""A device's folder, as a bench or a factory leaves it: configuration, trust, and the first image in slot a.

    agent.toml | trueboot.json    configuration (0600: it holds a secret)
    ca.pem | ca.der               whom TLS trusts
    root.json                     whom releases are trusted by
    slots/a, slots/b, state       the first image; the spare slot; what the device will remember
    boot.py main.py wifi.py bootrecord.py on MicroPython: the trampoline, and what joins a network

With a device secret (the bench's way) the device holds no product secret; with the product secret it activates itself.
"""

from __future__ import annotations

import json
import shutil
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .api import Api
from .problem import Problem
from .releases import Release, write_factory_slot

BOARD = Path(__file__).parent / "demo" / "board"
RUNTIMES = ("cpython", "micropython")


def register(api: Api, device_key: str, product_key: str = "") -> str:
    """The new device's secret, which the server tells this once."""
    body = {"device_key": device_key} | ({"product_key": product_key} if product_key else {})
    return api.post("/api/v1/devices", body)["device_secret"]


def write(
    folder: Path,
    info: Mapping[str, Any],
    device_key: str,
    runtime: str,
    factory: Release,
    secret: dict[str, str],
    cloud: str = "decada",
) -> Path:
    """Fill `folder`; returns its configuration file.  `info` is what the server's operator.json says."""
    try:
        for name in ("state", "slots/a", "slots/b"):
            (folder / name).mkdir(parents=True, mode=0o700)
        pem = Path(info["ca_file"]).read_text()
        shutil.copy(info["root_file"], folder / "root.json")
        values = _config(info, device_key, runtime, factory.hardware, cloud) | secret
        if runtime == "cpython":
            (folder / "ca.pem").write_text(pem)
            file = folder / "agent.toml"
            _write_private(file, "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
        else:
            (folder / "ca.der").write_bytes(ssl.PEM_cert_to_DER_cert(pem))
            file = folder / "trueboot.json"
            _write_private(file, json.dumps(values))
            _write_trampoline(folder)
        write_factory_slot(folder / "slots" / "a", factory)
    except FileExistsError:
        raise Problem("file_unusable", f"{folder} holds a device already.", todo="Choose another folder.") from None
    except OSError as error:
        raise Problem("file_unusable", f"{folder} cannot be written.", error.strerror or str(error)) from None
    return file


def _write_trampoline(folder: Path) -> None:
    from .mpy import source_tree

    bootrecord = source_tree() / "platform_adapters" / "bootrecord.py"
    for path in (BOARD / "boot.py", BOARD / "main.py", BOARD / "wifi.py", bootrecord):
        shutil.copy(path, folder / path.name)


def _config(info: Mapping[str, Any], device_key: str, runtime: str, hardware: str, cloud: str) -> dict[str, Any]:
    # What a device that speaks esthesis has to know beside its server, that server tells it.
    told = ("product_key", "mqtt", "mqtt_activate") if cloud == "decada" else ()
    return {
        "cloud": cloud,
        "device_key": device_key,
        "https": info["https"],
        **{name: info[name] for name in told},
        "ca_file": "ca.pem" if runtime == "cpython" else "ca.der",
        "root_file": "root.json",
        "hardware": hardware,
        "state": "state",
        "slots": "slots",
    }


def _write_private(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text)
