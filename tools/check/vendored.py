#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the page carries of others: from which npm package and version, and that it is still those very bytes.

`--fetch` packs the packages that vendored.toml names (`npm pack`: nothing of them is run), writes their files, and tells
the hashes to put there.  To raise a version: change it there, fetch, read what changed, put the new hashes in.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tools/trueboot_server/page/static/vendor"
TABLE = Path(__file__).with_name("vendored.toml")


def main(arguments: list[str]) -> int:
    packages = tomllib.loads(TABLE.read_text())
    if "--fetch" in arguments:
        for name, package in packages.items():
            fetch(name, package)
    wrong = differences(packages, FOLDER)
    for line in wrong:
        print(line)
    return 1 if wrong else 0


def fetch(name: str, package: dict) -> None:
    with tempfile.TemporaryDirectory() as folder:
        wanted = f"{name}@{package['version']}"
        subprocess.run(["npm", "pack", "--silent", "--ignore-scripts", wanted], cwd=folder, check=True)
        [archive] = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as tar:
            for file, about in package["files"].items():
                member = tar.extractfile("package/" + about["from"])
                if member is None:
                    raise SystemExit(f"{wanted} has no {about['from']}")
                (FOLDER / file).write_bytes(member.read())


def differences(packages: dict, folder: Path) -> list[str]:
    known = {file: about["sha256"] for package in packages.values() for file, about in package["files"].items()}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    wrong = [f"{name}: nothing in vendored.toml says where it is from" for name in sorted(set(found) - set(known))]
    wrong += [f"{name} is missing: tools/check/vendored.py --fetch" for name in sorted(set(known) - set(found))]
    wrong += [
        f"{name} has SHA-256 {found[name]}, and not {known[name]}"
        for name in known
        if found.get(name, known[name]) != known[name]
    ]
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
