# SPDX-License-Identifier: MIT
"""What a device would say to a bundle: its own client (`agent.trust`) and its own rules over the file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from agent import rules
from agent.crypto.verify import verify as verify_signature
from agent.errors import AgentError
from agent.trust.bundle import Bundle
from agent.trust.walk import Walk

from .bundles import hash_image, open_bundle
from .images import FILE_NAMES
from .keyfolder import read_if_there
from .problem import Problem

_PIECE_BYTES = 4096
_ROOMY = 2**40  # a slot that takes whatever the release asks for: this machine knows no slot


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
        raise _refused(path, error.detail, error.code) from None
    target, target_path = walk.target or {}, str(bundle.path)
    if target["hashes"].get("sha256") != sha256:
        raise _refused(path, "its image is not the one that was signed", "image_hash")
    custom = target.get("custom")
    if running or hardware:
        _check_rules(path, target_path, target, running, hardware)
    return {
        "target": target_path,
        "version": custom.get("version") if isinstance(custom, dict) else None,
        "sha256": sha256,
        "length": bundle.length,
        "rules": "checked" if running or hardware else "not checked",
    }


def _check_rules(path: Path, target_path: str, target: dict[str, Any], running: str, hardware: str) -> None:
    if not (running and hardware):
        raise Problem("usage", "--running and --hardware go together.", "the rules of a release speak of both")
    custom = target.get("custom")
    kind = custom.get("kind") if isinstance(custom, dict) else None
    # A device of any kind that there is; which one it is, its hardware says.
    device = {"kind": kind if kind in tuple(FILE_NAMES) else "app", "version": running, "hardware": hardware}
    device["capacity"] = target["length"] + _ROOMY
    try:
        rules.release(target_path, target, device)
    except AgentError as error:
        raise _refused(path, error.detail, error.code) from None


def _refused(path: Path, why: str, code: str) -> Problem:
    return Problem("bundle_refused", f"A device refuses {path}.", f"{why or code} ({code})")
