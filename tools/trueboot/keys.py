# SPDX-License-Identifier: MIT
"""Signing keys for use without --dev: made here, kept here.

`init` makes a root, a targets and an online key, and the first root metadata, signed by the root key.  The online key
signs snapshot and timestamp and goes to the server; root and targets stay with the developer.  One key a role is the
start; thresholds and rotation come with the full TUF tooling.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from .problem import Problem

ROOT_LIFE = timedelta(days=5 * 365)
FILES = ("root.pem", "targets.pem", "online.pem", "1.root.json")


def init(folder: Path) -> dict[str, Any]:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from securesystemslib.signer import CryptoSigner
    from tuf.api.metadata import Metadata, Root

    from .releases import sign

    existing = [name for name in FILES if (folder / name).exists()]
    if existing:
        raise Problem("keys_exist", f"{folder} holds {', '.join(existing)} already.")
    signers = {}
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for role in ("root", "targets", "online"):
            key = ec.generate_private_key(ec.SECP256R1())
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            _write_private(folder / f"{role}.pem", pem)
            signers[role] = CryptoSigner(key)
        root = Metadata(Root(version=1, consistent_snapshot=True, expires=_in(ROOT_LIFE)))
        for role, owner in (("root", "root"), ("targets", "targets"), ("snapshot", "online"), ("timestamp", "online")):
            root.signed.add_key(signers[owner].public_key, role)
        (folder / "1.root.json").write_bytes(sign(root, [signers["root"]]))
    except OSError as error:
        raise Problem("file_unusable", f"{folder} cannot be written.", error.strerror or str(error)) from None
    return {"folder": str(folder), "keyids": {role: signer.public_key.keyid for role, signer in signers.items()}}


def _in(life: timedelta) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + life


def _write_private(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
