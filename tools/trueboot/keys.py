# SPDX-License-Identifier: MIT
"""Signing keys for servers without --dev: made on the developer's machine, and kept there.

`init` makes a root and a targets key and the first root metadata, signed by the root key.  The metadata name the server's
own online key (STATE/online.pub) for snapshot and timestamp.  One key a role is the start; thresholds and rotation come
with the full TUF tooling.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .problem import Problem

FILES = ("root.pem", "targets.pem", "1.root.json")


def init(folder: Path, online: Path) -> dict[str, Any]:
    """{"folder", "root_file", "keyids"}; `online` is a public (or private) key file in PEM."""
    from trueboot_server.repo import signing

    existing = [name for name in FILES if (folder / name).exists()]
    if existing:
        raise Problem("keys_exist", f"{folder} holds {', '.join(existing)} already.")
    try:
        online_key = signing.load_public(online)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        root, targets = (signing.make_key(folder / f"{role}.pem") for role in ("root", "targets"))
        root_file = folder / "1.root.json"
        root_file.write_bytes(signing.new_root([root], [targets.public_key], online_key))
    except (OSError, signing.SigningError) as error:
        raise Problem("file_unusable", why=str(error)) from None
    keyids = {"root": root.public_key.keyid, "targets": targets.public_key.keyid, "online": online_key.keyid}
    return {"folder": str(folder), "root_file": str(root_file), "keyids": keyids}
