# SPDX-License-Identifier: MIT
"""What a device's message does: topic to consequence, inside one transaction.

Returns the reply's code, message and data; what cannot be used raises `Declined`, and the transaction is
rolled back, so that a declined message changes nothing.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable
from typing import Any

from ..errors import RefusedReport
from ..fleet import jobs, proof, registry, shadow, telemetry
from ..limits import Limits
from ..names import Identity
from ..store import Transaction
from . import envelope

Answer = Any
"""The `data` of the reply."""

Offer = Callable[[Transaction, Any, Any], dict[str, Any]]

_TEMPLATE = ("tslAttributeMap", "tslMeasurepointMap", "tslEventMap", "tslServiceMap")  # no models are kept here
_SHADOWS: dict[str, tuple[Callable[..., dict[str, Any]], Callable[..., None], str]] = {
    "attribute": (shadow.attributes, shadow.set_attributes, "attributes"),
    "tag": (shadow.tags, shadow.set_tags, "tags"),
}


class Declined(Exception):
    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


class ReportDeclined(Declined):
    """Told apart, since a refused report is an event of its own."""


def carry_out(
    t: Transaction,
    identity: Identity,
    path: str,
    message: envelope.Envelope,
    offer: Offer,
    limits: Limits,
) -> Answer:
    """`path` is the topic below the device's tree; `offer(t, attempt, job)` are the params of an upgrade push."""
    params = message.params
    match path.split("/"):
        case ["ota", "device", "inform"]:
            return _inform(t, identity, _object(params), limits)
        case ["ota", "device", "progress"]:
            return _progress(t, identity, _object(params), limits)
        case ["ota", "device", "getversion"]:
            return _offers(t, identity, params, offer, limits)
        case ["thing", "measurepoint", "post" | "resume" as how]:
            return _telemetry(t, identity, message, limits, how, telemetry.store)
        case ["thing", "measurepoint", "post" | "resume" as how, "batch"]:
            batch = functools.partial(telemetry.store_batch, skip=message.skip_invalid)
            return _telemetry(t, identity, message, limits, how, batch)
        case ["thing", "event", name, "post"]:
            return _event(t, identity, name, _object(params), limits)
        case ["thing", "attribute" | "tag" as what, "update" | "query" | "delete" as verb]:
            return _shadow(t, identity, what, verb, params, limits)
        case ["thing", "tsltemplate", "get"]:
            return {name: {} for name in _TEMPLATE}
        case ["thing", "topo", "get"]:
            return []  # no sub-devices
        case ["thing", "log", "post"]:
            return _tell(t, identity, "device.log", _object(params).get("logs"), limits)
        case ["network", "status", "report"]:
            return _tell(t, identity, "device.network", params, limits)
        case ["connection", "state", "post"]:
            return _tell(t, identity, "device.connections", params, limits)
        case _:
            raise Declined(envelope.NO_SUCH_TOPIC, "nothing is done on this topic")


def upgrade_answered(t: Transaction, identity: Identity, reply: envelope.Envelope) -> None:
    """A reply to a push: 200, 0 and silence all mean "delivered" (enos-decada, 4.3); an error ends the attempt."""
    row = jobs.attempt(t, identity, str(reply.id))
    if row is None or row.settled or reply.code in (None, 0, envelope.OK):
        return
    jobs.settle(t, row, "failed", reason=f"the device answered the push with {reply.code}")


def _inform(t: Transaction, identity: Identity, params: dict[str, Any], limits: Limits) -> Answer:
    version = _text(params.get("version"), limits)  # one SDK's sample sends a number
    if not version:
        raise Declined(envelope.BAD_PARAMETER, "version must be a text")
    report = params.get("report")
    if report is not None:
        claims = _accept(t, identity, report, limits)
        if claims["outcome"] == "trial":
            raise ReportDeclined(envelope.REPORT_REJECTED, "report rejected: a trial is not told as a version")
        if claims["version"] != version:
            raise ReportDeclined(envelope.REPORT_REJECTED, "report rejected: it is about another version")
    before = registry.known_device(t, identity).claimed_version
    registry.update(t, identity, claimed_version=version, claimed_at=t.now, last_seen=t.now)
    t.event("version.reported", identity, version=version, before=before)
    product = registry.product(t, identity.product_key)
    jobs.claim(t, identity, version, bool(product and product.claims_count))
    return {}


