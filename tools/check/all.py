#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`make check`: every static check, all of them run even when one fails; exit 1 when any failed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECKS = [
    ("ruff", [sys.executable, "-m", "ruff", "check", "--quiet", "."]),
    ("format", [sys.executable, "-m", "ruff", "format", "--check", "--quiet", "."]),
    ("types", [sys.executable, "-m", "mypy"]),
    ("device lint", [sys.executable, "tools/check/device_lint.py"]),
    ("mip package", [sys.executable, "tools/check/mip_package.py"]),
    ("vendored", [sys.executable, "tools/check/vendored.py"]),
    ("reference", [sys.executable, "tools/check/reference.py"]),
    ("boards", [sys.executable, "tools/check/boards.py"]),
    ("mpy sizes", [sys.executable, "tools/check/size_report.py"]),
    ("board budget", [sys.executable, "bench/budget.py"]),
]


def main() -> int:
    failed = []
    for name, command in CHECKS:
        print(f"== {name}", flush=True)
        if subprocess.run(command, cwd=ROOT).returncode:
            failed.append(name)
    print(f"check: failed: {', '.join(failed)}" if failed else f"check: all {len(CHECKS)} passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
