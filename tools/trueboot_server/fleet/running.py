# SPDX-License-Identifier: MIT
"""What a device runs, by proof, apart from what it claims.

Every accepted report tells of the image that runs.  A trial's is shown and proves no version; all others change what
is proven.  A device whose image changed without an update has fallen back (to an older version, or by its own word),
or was changed by another hand; either is an event, and a fallback stays in view until an update is proven.

A hash is compared with every image that was ever signed here: a version with another image than the signed one, an
image that was never signed here, and one below the device's own floor are named in `remarks`.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from semver import Version

from ..clock import iso
from ..errors import RefusedReport
from ..names import Identity
from ..reports import UNREADABLE
from ..store import Transaction
from ..store.schema import devices, images
from . import registry


class Signed:
    """The images that were ever signed here."""

    def __init__(self, t: Transaction):
        self._securities: dict[str, dict[str, int | None]] = {}
        self._versions: set[str] = set()
        for row in t.rows(sa.select(images)):
            self._securities.setdefault(row.sha256, {})[row.version] = row.security
            self._versions.add(row.version)

    def remark(self, version: str, image: str) -> str | None:
        """What is wrong with an image that says it is this version; None: it was signed here as that."""
        if image == UNREADABLE:
            return "its image cannot be read"
        known = self._securities.get(image, {})
        if version in known:
            return None
        if known:
            return "its image was signed as " + ", ".join(sorted(known))
        if version in self._versions:
            return "not the image that was signed as " + version
        return "an image that was never signed here"

    def security(self, version: str, image: str) -> int | None:
        return self._securities.get(image, {}).get(version)


def note_signed(t: Transaction, sha256: str, version: str, security: Any) -> None:
    level = security if type(security) is int else None
    is_it = (images.c.sha256 == sha256, images.c.version == version)
    row = t.row(sa.select(images).where(*is_it))
    if row is None:
        t.execute(images.insert().values(sha256=sha256, version=version, security=level))
    elif row.security != level:
        t.execute(images.update().where(*is_it).values(security=level))


def check(t: Transaction, claims: dict[str, Any]) -> None:
    """RefusedReport for word of a floor that the signed security of the image contradicts."""
    if claims["outcome"] != "below_floor":
        return
    security = Signed(t).security(claims["version"], claims["image"])
    if claims["floor"] == 0 or (security is not None and security >= claims["floor"]):
        raise RefusedReport("the running image is not below the floor")


def follow(t: Transaction, identity: Identity, claims: dict[str, Any]) -> None:
    """A report was accepted: what runs is now this."""
    before = registry.known_device(t, identity)
    values: dict[str, Any] = {"last_report": claims, "reported_at": t.now}
    if claims["outcome"] != "trial":
        values |= {"proven_version": claims["version"], "proven_at": t.now}
        values |= {"image": claims["image"], "slot": claims["slot"], "fell_back": before.fell_back}
        _compare(t, identity, before, claims, values)
    registry.update(t, identity, **values)


def _compare(t: Transaction, identity: Identity, before: Any, claims: dict[str, Any], values: dict[str, Any]) -> None:
    outcome, version, image = claims["outcome"], claims["version"], claims["image"]
    changed = before.image is not None and image != before.image
    told = {"version": version, "before": before.proven_version, "reason": claims.get("reason", "")}
    if outcome == "updated" or (before.fell_back and image == before.fell_back["image"]):
        values["fell_back"] = None
    elif outcome == "fell_back" or (changed and _older(version, before.proven_version)):
        was = {"version": before.proven_version, "image": before.image} if changed else {"version": None, "image": None}
        values["fell_back"] = {**was, "reason": told["reason"], "at": t.now}
        t.event("device.fell_back", identity, **told)
    elif changed:
        if version != before.proven_version:
            values["fell_back"] = None
        t.event("device.image_changed", identity, image=image, **told)
    if outcome == "below_floor" and (before.last_report or {}).get("outcome") != "below_floor":
        t.event("device.below_floor", identity, version=version, floor=claims["floor"])
    if changed or before.image is None:
        signed = Signed(t)
        remark = signed.remark(version, image)
        # An image of a factory that is not ours is no news; one that passes for a release is.
        if remark and (before.image is not None or not remark.startswith("an image")):
            t.event("device.unknown_image", identity, version=version, image=image, reason=remark)


def shown(row: Any, signed: Signed) -> dict[str, Any] | None:
    """What the device with this row runs; None before its first report."""
    claims = row.last_report
    if claims is None:
        return None
    version, image, outcome = claims["version"], claims["image"], claims["outcome"]
    security, fell_back = signed.security(version, image), row.fell_back
    below_floor = outcome == "below_floor" or (security is not None and security < claims["floor"])
    remarks = ["on trial"] if outcome == "trial" else []
    if fell_back is not None and outcome != "trial":
        remarks.append("fell back from " + fell_back["version"] if fell_back["version"] else "fell back")
    if below_floor:
        remarks.append("below the floor")
    remark = signed.remark(version, image)
    return {
        "version": version,
        "image": image,
        "slot": claims["slot"],
        "outcome": outcome,
        "reason": claims.get("reason") or None,
        "on_trial": outcome == "trial",
        "below_floor": below_floor,
        "signed": remark is None,
        "remarks": remarks + ([remark] if remark else []),
        "fell_back": fell_back and {**fell_back, "at": iso(fell_back["at"])},
        "measured": claims["measured"],
        "boot": claims["boot"],
        "floor": claims["floor"],
        "at": iso(row.reported_at),
    }


def of_attempts(t: Transaction, job_id: int) -> dict[str, Any]:
    """device key -> what it runs, of a job's devices."""
    from ..store.schema import attempts

    mine = sa.select(attempts.c.product_key, attempts.c.device_key).where(attempts.c.job_id == job_id)
    rows = t.rows(sa.select(devices).where(sa.tuple_(devices.c.product_key, devices.c.device_key).in_(mine)))
    signed = Signed(t)
    return {row.device_key: shown(row, signed) for row in rows}


def _older(version: str, before: str | None) -> bool:
    try:
        return before is not None and Version.parse(version) < Version.parse(before)
    except ValueError:
        return False
