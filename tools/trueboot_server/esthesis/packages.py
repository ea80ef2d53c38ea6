# SPDX-License-Identifier: MIT
"""Packages: what esthesis's devices are offered, by an id of 24 hex digits.

Every published release is one; its id follows from path and image.  Beside them stand packages that an operator made for
devices which verify nothing of ours: INTERNAL, a file that lies here, or EXTERNAL, an address elsewhere and its hash.
Those are found by their tags (one without tags is for every device of its product) and by semantic versions; one that
has a prerequisite is for devices that run at least that.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

import sqlalchemy as sa
from semver import Version

from ..clock import iso
from ..names import Identity
from ..store import Transaction
from ..store.schema import packages as table
from ..store.schema import releases

INTERNAL, EXTERNAL = "INTERNAL", "EXTERNAL"


def package_id(target: str, sha256: str) -> str:
    """Of a release: the same for as long as the path means the same image."""
    return hashlib.sha256(f"{target}\n{sha256}".encode()).hexdigest()[:24]


_AVAILABLE = sa.select(table).where(table.c.product_key == sa.bindparam("product_key"), table.c.available.is_(True))


def make(t: Transaction, product_key: str, **values: Any) -> Any:
    number = secrets.token_hex(12)
    t.execute(table.insert().values(id=number, product_key=product_key, created_at=t.now, **values))
    t.event("package.made", product=product_key, package=number, version=values["version"])
    return find(t, number)


def find(t: Transaction, number: str) -> Any | None:
    return t.row(sa.select(table).where(table.c.id == number))


def listed(t: Transaction) -> list[Any]:
    return t.rows(sa.select(table).order_by(table.c.product_key, table.c.created_at))


def newest_for(t: Transaction, identity: Identity, tags: set[str], running: str) -> Any | None:
    """The highest version above `running` whose prerequisite it meets; None when there is none."""
    now = parsed(running)
    if now is None:
        return None
    best: tuple[Version, Any] | None = None
    for row in t.rows(_AVAILABLE, product_key=identity.product_key):
        version, needs = parsed(row.version), parsed(row.prerequisite) if row.prerequisite else None
        fits = not row.tags or tags & set(row.tags)
        if version is None or version <= now or not fits or (needs is not None and now < needs):
            continue
        if best is None or version > best[0]:
            best = (version, row)
    return best[1] if best else None


def release_of(t: Transaction, number: str) -> Any | None:
    """The published release with this id."""
    for row in t.rows(sa.select(releases)):
        if package_id(row.target, row.sha256) == number:
            return row
    return None


def parsed(text: str) -> Version | None:
    try:
        return Version.parse(text)
    except (ValueError, TypeError):
        return None


def shown(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "product_key": row.product_key,
        "name": row.name,
        "version": row.version,
        "type": row.kind,
        "size": row.size,
        "sha256": row.sha256,
        "url": row.url,
        "tags": row.tags,
        "prerequisite": row.prerequisite,
        "available": bool(row.available),
        "created_at": iso(row.created_at),
    }
