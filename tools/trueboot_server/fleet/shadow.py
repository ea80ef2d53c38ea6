# SPDX-License-Identifier: MIT
"""Attributes and tags: what is noted about a device, by the device or by the operator (enos-decada, 5).

Attributes hold any JSON; tags are short texts.  There is no thing model, so a name is taken as it comes; number and
size are bounded.  A change that breaks a bound changes nothing.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ..limits import Limits
from ..names import Identity
from ..store import Transaction
from . import registry

_ATTRIBUTE = re.compile(r"[^\x00-\x1f\x7f]{1,64}\Z")
_TAG = re.compile(r"[A-Za-z0-9_/-]{1,100}\Z")  # 50 in one of EnOS's documents, 100 in another
_TAG_VALUE_CHARS = 200


class BadShadow(Exception):
    """The text goes back to who asked."""


def attributes(t: Transaction, identity: Identity) -> dict[str, Any]:
    return dict(registry.known_device(t, identity).attributes or {})


def tags(t: Transaction, identity: Identity) -> dict[str, str]:
    return dict(registry.known_device(t, identity).tags or {})


def shown(t: Transaction, identity: Identity) -> dict[str, Any]:
    return {"attributes": attributes(t, identity), "tags": tags(t, identity)}


def set_attributes(t: Transaction, identity: Identity, changes: Any, limits: Limits) -> None:
    """`changes`: name -> value; None deletes."""
    if not isinstance(changes, dict) or not all(_ATTRIBUTE.match(name) for name in changes):
        raise BadShadow("attributes must be an object of names and values")
    kept = _changed(attributes(t, identity), changes)
    if len(kept) > limits.attributes_per_device or len(json.dumps(kept)) > limits.attributes_bytes:
        raise BadShadow("too many attributes, or too large ones")
    registry.update(t, identity, attributes=kept)
    t.event("device.attributes", identity, names=sorted(changes)[:16])


def set_tags(t: Transaction, identity: Identity, changes: Any, limits: Limits) -> None:
    """`changes`: key -> text, or a number, which some SDKs' samples send; None deletes."""
    if not isinstance(changes, dict) or not all(_TAG.match(key) for key in changes):
        raise BadShadow("a tag's key has 1 to 100 of A-Z a-z 0-9 _ - /")
    texts = {key: _tag_value(value) for key, value in changes.items()}
    kept = _changed(tags(t, identity), texts)
    if len(kept) > limits.tags_per_device:
        raise BadShadow("too many tags")
    registry.update(t, identity, tags=kept)
    t.event("device.tags", identity, names=sorted(changes)[:16])


def chosen(kept: dict[str, Any], names: Any) -> dict[str, Any]:
    """Those that are asked for; an empty list asks for all, and what there is not is left out."""
    if names is None or names == []:
        return kept
    return {name: kept[name] for name in names_in(names) if name in kept}


def names_in(names: Any) -> list[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadShadow("a list of names is wanted")
    return names


def _changed(kept: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**kept, **changes}.items() if value is not None}


def _tag_value(value: Any) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _TAG_VALUE_CHARS or not value.isprintable():
        raise BadShadow(f"a tag's value is a text of up to {_TAG_VALUE_CHARS} characters")
    return value
