#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make package.json, in the root and in micropython/, from the tree; or say that they are not what the tree says.

    python tools/check/mip_package.py            compare
    python tools/check/mip_package.py --write    write

Two, since mip joins URLs without ever shortening a "..": the one in the root is for hosts of repositories
(`mpremote mip install github:OWNER/trueboot`), the other for a clone, next to what it lists first.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from trueboot import __version__, mip  # noqa: E402

PLACES = {"package.json": "", "micropython/package.json": "../"}


def made() -> dict[str, str]:
    return {name: mip.package_json(ROOT, __version__, beside) for name, beside in PLACES.items()}


def main(arguments: list[str]) -> int:
    stale = []
    for name, text in made().items():
        path = ROOT / name
        if "--write" in arguments:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    for name in stale:
        print("%s is not what the tree says: tools/check/mip_package.py --write" % name)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
