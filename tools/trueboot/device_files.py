# SPDX-License-Identifier: MIT
"""Which files of the source tree go onto a device: all of `agent` and `platform_adapters` but these.

One list, shared by the build, the size report, the lint and the tests.  A file
is device code unless it is named here, so a new one is checked from its first day.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

DEVICE_PACKAGES = ("agent", "platform_adapters")

HOST_ONLY = (
    "platform_adapters/ports.py",
    "platform_adapters/linux.py",
    "platform_adapters/linux_*.py",
    "platform_adapters/raspberry_pi.py",
    "platform_adapters/raspberry_pi_*.py",
    "platform_adapters/keystores/*.py",
    "agent/ratchet.py",  # no board has a second place for the floor
    "agent/tasks/program.py",  # nor programs to run
    "agent/tasks/script.py",
    "agent/clouds/esthesis_unsigned.py",
    "agent/tasks/attest.py",  # nor a key that can be attested
)


def is_device_file(path: str) -> bool:
    """`path` is relative to the source tree, with forward slashes."""
    package = path.split("/", 1)[0]
    return package in DEVICE_PACKAGES and path.endswith(".py") and not any(fnmatchcase(path, p) for p in HOST_ONLY)


def device_files(root: Path) -> list[str]:
    """Device files below `root`, in order."""
    found = (
        path.relative_to(root).as_posix() for package in DEVICE_PACKAGES for path in (root / package).rglob("*.py")
    )
    return sorted(path for path in found if is_device_file(path))
