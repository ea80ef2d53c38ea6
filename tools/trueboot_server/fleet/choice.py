# SPDX-License-Identifier: MIT
"""Which release: by its path, by its version, or the newest there is for some hardware.

The newest is the highest by semantic versioning; a pre-release is only taken by name.  For a device that asks by
itself it must also be newer than what runs, follow what the release says it requires, lie above the device's floor,
and be no image that this device refused, rolled back or left again.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from semver import Version

from ..errors import ApiError
from ..names import Identity
from ..store import Transaction
from ..store.schema import attempts, jobs, releases
from . import registry
from .plan import BadPlan
from .scope import parsed, version_range

_TRIES = 3  # failures of a device with one image, after which it is offered to it no more
_NEVER_AGAIN = ("refused", "rolled_back", "updated")  # updated, and yet it asks for more than it runs
_LIST = "GET /api/v1/releases lists them."

Line = tuple[str, str]
"""Kind and hardware: what one device's releases have in common."""


def wanted_in(body: dict[str, Any]) -> dict[str, Any]:
    """The one of target, version and newest that a request names; BadPlan."""
    told = {name: body[name] for name in ("target", "version", "newest") if body.get(name) is not None}
    if len(told) != 1:
        raise BadPlan('say which release: one of target, version, or newest ("KIND/HARDWARE", or true)')
    [(name, value)] = told.items()
    if name == "newest" and value is True:
        return told
    if not isinstance(value, str) or not 0 < len(value) <= 256 or not value.isprintable():
        raise BadPlan(f"{name} is a text")
    if name == "newest" and (value.count("/") != 1 or not all(value.split("/"))):
        raise BadPlan('newest is "KIND/HARDWARE", as in app/sim, or true where all releases are for the same')
    return told


def resolve(t: Transaction, wanted: dict[str, Any]) -> Any:
    """The row of the release; ApiError when there is none, or more than one."""
    if "target" in wanted:
        found = t.rows(sa.select(releases).where(releases.c.target == wanted["target"]))
        missing = "no published release has this target path"
    elif "version" in wanted:
        found = t.rows(sa.select(releases).where(releases.c.version == wanted["version"]).order_by(releases.c.target))
        missing = f"no published release has the version {wanted['version']}"
    else:
        found, missing = _newest(t, wanted["newest"]), "nothing is published that it could be the newest of"
    if not found:
        raise ApiError(404, "no_such_release", missing, _LIST)
    if len(found) > 1:
        paths = ", ".join(row.target for row in found)
        raise ApiError(
            409, "ambiguous_release", f"more than one release is meant: {paths[:300]}", "Name one by target."
        )
    return found[0]


def _newest(t: Transaction, line: str | bool) -> list[Any]:
    rows = t.rows(sa.select(releases))
    lines = {one for row in rows for one in lines_of(row)}
    if line is True and len(lines) > 1:
        known = ", ".join(sorted("/".join(one) for one in lines))
        raise ApiError(
            409, "ambiguous_release", f"the newest of which: {known[:300]}", 'Say it: newest "KIND/HARDWARE".'
        )
    among = lines if line is True else {tuple(str(line).split("/"))}
    return _highest([row for row in rows if lines_of(row) & among])


def _highest(rows: list[Any]) -> list[Any]:
    known = [(version, row) for row in rows if (version := parsed(row.version)) and not version.prerelease]
    return [max(known, key=lambda pair: pair[0])[1]] if known else []


def lines_of(row: Any) -> set[Line]:
    return {(str(row.custom["kind"]), str(hardware)) for hardware in row.custom["hardware"]}


def for_device(t: Transaction, identity: Identity, running: str, wanted: str) -> Any | None:
    """The release to offer to a device that asks; `wanted`: "latest", or one version and no other."""
    device = registry.known_device(t, identity)
    version = parsed(running) or parsed(device.proven_version)
    rows = t.rows(sa.select(releases))
    line = _line_of_device(t, device, rows)
    if version is None or not line:
        return None
    floor = (device.last_report or {}).get("floor", 0)
    fit = [row for row in rows if lines_of(row) & line and _fits(row, version, floor)]
    if wanted not in ("", "latest"):
        fit = [row for row in fit if row.version == wanted]
        found = max(fit, key=lambda row: row.target) if fit else None
    else:
        found = next(iter(_highest(fit)), None)
    return found if found is not None and _may_be_offered(t, identity, device, found.sha256) else None


def _line_of_device(t: Transaction, device: Any, rows: list[Any]) -> set[Line]:
    """By the image that it has proven to run; where that is none of ours, whatever all releases are for, if that is one."""
    for row in rows:
        if row.sha256 == device.image:
            return lines_of(row)
    before = t.execute(sa.select(jobs.c.target).where(jobs.c.sha256 == (device.image or "")).limit(1)).scalar()
    if before:
        kind, hardware = before.split("/")[:2]
        return {(kind, hardware)}
    lines = {one for row in rows for one in lines_of(row)}
    return lines if len(lines) == 1 else set()


def _fits(row: Any, running: Version, floor: Any) -> bool:
    version, custom = parsed(row.version), row.custom
    if version is None or version <= running or custom["security"] < floor:
        return False
    before = parsed(custom.get("prerequisite"))
    if before is not None and running < before:
        return False
    try:
        return not custom.get("requires") or version_range(custom["requires"], "requires")(str(running))
    except BadPlan:
        return False


def _may_be_offered(t: Transaction, identity: Identity, device: Any, sha256: str) -> bool:
    if sha256 in (device.image, (device.fell_back or {}).get("image")):
        return False
    tried = t.rows(
        sa.select(attempts.c.state)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(*registry.is_device(attempts, identity), jobs.c.sha256 == sha256, attempts.c.settled.is_(True))
    )
    states = [row.state for row in tried if row.state != "cancelled"]
    return len(states) < _TRIES and not set(states) & set(_NEVER_AGAIN)
