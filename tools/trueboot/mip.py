# SPDX-License-Identifier: MIT
"""What `mpremote mip install` and `mip.install` on a board fetch: an index of packages, as a folder for any web server.

    package/6/trueboot/latest.json     for firmwares that load .mpy of version 6; also under its version's name
    package/py/trueboot/latest.json    the sources, for firmwares with another version (mpremote --no-mpy)
    file/4a/4ac93e...                  the files, by their hash

The package `trueboot` has the trampoline, which belongs into a board's root, and the agent, into its lib; `trueboot-example`
an app, as a factory would leave it in slot a; `trueboot-umqtt` the codec over umqtt.simple.  All are to be installed into the
root (`--target /`): a board starts nothing else.  A hash names 16 digits of a file's SHA-256; mip compares it with what the board has, and checks nothing else: whoever
serves the index is trusted.  Source: micropython-lib, `mip`; docs.micropython.org, "Package management".

`package_json` is the same for those who install from a clone or its host: by URLs, of sources.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import images, mpy, releases
from .board_files import needed
from .provision import BOARD
from .shorten import words

MPY_VERSION = "6"
HASH_DIGITS = 16
TRAMPOLINE = ("boot.py", "main.py", "wifi.py")
UMQTT = "platform_adapters/micropython_umqtt.py"
EXAMPLE_VERSION = "1.0.0"


def trampoline(root: Path) -> dict[str, Path]:
    """Name on the board -> source."""
    return {name: BOARD / name for name in TRAMPOLINE} | {"bootrecord.py": root / "platform_adapters" / "bootrecord.py"}


def sources(root: Path) -> dict[str, Path]:
    """All of the package `trueboot`, as sources."""
    return trampoline(root) | {"lib/" + path: root / path for path in needed(root)}


def compiled(root: Path) -> dict[str, bytes]:
    """The same with the agent as `.mpy`; the trampoline stays text, since boards look for boot.py and main.py."""
    return {name: path.read_bytes() for name, path in trampoline(root).items()} | built(root, needed(root))


def built(root: Path, paths: list[str]) -> dict[str, bytes]:
    outside = trampoline(root)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        mpy.build(out, files=paths, root=root, keep=words(*(path.read_text("utf-8") for path in outside.values())))
        return {"lib/" + mpy_name(path): (out / mpy_name(path)).read_bytes() for path in paths}


def mpy_name(path: str) -> str:
    return path.removesuffix(".py") + ".mpy"


def example(hardware: str, version: str = EXAMPLE_VERSION) -> dict[str, bytes]:
    """The example as a factory leaves it in slot a."""
    return slot_files(releases.Release("app", hardware, version, images.load(BOARD / "example", "app")))


def slot_files(release: releases.Release) -> dict[str, bytes]:
    """A first image in slot a, `.index` last, which makes it whole."""
    with tempfile.TemporaryDirectory() as folder:
        slot = Path(folder)
        releases.write_factory_slot(slot, release)
        found = {path.relative_to(slot).as_posix(): path.read_bytes() for path in slot.rglob("*") if path.is_file()}
    return {"slots/a/" + name: found[name] for name in sorted(found, key=lambda name: (name == ".index", name))}


def write_index(out: Path, hardware: str, version: str) -> dict[str, Any]:
    """Fill the folder `out`; says how much is in it."""
    out.mkdir(parents=True, exist_ok=True)
    root = mpy.source_tree()
    plain = {name: path.read_bytes() for name, path in sources(root).items()}
    packages = {
        (MPY_VERSION, "trueboot"): compiled(root),
        ("py", "trueboot"): plain,
        (MPY_VERSION, "trueboot-umqtt"): built(root, [UMQTT]),
        ("py", "trueboot-umqtt"): {"lib/" + UMQTT: (root / UMQTT).read_bytes()},
        (MPY_VERSION, "trueboot-example"): example(hardware),
        ("py", "trueboot-example"): example(hardware),
    }
    for (kind, name), files in packages.items():
        _write_package(out, kind, name, version, files)
    return {
        "index": str(out),
        "version": version,
        "mpy_bytes": sum(map(len, packages[MPY_VERSION, "trueboot"].values())),
        "files": len(packages[MPY_VERSION, "trueboot"]),
    }


def _write_package(out: Path, kind: str, name: str, version: str, files: Mapping[str, bytes]) -> None:
    hashes = []
    for path, data in files.items():
        digest = hashlib.sha256(data).hexdigest()[:HASH_DIGITS]
        target = out / "file" / digest[:2] / digest
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        hashes.append([path, digest])
    text = json.dumps({"v": 1, "version": version, "hashes": hashes, "deps": []}, separators=(",", ":"))
    folder = out / "package" / kind / name
    folder.mkdir(parents=True, exist_ok=True)
    for label in (version, "latest"):
        (folder / f"{label}.json").write_text(text)


def package_json(root: Path, version: str, beside: str = "") -> str:
    """A package.json of the tree's own sources; `beside`: the way from its folder to the tree's root, "../" or none."""
    places = {name: "micropython/" + name for name in TRAMPOLINE} | {"bootrecord.py": "platform_adapters/bootrecord.py"}
    places |= {"lib/" + path: path for path in needed(root)}
    if beside:
        places = {
            name: path.removeprefix("micropython/") if path.startswith("micropython/") else beside + path
            for name, path in places.items()
        }
    rows = ",\n".join("    " + json.dumps([name, path]) for name, path in places.items())
    return '{\n  "version": %s,\n  "deps": [],\n  "urls": [\n%s\n  ]\n}\n' % (json.dumps(version), rows)
