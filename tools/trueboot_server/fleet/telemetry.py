# SPDX-License-Identifier: MIT
"""Measure points: the latest value of each is kept, bounded in number and size, and told as an event.

`post` is of now and always counts; `resume` brings what a device kept while it was offline, and replaces only what is
older.  A batch is one message: all of it or nothing, unless the device asks that what cannot be used be skipped.  A
batch may name its device, but no other: there are no sub-devices here.

Times are milliseconds; SDKs send floats, seconds and nothing, and a board without a clock anything.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
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
_MILLISECONDS = 10**11  # a smaller number is seconds (or 1973)
_AHEAD_MS = 24 * 3600 * 1000  # a time further ahead is a wrong clock, and would shadow what is true later


class BadPoints(Exception):
    """The text goes back to the device."""


@dataclass(frozen=True, slots=True)
class _Sample:
    time: int
    values: dict[str, Any]


def store(t: Transaction, identity: Identity, params: Any, limits: Limits, resumed: bool = False) -> None:
    sample = _Sample(_time(params, t.now), _checked(params, limits))
    _store(t, identity, [sample], limits, resumed)


def store_batch(
    t: Transaction, identity: Identity, params: Any, limits: Limits, resumed: bool = False, skip: bool = False
) -> None:
    """`skip`: leave out what cannot be used."""
    if not isinstance(params, list) or not 1 <= len(params) <= limits.samples_per_batch:
        raise BadPoints(f"a list of 1 to {limits.samples_per_batch} samples is wanted")
    samples = []
    for entry in params:
        try:
            _check_owner(entry, identity)
            samples.append(_Sample(_time(entry, t.now), _checked(entry, limits, skip)))
        except BadPoints:
            if not skip:
                raise
    # Equal times keep their order: the later entry is the later word.
    _store(t, identity, sorted(samples, key=lambda sample: sample.time), limits, resumed)


def latest(t: Transaction, identity: Identity) -> dict[str, Any]:
    rows = t.rows(sa.select(points).where(*registry.is_device(points, identity)).order_by(points.c.point))
    return {row.point: {"value": row.value, "time": iso(row.time)} for row in rows}


def _store(t: Transaction, identity: Identity, samples: list[_Sample], limits: Limits, resumed: bool) -> None:
    newest = {name: (sample.time, value) for sample in samples for name, value in sample.values.items()}
    rows = t.rows(sa.select(points.c.point, points.c.time).where(*registry.is_device(points, identity)))
    known = {row.point: row.time for row in rows}
    if len(known.keys() | newest.keys()) > limits.points_per_device:
        raise BadPoints("too many different measure points")
    for name, (time, value) in newest.items():
        if resumed and known.get(name, 0) > time:
            continue
        if name in known:
            change: Any = points.update().where(*registry.is_device(points, identity), points.c.point == name)
            t.execute(change.values(value=value, time=time))
        else:
            key = {"product_key": identity.product_key, "device_key": identity.device_key}
            t.execute(points.insert().values(point=name, value=value, time=time, **key))
    for sample in samples:
        small = len(json.dumps(sample.values)) <= _MAX_EVENT_BYTES
        told = {"points": sample.values if small else sorted(sample.values)[:16]}
        t.event("telemetry", identity, **told, **({"resumed": True, "at": iso(sample.time)} if resumed else {}))


def _time(params: Any, now: int) -> int:
    when = params.get("time") if isinstance(params, dict) else None
    if isinstance(when, bool) or not isinstance(when, int | float) or not 0 < when < 2**53:
        return now
    time = int(when * 1000 if when < _MILLISECONDS else when)
    return time if time <= now + _AHEAD_MS else now


def _check_owner(entry: Any, identity: Identity) -> None:
    if not isinstance(entry, dict):
        raise BadPoints("a sample must be an object")
    # SDKs write "" or nothing for the device itself.
    named = (entry.get("productKey") or identity.product_key, entry.get("deviceKey") or identity.device_key)
    if named != tuple(identity):
        raise BadPoints("a sample of another device")


def _checked(params: Any, limits: Limits, skip: bool = False) -> dict[str, Any]:
    values = params.get("measurepoints") if isinstance(params, dict) else None
    if not isinstance(values, dict) or not values:
        raise BadPoints("measurepoints must be an object")
    if len(values) > limits.points_per_message:
        raise BadPoints("too many measure points in one message")
    kept = {}
    for name, value in values.items():
        if wrong := _wrong(name, value, limits):
            if not skip:
                raise BadPoints(wrong)
        else:
            kept[name] = value
    return kept


def _wrong(name: str, value: Any, limits: Limits) -> str:
    if not 1 <= len(name) <= _MAX_NAME_CHARS or not name.isprintable():
        return "the name of a measure point"
    if value is None or len(json.dumps(value)) > limits.point_bytes:
        return "the value of a measure point"
    return ""
