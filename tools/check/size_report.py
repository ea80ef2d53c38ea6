# SPDX-License-Identifier: MIT
"""Says how many bytes of `.mpy` each device file takes, and fails beyond the budgets.

    python tools/check/size_report.py [ROOT]

Budgets are data: size_budget.toml beside this file.
"""

from __future__ import annotations

import sys
import tempfile
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from trueboot import mpy

BUDGET = Path(__file__).with_name("size_budget.toml")


def over_budget(sizes: dict[str, int], budget: dict[str, dict[str, int]]) -> list[str]:
    """One line for each file and each package that is too large, or has no budget."""
    lines = []
    for path, size in sizes.items():
        limit = budget["file"].get(path, budget["file"]["default"])
        if size > limit:
            lines.append("%s: %d bytes where %d are its budget" % (path, size, limit))
    for package, total in totals(sizes).items():
        limit = budget["total"].get(package, 0)
        if total > limit:
            lines.append("%s: %d bytes in total where %d are its budget" % (package, total, limit))
    for path in budget["file"]:
        if path != "default" and path not in sizes:
            lines.append("%s: has a budget, but is no device file" % path)
    return lines


def totals(sizes: dict[str, int]) -> dict[str, int]:
    """Bytes of each package."""
    sums: dict[str, int] = {}
    for path, size in sizes.items():
        package = path.split("/")[0]
        sums[package] = sums.get(package, 0) + size
    return sums


def main(arguments: list[str]) -> int:
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent.parent
    budget = tomllib.loads(BUDGET.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        sizes = mpy.build(Path(folder), root=root)
    for path, size in sizes.items():
        print("%7d  %s" % (size, path))
    for package, total in totals(sizes).items():
        print("%7d  %s in total, of %d" % (total, package, budget["total"].get(package, 0)))
    lines = over_budget(sizes, budget)
    for line in lines:
        print(line)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
