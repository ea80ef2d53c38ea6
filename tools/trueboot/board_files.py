# SPDX-License-Identifier: MIT
"""Which device files a board needs: the agent, and what its adapter imports, directly or through others.

Read from the sources, lazy imports included; what only tests and simulations import is so left out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from .device_files import device_files, is_device_file

ADAPTERS = ("esp32", "pico_w", "micropython_unix")  # of the MicroPython family; the last is the board of the tests


# No board's TLS looks at revocation lists of the server's certificate.
NEVER = ("agent/tasks/lists.py", "agent/wire/crl.py")
# What speaks to one cloud alone: a board that speaks to another can do without.
CLOUDS = {
    "decada": ("agent/clouds/decada*.py",),
    "esthesis": (
        "agent/clouds/elp.py",
        "agent/clouds/esthesis*.py",
        "agent/crypto/rsa_sign.py",
        "agent/orders.py",
        "agent/place.py",
        "agent/pulse.py",
        "agent/tasks/adopt.py",
        "agent/tasks/find.py",
        "agent/tasks/register.py",
    ),
}


def needed(root: Path, adapters: Iterable[str] = ADAPTERS, clouds: Iterable[str] = tuple(CLOUDS)) -> list[str]:
    """Device files below `root` for these adapters and clouds, in order."""
    todo = ["platform_adapters.%s" % name for name in adapters]
    foreign = [pattern for cloud in CLOUDS if cloud not in tuple(clouds) for pattern in CLOUDS[cloud]]
    found = {path for path in device_files(root) if path.startswith("agent/") and not _any(path, [*NEVER, *foreign])}
    while todo:
        path = _file(root, todo.pop())
        if path is None or path in found or not is_device_file(path):
            continue
        found.add(path)
        todo += _imports((root / path).read_text("utf-8"))
    return sorted(found)


def _any(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _file(root: Path, module: str) -> str | None:
    name = module.replace(".", "/")
    return next((path for path in (name + ".py", name + "/__init__.py") if (root / path).exists()), None)


def _imports(text: str) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(node.module + "." + alias.name for alias in node.names)]
    return [name for name in names if name.startswith("platform_adapters")]
