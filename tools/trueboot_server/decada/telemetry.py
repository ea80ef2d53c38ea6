# SPDX-License-Identifier: MIT
"""Measure points: the latest value of each is kept, bounded in number and size, and told as an event."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from ..clock import iso
from ..limits import Limits
from ..names import Identity
from ..store import Transaction
from ..store.schema import points
from . import registry

_MAX_NAME_CHARS = 64
_MAX_EVENT_BYTES = 4 * 1024


class BadPoints(Exception):
    """The text goes back to the device."""


def store(t: Transaction, identity: Identity, params: Any, limits: Limits) -> None:
    values = _checked(params, limits)
    known = {row.point for row in t.rows(sa.select(points.c.point).where(*registry.is_device(points, identity)))}
    if len(known | set(values)) > limits.points_per_device:
        raise BadPoints("too many different measure points")
    when = params.get("time")
    time = when if isinstance(when, int) and not isinstance(when, bool) and 0 < when < 2**53 else t.now
    for name, value in values.items():
        if name in known:
            change: Any = points.update().where(*registry.is_device(points, identity), points.c.point == name)
            t.execute(change.values(value=value, time=time))
        else:
            key = {"product_key": identity.product_key, "device_key": identity.device_key}
            t.execute(points.insert().values(point=name, value=value, time=time, **key))
    small = len(json.dumps(values)) <= _MAX_EVENT_BYTES
    t.event("telemetry", identity, points=values if small else sorted(values)[:16])


def latest(t: Transaction, identity: Identity) -> dict[str, Any]:
    rows = t.rows(sa.select(points).where(*registry.is_device(points, identity)).order_by(points.c.point))
    return {row.point: {"value": row.value, "time": iso(row.time)} for row in rows}


def _checked(params: Any, limits: Limits) -> dict[str, Any]:
    values = params.get("measurepoints") if isinstance(params, dict) else None
    if not isinstance(values, dict) or not values:
        raise BadPoints("measurepoints must be an object")
    if len(values) > limits.points_per_message:
        raise BadPoints("too many measure points in one message")
    for name, value in values.items():
        if not 1 <= len(name) <= _MAX_NAME_CHARS or not name.isprintable():
            raise BadPoints("the name of a measure point")
        if value is None or len(json.dumps(value)) > limits.point_bytes:
            raise BadPoints("the value of a measure point")
    return values
