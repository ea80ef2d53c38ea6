# SPDX-License-Identifier: MIT
"""Releases of every kind: what makes an image of it, and what path and rules it gets.  No server is needed."""

import hashlib
import json
from pathlib import Path

import pytest
from commandline import Tool, app

from agent.wire import appimage
from platform_adapters.memory_esp32 import image as esp32_image
from trueboot_server.repo import paths

FIRMWARE = esp32_image(b"a firmware" * 99)
SYSTEM = {"boot/cmdline.txt": b"root=x\n", "boot/kernel8.img": b"k" * 99, "root.img": b"r" * 999}


@pytest.fixture(scope="module")
def tool(tmp_path_factory):
    made = Tool(tmp_path_factory.mktemp("kinds"))
    (made.folder / "online.pub").write_bytes(_online())
    made.ok("keys", "init", "keys", "--online", "online.pub", "--no-password")
    for name, data in SYSTEM.items():
        path = made.folder / "system" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (made.folder / "micropython.bin").write_bytes(FIRMWARE)
    return made


def _online():
    from securesystemslib.signer import CryptoSigner

    return CryptoSigner.generate_ecdsa().public_key.keyval["public"].encode()


def add(tool, source, version, *options):
    return (
        "release", "add", source, "--version", version, "--hardware", "b", "--offline", "--keys", "keys",
        "--stage", "out-" + version, *options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "source", "version", "name", "image"),
    [
        ("app", "app", "1.0.0", "app.img", appimage.build({"main.py": b"print('hello')\n"})),
        ("firmware", "micropython.bin", "2.0.0", "firmware.bin", FIRMWARE),
        ("system", "system", "3.0.0", "system.img", appimage.build(SYSTEM)),
    ],
)
def test_a_release_of_each_kind(tool, kind, source, version, name, image):
    app(tool.folder / "app")
    added = tool.ok(*add(tool, source, version, "--kind", kind))
    assert added["target"] == f"{kind}/b/{version}/{name}" and added["length"] == len(image)
    paths.check_path(added["target"])
    folder = tool.folder / added["stage"]
    role = json.loads((folder / "metadata" / f"{added['role_version']}.{added['role']}.json").read_text())["signed"]
    custom = role["targets"][added["target"]]["custom"]
    assert custom == {"kind": kind, "version": version, "hardware": ["b"], "security": 0, "size": len(image)}
    stored = [path for path in (folder / "targets").rglob("*") if path.is_file() and path.read_bytes() == image]
    assert stored and hashlib.sha256(image).hexdigest() == added["sha256"]


def test_a_system_image_is_built_and_shown(tool):
    tool.ok("image", "build", "system", "-o", "system.img", "--kind", "system")
    assert (tool.folder / "system.img").read_bytes() == appimage.build(SYSTEM)
    assert [file["path"] for file in tool.ok("image", "show", "system.img")["files"]] == sorted(SYSTEM)
    assert tool.ok(*add(tool, "system.img", "3.1.0", "--kind", "system"))["length"] == len(appimage.build(SYSTEM))
    tool.refused("usage", "image", "build", "system", "-o", "x", "--kind", "firmware", exit_code=2)


def test_an_unknown_kind_is_wrong_usage(tool):
    assert "app, firmware, system" in tool.refused("usage", *add(tool, "app", "9.0.0", "--kind", "rom"), exit_code=2)


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("firmware", b"", "no firmware"),
        ("firmware", b"\xe9" * 40, "no firmware"),
        ("firmware", FIRMWARE[:-1], "no firmware"),
        ("firmware", appimage.build(SYSTEM), "no firmware"),
        ("firmware", FIRMWARE + b"\xff" * 4000 + FIRMWARE, "micropython.bin"),
        ("app", appimage.build(SYSTEM), "main.py"),
        ("app", FIRMWARE, "image_invalid"),
        ("system", appimage.build({"main.py": b""}), "boot/cmdline.txt"),
        ("system", appimage.build(SYSTEM | {"etc/passwd": b""}), "etc/passwd"),
        ("system", FIRMWARE, "image_invalid"),
    ],
)
def test_an_image_of_another_kind_is_told_apart(tool, kind, data, words):
    (tool.folder / "odd").write_bytes(data)
    assert words in tool.refused("image_invalid", *add(tool, Path("odd"), "9.0.0", "--kind", kind))
    assert not (tool.folder / "out-9.0.0").exists()
