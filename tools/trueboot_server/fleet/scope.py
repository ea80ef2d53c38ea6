# SPDX-License-Identifier: MIT
"""Whom a campaign is for: devices of one product, or of several, by key, by tag, by the version that they have proven or claim.

All that is said must hold.  A version is a range: ">=1.0.0 <2.0.0", "=1.0.9", "!=1.1.0", or several, of which one must
hold: "1.0.0 | 1.1.0"; a device that has none is in no range.  Revoked devices are in no scope.  The order of turns is spread by a hash of job and device key, so that the
first phase is no neighbourhood of keys, and the same for every look.
"""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from semver import Version

from ..names import Identity, is_key
from ..store import Transaction
from ..store.schema import devices, members
from .plan import BadPlan

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
_PART = re.compile(r"(>=|<=|!=|>|<|=)?(\S+)\Z")
_TAG = re.compile(r"[A-Za-z0-9_/-]{1,100}\Z")
_MAX_PRODUCTS, _MAX_TAGS, _MAX_PARTS, _MAX_CHOICES, _KEYS_AT_ONCE = 100, 16, 8, 32, 500
_VERSIONS = ("proven_version", "claimed_version")
MEMBERS = ("products", "devices", "tags", *_VERSIONS)


def read(value: Any, most: int) -> dict[str, Any]:
    """The scope as it is kept; BadPlan for one that cannot be meant."""
    if not isinstance(value, dict):
        raise BadPlan('scope is an object of devices ("all" or a list of keys), tags, proven_version, claimed_version')
    if unknown := sorted(set(value) - set(MEMBERS)):
        raise BadPlan(f"scope: unknown: {', '.join(map(str, unknown))[:100]}; known: {', '.join(MEMBERS)}")
    if not value:
        raise BadPlan('scope says nobody: give devices "all", or what they have in common')
    found: dict[str, Any] = {}
    keys = value.get("devices", "all")
    if keys != "all":
        if not isinstance(keys, list) or not keys or not all(is_key(key) for key in keys):
            raise BadPlan('scope.devices is a list of device keys, or "all"')
        if len(keys) > most:
            raise BadPlan(f"scope.devices: a campaign may have {most} devices")
        found["devices"] = list(dict.fromkeys(keys))
    told = value.get("products")
    if told is not None and told != "all":
        if not isinstance(told, list) or not 1 <= len(told) <= _MAX_PRODUCTS or not all(map(is_key, told)):
            raise BadPlan('scope.products is a list of product keys, or "all"')
    if told is not None:
        found["products"] = told
    tags = value.get("tags")
    if tags is not None:
        if not isinstance(tags, dict) or not 1 <= len(tags) <= _MAX_TAGS:
            raise BadPlan(f"scope.tags is an object of up to {_MAX_TAGS} tags and their values")
        if not all(_TAG.match(key) and isinstance(text, str) for key, text in tags.items()):
            raise BadPlan("scope.tags: a key has 1 to 100 of A-Z a-z 0-9 _ - /, and a value is a text")
        found["tags"] = tags
    for name in _VERSIONS:
        if value.get(name) is not None:
            version_range(value[name], f"scope.{name}")
            found[name] = value[name]
    return found


def version_range(text: Any, name: str) -> Callable[[str], bool]:
    """Whether a version is in a range."""
    choices = text.split("|") if isinstance(text, str) else []
    if not 1 <= len(choices) <= _MAX_CHOICES:
        raise BadPlan(f'{name} is a range like ">=1.0.0 <2.0.0"')
    wanted = [_parts(choice, name) for choice in choices]

    def holds(version: str) -> bool:
        known = parsed(version)
        return known is not None and any(all(compare(known, limit) for compare, limit in part) for part in wanted)

    return holds


def _parts(text: str, name: str) -> list[tuple[Callable[[Any, Any], bool], Version]]:
    parts, wanted = text.split(), []
    if not 1 <= len(parts) <= _MAX_PARTS:
        raise BadPlan(f'{name} is a range like ">=1.0.0 <2.0.0"')
    for part in parts:
        found = _PART.match(part)
        version = parsed(found[2]) if found else None
        if found is None or version is None:
            raise BadPlan(f'{name}: {part[:40]} is no part of a range like ">=1.0.0 <2.0.0"')
        wanted.append((_OPERATORS[found[1] or "="], version))
    return wanted


def parsed(version: str | None) -> Version | None:
    try:
        return Version.parse(version) if version is not None else None
    except ValueError:
        return None


def of_products(column: Any, product_key: str, scope: dict[str, Any]) -> Any:
    """In SQL: whether a product is one of those that the scope is over; without any it is over one."""
    told = scope.get("products")
    return sa.true() if told == "all" else column.in_(told or [product_key])


def matching(t: Transaction, job: Any, scope: dict[str, Any], joining: bool = False) -> list[Identity]:
    """The devices, in the order of their turns.  `joining`: only who is not in the job yet."""
    if "devices" in scope and isinstance(scope["devices"], list):
        batches = [scope["devices"][at : at + _KEYS_AT_ONCE] for at in range(0, len(scope["devices"]), _KEYS_AT_ONCE)]
        narrowed: list[Any] = [devices.c.device_key.in_(batch) for batch in batches]
    else:
        narrowed = [sa.true()]
    conditions = [of_products(devices.c.product_key, job.product_key, scope), devices.c.state != "revoked"]
    conditions += [devices.c.tags[key].as_string() == text for key, text in scope.get("tags", {}).items()]
    for name in _VERSIONS:
        if name in scope:
            conditions.append(devices.c[name].in_(_versions_in(t, conditions[0], name, scope[name])))
    if joining:
        same = (members.c.product_key == devices.c.product_key, members.c.device_key == devices.c.device_key)
        conditions.append(~sa.exists().where(members.c.job_id == job.id, *same))
    found: list[Identity] = []
    chosen = sa.select(devices.c.product_key, devices.c.device_key)
    for narrow in narrowed:
        found += [Identity(*row) for row in t.rows(chosen.where(*conditions, narrow))]
    return sorted(found, key=lambda one: hashlib.sha256(f"{job.id} {one.common_name}".encode()).digest())


def unknown(t: Transaction, product_key: str, scope: dict[str, Any]) -> list[str]:
    """Keys that are named and are no device, or a revoked one."""
    keys = scope.get("devices", [])
    known: set[str] = set()
    for at in range(0, len(keys), _KEYS_AT_ONCE):
        batch = devices.c.device_key.in_(keys[at : at + _KEYS_AT_ONCE])
        mine = (of_products(devices.c.product_key, product_key, scope), devices.c.state != "revoked", batch)
        known |= {row.device_key for row in t.rows(sa.select(devices.c.device_key).where(*mine))}
    return sorted(set(keys) - known)


def _versions_in(t: Transaction, products: Any, name: str, text: str) -> list[str]:
    """Of the versions that the products' devices have, those in the range: few, however many devices there are."""
    column = devices.c[name]
    holds = version_range(text, name)
    rows = t.rows(sa.select(column).where(products, column.is_not(None)).distinct())
    return [row[0] for row in rows if holds(row[0])]
