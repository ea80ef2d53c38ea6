# SPDX-License-Identifier: MIT
"""What a target may be called, and what its `custom` data have to say.

A path is <kind>/<hardware>/<version>/<name>, four plain components, so that it can neither leave the folder
nor be a folder of another; path and `custom` must tell the same.  `custom` names kind, version, hardware, security and
size, and may name `requires` (a range for the running version) and `prerequisite` (a version that must have run).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import semver

from agent import version as versions
from agent.errors import RefusedError

KINDS = ("app", "firmware", "system")
_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}\Z")
_MAX_SECURITY = 2**31 - 1


class BadTarget(Exception):
    """The text says what is wrong with the path or the custom data."""


def check_path(path: str) -> tuple[str, str, str, str]:
    """(kind, hardware, version, name)."""
    parts = path.split("/")
    if len(parts) != 4 or not all(_COMPONENT.match(part) for part in parts):
        raise BadTarget(f"{path!r} is not <kind>/<hardware>/<version>/<name>")
    kind, hardware, version, name = parts
    if kind not in KINDS:
        raise BadTarget(f"kind {kind!r} is none of {', '.join(KINDS)}")
    if not semver.Version.is_valid(version):
        raise BadTarget(f"{version!r} is not a semantic version")
    return kind, hardware, version, name


def check_custom(path: str, length: int, custom: Any) -> None:
    kind, hardware, version, _ = check_path(path)
    if not isinstance(custom, dict):
        raise BadTarget(f"{path}: custom is missing")
    if custom.get("kind") != kind or custom.get("version") != version:
        raise BadTarget(f"{path}: custom names another kind or version")
    boards = custom.get("hardware")
    if not isinstance(boards, list) or hardware not in boards or not all(isinstance(board, str) for board in boards):
        raise BadTarget(f"{path}: custom.hardware must be a list with {hardware!r} in it")
    for name, most in (("security", _MAX_SECURITY), ("size", 2**53)):
        value = custom.get(name)
        if type(value) is not int or not 0 <= value <= most:
            raise BadTarget(f"{path}: custom.{name} must be a whole number")
    if "requires" in custom:
        _check("requires", path, _range, custom["requires"])
    if "prerequisite" in custom:
        _check("prerequisite", path, versions.parse, custom["prerequisite"])
    if not 0 < length < 2**31:  # one SDK casts it to a 32-bit number
        raise BadTarget(f"{path}: length must be 1 to 2147483647")


def _check(name: str, path: str, reader: Callable[[Any], object], value: Any) -> None:
    # By the device's own reader: what it cannot read must not be signed.
    try:
        reader(value)
    except RefusedError as error:
        raise BadTarget(f"{path}: custom.{name}: {error.detail}") from error


def _range(text: Any) -> None:
    versions.satisfies("0.0.0", text)


def stored_name(path: str, sha256: str) -> str:
    """Where a target lies with consistent snapshots (TUF, 6.2.1)."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/{sha256}.{name}"
