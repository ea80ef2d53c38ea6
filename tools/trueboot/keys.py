# SPDX-License-Identifier: MIT
"""Signing keys for servers without --dev: made on the developer's machine, and kept there.

`init` makes root, targets and release keys, and the first root and targets metadata.  Root names the server's own online
key (STATE/online.pub) for snapshot and timestamp, targets delegates all releases to the release key.  One key a role is the start; thresholds and rotation come
with the full TUF tooling.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .problem import Problem

FILES = ("root.pem", "targets.pem", "release.pem", "1.root.json", "1.targets.json")


def init(folder: Path, online: Path) -> dict[str, Any]:
    """{"folder", "root_file", "keyids"}; `online` is a public (or private) key file in PEM."""
    from trueboot_server.repo import signing

    existing = [name for name in FILES if (folder / name).exists()]
    if existing:
        raise Problem("keys_exist", f"{folder} holds {', '.join(existing)} already.")
    try:
        online_key = signing.load_public(online)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        root, targets, release = (signing.make_key(folder / f"{role}.pem") for role in ("root", "targets", "release"))
        root_file = folder / "1.root.json"
        root_file.write_bytes(signing.new_root([root], [targets.public_key], online_key))
        (folder / "1.targets.json").write_bytes(signing.new_targets([targets], [release.public_key]))
    except (OSError, signing.SigningError) as error:
        raise Problem("file_unusable", why=str(error)) from None
    made = {"root": root, "targets": targets, "release": release}
    shown = {role: signer.public_key.keyid for role, signer in made.items()} | {"online": online_key.keyid}
    return {"folder": str(folder), "root_file": str(root_file), "keyids": shown}