def _progress(t: Transaction, identity: Identity, params: dict[str, Any], limits: Limits) -> Answer:
    step = envelope.whole_number(params.get("step"))
    if step is None or not -1000 <= step <= 100:
        raise Declined(envelope.BAD_PARAMETER, "step must be a whole number up to 100")
    if params.get("report") is not None:
        _accept(t, identity, params["report"], limits)
    named = params.get("job")
    if named is None:
        row = jobs.open_attempt(t, identity)
    else:
        row = jobs.attempt(t, identity, str(named))
        if row is None:
            raise Declined(envelope.NO_SUCH_ATTEMPT, "no such job for this device")
    if row is not None:  # progress of something that is not ours is acknowledged and forgotten
        jobs.progress(t, row, step, _text(params.get("desc"), limits))
    return {}


def _offers(t: Transaction, identity: Identity, params: Any, offer: Offer, limits: Limits) -> Answer:
    """EnOS's request has no params; ours may say what it runs and which version it wants.  Anything else says nothing."""
    told = params if isinstance(params, dict) else {}
    device = registry.known_device(t, identity)
    runs = _text(told.get("version"), limits) or device.proven_version or device.claimed_version or ""
    found = jobs.ask(t, identity, runs, _text(told.get("wanted"), limits) or "latest")
    if found is None:
        return []
    attempt, job = found
    jobs.handed(t, attempt)
    return [offer(t, attempt, job)]


def raw(t: Transaction, identity: Identity, payload: bytes, limits: Limits) -> None:
    """`thing/model/up_raw`: bytes without an envelope, which some script on EnOS would read; here they are told as they are."""
    if len(payload) > limits.told_bytes:
        raise Declined(envelope.BAD_PARAMETER, "the raw message is too large")
    t.event("device.raw", identity, base64=base64.b64encode(payload).decode())


def _telemetry(
    t: Transaction, identity: Identity, message: envelope.Envelope, limits: Limits, how: str, store: Callable[..., None]
) -> Answer:
    try:
        store(t, identity, message.params, limits, how == "resume")
    except telemetry.BadPoints as error:
        raise Declined(envelope.BAD_PARAMETER, str(error)) from error
    return {}


def _event(t: Transaction, identity: Identity, name: str, params: dict[str, Any], limits: Limits) -> Answer:
    outputs = params.get("events")
    if not isinstance(outputs, dict) or len(json.dumps(outputs)) > limits.told_bytes:
        raise Declined(envelope.BAD_PARAMETER, "events must be a small object")
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise Declined(envelope.BAD_PARAMETER, "the name of an event")
    t.event("device.event", identity, name=name, outputs=outputs)
    return {}


def _shadow(t: Transaction, identity: Identity, what: str, verb: str, params: Any, limits: Limits) -> Answer:
    get, change, member = _SHADOWS[what]
    try:
        changes: Any
        if verb == "query":
            return shadow.chosen(get(t, identity), _object(params).get(member))
        if verb == "delete":
            changes = dict.fromkeys(shadow.names_in(_object(params).get(member)))
        else:
            changes = _tag_list(params) if what == "tag" else _object(params).get(member)
        change(t, identity, changes, limits)
    except shadow.BadShadow as error:
        raise Declined(envelope.BAD_PARAMETER, str(error)) from error
    return {}


def _tag_list(params: Any) -> dict[str, Any]:
    """[{"tagKey", "tagValue"}, ...].  Nothing is deleted by an update."""
    if not isinstance(params, list) or not all(isinstance(tag, dict) for tag in params):
        raise shadow.BadShadow("a list of tagKey and tagValue is wanted")
    pairs = {str(tag.get("tagKey")): tag.get("tagValue") for tag in params}
    if None in pairs.values():
        raise shadow.BadShadow("a tag without a value")
    return pairs


def _tell(t: Transaction, identity: Identity, event: str, told: Any, limits: Limits) -> Answer:
    """What a device says of itself and nothing here depends on."""
    if not isinstance(told, dict) or len(json.dumps(told)) > limits.told_bytes:
        raise Declined(envelope.BAD_PARAMETER, "a small object is wanted")
    t.event(event, identity, told=told)
    return {}


def _accept(t: Transaction, identity: Identity, report: Any, limits: Limits) -> dict[str, Any]:
    try:
        return proof.accept(t, identity, report, limits)
    except RefusedReport as error:
        raise ReportDeclined(envelope.REPORT_REJECTED, f"report rejected: {error}") from error


def _object(params: Any) -> dict[str, Any]:
    if not isinstance(params, dict):
        raise Declined(envelope.BAD_PARAMETER, "params must be an object")
    return params


def _text(value: Any, limits: Limits) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return ""
    # It will be shown on terminals: what could steer one is replaced.
    return "".join(char if char.isprintable() else "?" for char in value[: limits.text_chars])
