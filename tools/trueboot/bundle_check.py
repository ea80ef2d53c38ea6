# SPDX-License-Identifier: MIT
"""What a device would say to a bundle: its own client (`agent.trust`) and its own rules over the file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from agent.trust.bundle import Bundle
from agent.trust.walk import Walk

from agent.crypto.verify import verify as verify_signature
from agent.errors import AgentError

from .bundles import hash_image, open_bundle
from .keyfolder import read_if_there
from .problem import Problem

_PIECE_BYTES = 4096


def verify(path: Path, root: Path, running: str = "", hardware: str = "") -> dict[str, Any]:
    """Facts of the release; Problem("bundle_refused") with the device's code when it would not take it."""
    trusted = read_if_there(root)
    if trusted is None:
        raise Problem("file_unusable", f"{root} does not exist.")
    try:
        walk = Walk({"root": trusted}, int(time.time()), verify_signature, fresh=False)
        bundle = Bundle(walk)
        with open_bundle(path) as file:
            while not bundle.feed(piece := file.read(_PIECE_BYTES)):
                if not piece:
                    bundle.ended()
            file.seek(bundle.prefix)
            sha256 = hash_image(file, bundle.length)
    except AgentError as error:
        raise Problem(
            "bundle_refused", f"A device refuses {path}.", f"{error.detail or error.code} ({error.code})"
        ) from None
    target = walk.target
    if target["hashes"].get("sha256") != sha256:
        raise Problem(
            "bundle_refused", f"A device refuses {path}.", "its image is not the one that was signed (image_hash)"
        )
    custom = target.get("custom") or {}
    _check_rules(path, custom, running, hardware)
    return {
        "target": bundle.path,
        "version": custom.get("version"),
        "sha256": sha256,
        "length": bundle.length,
        "root": max_root(walk),
    }
