# SPDX-License-Identifier: MIT
"""Admission, messages and pushes, for devices that speak esthesis.

The certificate is the identity; the client id has to be its hardware id, and there is no password.  An up topic has no
answer in this language: PUBACK says that what was said is committed.  `health firmware='...'` on the metadata topic is
the cloud's version field, and so only a claim; our agents add `trueboot report='...'`, which proves (see `fleet.proof`),
and `trueboot job='...',step=...` on the way.  What cannot be used changes nothing and is an event.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..errors import ApiError, RefusedReport
from ..fleet import jobs, proof, registry, replacement, telemetry
from ..fleet.dialect import ESTHESIS
from ..limits import Limits
from ..mqtt import codec
from ..mqtt.desk import Admitted, Message, Peer, Refused
from ..names import Identity
from ..store import Store, Transaction
from . import commands, elp, words
from .packages import package_id

if TYPE_CHECKING:
    from ..fleet.desk import FleetDesk

_AT_CONNECT = ("queued", "pushed")
_AT_REST = ("queued", "pushed", "in_progress", "on_trial")  # once it says what it runs: never on trial
_OURS = "trueboot"  # the category of what our agents add
_VERSION = ("health", "firmware")


class _Unusable(Exception):
    """A message that breaks a rule: nothing of it is kept."""


class EsthesisDesk:
    name = ESTHESIS

    def __init__(self, store: Store, limits: Limits, desk: FleetDesk):
        self._store = store
        self._limits = limits
        self._desk = desk
        self.anybody = False  # whether mode OPEN lets anybody register; known when the server's options are
        self._waiting: dict[str, asyncio.Event] = {}  # by id of a command

    # fleet.dialect.Dialect

    def speaks(self, connect: codec.Connect) -> bool:
        return "|" not in connect.client_id and not connect.username and not connect.password

    def admit(self, peer: Peer, connect: codec.Connect) -> Admitted | Refused:
        if not peer.certified:
            return Refused(codec.BAD_CLIENT_ID, "no login, and no certificate either")
        with self._store.transaction() as t:
            certificate = registry.presented(t, peer.serial, peer.der)
            if certificate is None:
                return Refused(codec.NOT_AUTHORISED, "unknown certificate")
            identity = Identity(certificate.product_key, certificate.device_key)
            product: Any = registry.product(t, identity.product_key)
            if product.dialect != ESTHESIS:
                return Refused(codec.BAD_CLIENT_ID, "not a login of its product's dialect")
            if connect.client_id != identity.device_key:
                return Refused(codec.NOT_AUTHORISED, "the certificate is another device's")
            if not registry.is_live(certificate, t.now, self._limits):
                return Refused(codec.NOT_AUTHORISED, "the certificate is revoked or superseded")
            device: Any = registry.standing(t, identity)
            if device.state == "revoked":
                return Refused(codec.NOT_AUTHORISED, "the device is revoked")
            registry.note_use(t, certificate)
            replacement.settle_reflash(t, device)
        return Admitted(identity, dialect=ESTHESIS, own=words.own_topics(identity.device_key), unasked=False)

    def connected(self, admitted: Admitted) -> list[Message]:
        with self._store.transaction(lasting=False) as t:
            registry.note_seen(t, admitted.identity)
            t.event("device.online", admitted.identity)
        return []

    def subscribed(self, admitted: Admitted, topic_filter: str) -> list[Message]:
        if topic_filter == words.request_topic(admitted.identity.device_key):
            return self.due(admitted.identity)
        return []

    def arrived(self, admitted: Admitted, topic: str, payload: bytes) -> list[Message]:
        identity = admitted.identity
        what = topic.removeprefix("esthesis/").rpartition("/")[0]
        if what == "command/reply":
            self._replied(identity, payload)
            return []
        if what not in words.UP:
            return []  # the request topic: nobody listens to a device there
        lines, wrong = elp.parse(payload.decode("utf-8", "replace"))
        try:
            with self._store.transaction() as t:
                rests = self._take(t, identity, what, lines)
                if wrong:
                    t.event("elp.unusable", identity, lines=len(wrong), why=wrong[0])
        except RefusedReport as error:
            with self._store.transaction() as t:
                t.event("report.rejected", identity, why=str(error))
            return []
        except (_Unusable, telemetry.BadPoints) as error:
            with self._store.transaction() as t:
                t.event("elp.unusable", identity, lines=len(lines) + len(wrong), why=str(error))
            return []
        return self._due(identity, _AT_REST) if rests else []

    def due(self, identity: Identity) -> list[Message]:
        return self._due(identity, _AT_CONNECT)

    # For the operator's side

    async def command(
        self, identity: Identity, kind: str, asynchronous: bool, command: str, arguments: str, wait_s: float
    ) -> Any:
        """The row of a command, with its reply when that came within `wait_s`.  ApiError when the device is not there."""
        with self._store.transaction() as t:
            number = commands.make(t, identity, kind, asynchronous, command, arguments, self._limits)
        payload = words.request(number, kind, asynchronous, command, arguments)
        replied = self._waiting[number] = asyncio.Event()
        try:
            if not self._desk.push(identity, words.request_topic(identity.device_key), payload):
                raise ApiError(409, "device_offline", "the device is not connected", "Send the command when it is.")
            if wait_s:
                async with asyncio.timeout(wait_s):
                    await replied.wait()
        except TimeoutError:
            pass  # the reply is kept when it comes
        finally:
            del self._waiting[number]
        with self._store.transaction() as t:
            return commands.find(t, identity, number)

    # Inside

    def _take(self, t: Transaction, identity: Identity, what: str, lines: list[elp.Line]) -> bool:
        """Whether the device says that it rests on a version."""
        registry.note_seen(t, identity)  # by our clock: a device's is not to be trusted
        version, ours = "", {}
        points: list[tuple[dict[str, Any], int | None]] = []
        for line in lines:
            if what == "ping" and "ping" in line.values:
                continue
            if what == "metadata" and line.category == _OURS:
                ours.update(line.values)
                continue
            if what == "metadata" and line.category == _VERSION[0] and _VERSION[1] in line.values:
                version = self._text(line.values[_VERSION[1]])
            points.append(({f"{line.category}.{name}": value for name, value in line.values.items()}, line.time_ms))
        claims = proof.accept(t, identity, ours["report"], self._limits) if "report" in ours else None
        if claims is not None and version and (claims["outcome"] == "trial" or claims["version"] != version):
            raise RefusedReport("it is about another version, or a trial")
        for values, time in points:
            telemetry.store(t, identity, {"measurepoints": values, "time": time}, self._limits)
        if "step" in ours:
            self._progress(t, identity, ours)
        if version:
            self._runs(t, identity, version)
        return bool(version)

    def _runs(self, t: Transaction, identity: Identity, version: str) -> None:
        before = registry.known_device(t, identity).claimed_version
        registry.update(t, identity, claimed_version=version, claimed_at=t.now)
        t.event("version.reported", identity, version=version, before=before)
        product: Any = registry.product(t, identity.product_key)
        jobs.claim(t, identity, version, bool(product.claims_count))

    def _progress(self, t: Transaction, identity: Identity, ours: dict[str, Any]) -> None:
        step = ours["step"]
        if type(step) is not int or not -1000 <= step <= 100:
            raise _Unusable("step is a whole number up to 100")
        named = ours.get("job")
        row = jobs.open_attempt(t, identity) if named is None else jobs.attempt(t, identity, str(named))
        if row is None:
            raise _Unusable("no such job for this device")
        jobs.progress(t, row, step, self._text(ours.get("desc", "")))

    def _replied(self, identity: Identity, payload: bytes) -> None:
        reply = words.parse_reply(payload)
        with self._store.transaction() as t:
            registry.note_seen(t, identity)
            if reply is None:
                t.event("command.unreadable", identity, bytes=len(payload))
                return
            if commands.answered(t, identity, reply, self._limits):
                if reply.id in self._waiting:
                    self._waiting[reply.id].set()
            elif (row := jobs.attempt(t, identity, _attempt_of(reply.id))) is None:
                t.event("command.unknown", identity, command=reply.id)
            elif not reply.succeeded and not row.settled:
                jobs.settle(t, row, "failed", reason="the device refused the command: " + self._text(reply.output))
            elif row.state in ("queued", "pushed"):
                # Begun: the original subscribes before it says what it runs, and would install once more after its restart.
                jobs.progress(t, row, 0, self._text(reply.output))

    def _due(self, identity: Identity, states: tuple[str, ...]) -> list[Message]:
        with self._store.transaction() as t:
            taken = jobs.take_for_push(t, identity, states, self._limits)
        if taken is None:
            return []
        attempt, job = taken
        # The attempt's own number correlates the reply, across restarts too.
        payload = words.request(format(attempt.id, "024x"), "firmware", False, package_id(job.target, job.sha256))
        return [Message(words.request_topic(identity.device_key), payload)]

    def _text(self, value: Any) -> str:
        # It will be shown on terminals: what could steer one is replaced.
        return "".join(char if char.isprintable() else "?" for char in str(value)[: self._limits.text_chars])


def _attempt_of(number: str) -> str:
    return str(int(number, 16)) if number.startswith("0") else ""
