# SPDX-License-Identifier: MIT
"""What goes onto one board: the trampoline, the agent, the first app, configuration and trust.  No key, no device secret.

The file NO_AGENT goes along and holds the plan's digest: with it a board starts nothing, so that one which was left in the
middle is recognised and gone on with, and can never pass for a good one.  It is removed last of all.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .. import mip, mpy, releases
from ..board_files import needed
from ..problem import Problem
from ..provision import BOARD
from .boards import Board

HALT = "NO_AGENT"
EXAMPLE_VERSION = mip.EXAMPLE_VERSION
RUNS_SIMULATED = "micropython_unix"
WIFI_KEYS = ("country", "hostname", "networks")


class Plan(NamedTuple):
    device_key: str
    files: dict[str, bytes]
    digest: str


def agent_files(board: Board, simulated: bool) -> dict[str, bytes]:
    """The same for all boards of a batch: trampoline and agent, compiled."""
    root = mpy.source_tree()
    adapters = [board.adapter] + ([RUNS_SIMULATED] if simulated else [])
    try:
        trampoline = {name: path.read_bytes() for name, path in mip.trampoline(root).items()}
        return trampoline | mip.built(root, needed(root, adapters))
    except mpy.MpyError as error:
        raise Problem("extra_missing", "This needs the extra [flash].", str(error)) from None


def app_files(source: Path | None, hardware: str, version: str) -> dict[str, bytes]:
    """Slot a as a factory leaves it; the example when no app is named."""
    release = releases.make(source or BOARD / "example", "app", hardware, version)
    return mip.slot_files(release)


def config(info: Mapping[str, Any], board: Board, device_key: str, more: Mapping[str, Any]) -> dict[str, Any]:
    """trueboot.json, checked as the agent will check it; `more` goes before what is taken from the server."""
    from agent import config as schema
    from agent.errors import MisuseError

    values: dict[str, Any] = {
        "cloud": "decada",
        "product_key": info["product_key"],
        "https": info["https"],
        "mqtt": info["mqtt"],
        "ca_file": "ca.der",
        "root_file": "root.json",
        "hardware": board.name,
        **({"slots_kind": board.slots_kind} if board.slots_kind else {}),
        **more,
        "device_key": device_key,
    }
    try:
        schema.check(values)
    except MisuseError as error:
        raise Problem("file_unusable", "The configuration cannot be used.", error.detail) from None
    for name in ("device_secret", "product_secret"):
        if values.get(name):
            raise Problem("file_unusable", f"The configuration holds {name}.", "a board gets its own from the server")
    return values


def make(
    board: Board,
    device_key: str,
    same: Mapping[str, bytes],
    info: Mapping[str, Any],
    more: Mapping[str, Any],
    wifi: Mapping[str, Any] | None,
    firmware: str,
    salt: str,
) -> Plan:
    """`same`: agent and app; `firmware`: its SHA-256, "" when the board keeps its own.

    `salt`: known to the operator alone.  The digest stands in a record, and nobody shall try Wi-Fi passwords against it.
    """
    files = dict(same)
    files["trueboot.json"] = _json(config(info, board, device_key, more))
    files["ca.der"] = ssl.PEM_cert_to_DER_cert(Path(info["ca_file"]).read_text("utf-8"))
    files["root.json"] = Path(info["root_file"]).read_bytes()
    if wifi:
        files["wifi.json"] = _json(wifi)
    total = hmac.new(salt.encode(), firmware.encode(), "sha256")
    for name in sorted(files):
        total.update(_json([name, hashlib.sha256(files[name]).hexdigest()]))
    digest = total.hexdigest()
    files[HALT] = digest.encode()
    return Plan(device_key, files, digest)


def read_config(path: Path | None) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """(keys of trueboot.json, wifi.json or None) of a TOML or JSON file; the table [wifi] is the latter."""
    if path is None:
        return {}, None
    import tomllib

    try:
        text = path.read_text("utf-8")
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise Problem("file_unusable", f"{path} cannot be used.", str(error)) from None
    if not isinstance(found, dict):
        raise Problem("file_unusable", f"{path} cannot be used.", "it is no object")
    wifi = found.pop("wifi", None)
    if wifi is not None:
        check_wifi(wifi)
    return found, wifi


def check_wifi(wifi: Any) -> None:
    """As micropython/wifi.py will: a board that never joins would be found out too late."""
    good = isinstance(wifi, dict) and set(wifi) <= set(WIFI_KEYS) and isinstance(wifi.get("networks"), list)
    if not good or not 0 < len(wifi["networks"]) <= 16 or not all(map(_is_network, wifi["networks"])):
        raise Problem(
            "file_unusable",
            "The Wi-Fi networks cannot be used.",
            "a network has an ssid of 1 to 32 bytes, and a password of 8 to 63 or none",
        )


def _is_network(one: Any) -> bool:
    if not isinstance(one, dict) or not set(one) <= {"ssid", "password"}:
        return False
    ssid, password = one.get("ssid"), one.get("password", "")
    if not isinstance(ssid, str) or not isinstance(password, str):
        return False
    return 1 <= len(ssid.encode()) <= 32 and (not password or 8 <= len(password.encode()) <= 63)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def save(path: Path, files: Mapping[str, bytes]) -> None:
    """For children that want the same files."""
    path.write_text(json.dumps({name: data.hex() for name, data in files.items()}))


def load(path: Path) -> dict[str, bytes]:
    return {name: bytes.fromhex(data) for name, data in json.loads(path.read_text()).items()}
