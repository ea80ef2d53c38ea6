# SPDX-License-Identifier: MIT
"""Admission, messages and pushes, for devices that speak DECADA.

Order is the point: a push is written down as pushed before it is sent, and a message is answered with 200
after its transaction has committed.  A cut in between costs a repetition, never a lie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..fleet import jobs, registry
from ..fleet.dialect import DECADA
from ..limits import Limits
from ..mqtt import codec, topics
from ..mqtt.desk import Admitted, Message, Peer, Refused
from ..names import Identity
from ..proofs import FailedProofs
from ..store import Store, Transaction
from . import admission, envelope, login, uplink
from .commands import Commands

if TYPE_CHECKING:
    from ..fleet.desk import FleetDesk

_RAW = "thing/model/up_raw"
_AT_CONNECT = ("queued", "pushed")
# Not at connect: a device on trial connects too, and must not be told to begin again.  An inform says that it rests.
_AT_INFORM = ("queued", "pushed", "in_progress", "on_trial")


class DecadaDesk:
    name = DECADA

    def __init__(self, store: Store, limits: Limits, proofs: FailedProofs, desk: FleetDesk, open_registration: bool):
        self.commands = Commands(desk.push, desk.dialect_of, limits)
        self._store = store
        self._limits = limits
        self._proofs = proofs
        self._desk = desk
        self._open_registration = open_registration

    # fleet.dialect.Dialect

    def speaks(self, connect: codec.Connect) -> bool:
        return True  # what is no login is refused by its words

    def admit(self, peer: Peer, connect: codec.Connect) -> Admitted | Refused:
        if not peer.certified and self._proofs.wait_s(peer.address):
            return Refused(codec.UNAVAILABLE, "too many failed proofs from this address")
        try:
            claimed = login.parse(connect.client_id, connect.username)
        except login.BadLogin as error:
            return Refused(codec.BAD_CLIENT_ID, str(error))
        with self._store.transaction() as t:
            decision = admission.decide(t, peer, claimed, connect.password, self._limits, self._open_registration)
        if isinstance(decision, Refused) and decision.code == codec.BAD_CREDENTIALS and not peer.certified:
            self._proofs.failed(peer.address)
        return decision

    def connected(self, admitted: Admitted) -> list[Message]:
        identity = admitted.identity
        with self._store.transaction(lasting=False) as t:
            if admitted.activation:
                return [_activation(identity, registry.known_device(t, identity))]
            registry.note_seen(t, identity)
            t.event("device.online", identity)
        return self._due(identity, _AT_CONNECT) if admitted.upgrades else []

    def arrived(self, admitted: Admitted, topic: str, payload: bytes) -> list[Message]:
        if admitted.activation:
            return []  # the reply to the activation: the hand-out is known already
        identity = admitted.identity
        path = topic.removeprefix(topics.trees(identity)[0])
        if path == _RAW:
            return self._raw(identity, topic, payload)
        try:
            message = envelope.parse(payload)
            if topics.is_reply(topic):
                self._replied(identity, path, message)
                return []
            data = self._carry_out(identity, path, message)
        except envelope.BadEnvelope as error:
            return [] if topics.is_reply(topic) else [_answer(topic, "", error.code, str(error))]
        except uplink.Declined as declined:
            return [_answer(topic, message.id, declined.code, declined.message)]
        answers = [_answer(topic, message.id, envelope.OK, "", data)]
        rests = path == "ota/device/inform" and admitted.upgrades
        return answers + (self._due(identity, _AT_INFORM) if rests else [])

    def subscribed(self, admitted: Admitted, topic_filter: str) -> list[Message]:
        return []  # commands come unasked

    def due(self, identity: Identity) -> list[Message]:
        return self._due(identity, _AT_CONNECT)

    # Inside

    def _raw(self, identity: Identity, topic: str, payload: bytes) -> list[Message]:
        try:
            with self._store.transaction() as t:
                uplink.raw(t, identity, payload, self._limits)
        except uplink.Declined as declined:
            return [_answer(topic, "", declined.code, declined.message)]
        return [Message(topic + "_reply", b"")]  # a script would make the answer; there is none

    def _carry_out(self, identity: Identity, path: str, message: envelope.Envelope) -> Any:
        if path == "ota/device/getversion":
            key = identity.common_name
            if wait := self._desk.queries.wait_s(key):
                raise uplink.Declined(envelope.TOO_MANY, f"too many questions; ask again in {int(wait) + 1} s")
            self._desk.queries.failed(key)
        try:
            with self._store.transaction() as t:
                return uplink.carry_out(t, identity, path, message, self._offer, self._limits)
        except uplink.ReportDeclined as declined:
            with self._store.transaction() as t:
                t.event("report.rejected", identity, why=declined.message.removeprefix("report rejected: "))
            raise

    def _replied(self, identity: Identity, path: str, reply: envelope.Envelope) -> None:
        if path == "ota/device/upgrade_reply":
            with self._store.transaction() as t:
                uplink.upgrade_answered(t, identity, reply)
        elif path.startswith("thing/service/"):
            self.commands.answered(identity, reply)

    def _due(self, identity: Identity, states: tuple[str, ...]) -> list[Message]:
        with self._store.transaction() as t:
            taken = jobs.take_for_push(t, identity, states, self._limits)
            if taken is None:
                return []
            attempt, job = taken
            offer = self._offer(t, attempt, job)
        topic = topics.trees(identity)[0] + "ota/device/upgrade"
        # The attempt's own number correlates the reply, across restarts too.
        return [Message(topic, envelope.request(str(attempt.id), "ota.device.upgrade", offer))]

    def _offer(self, t: Transaction, attempt: Any, job: Any) -> dict[str, Any]:
        return {
            "version": job.version,
            "sign": job.sha256,
            "signMethod": "sha256",
            "fileUrl": self._desk.file_url(t, attempt, job),
            "fileSize": job.length,
            "target": job.target,
            "job": str(attempt.id),
            "nonce": attempt.nonce,
            **{name: True for name in ("retry", "downgrade") if getattr(job, name)},
        }


def _activation(identity: Identity, device: Any) -> Message:
    params = {
        "assetId": device.asset_id,
        "productKey": identity.product_key,
        "deviceKey": identity.device_key,
        "deviceSecret": device.device_secret,
    }
    return Message(admission.activation_topic(identity), envelope.request("1", "thing.activate.info", params))


def _answer(topic: str, number: str | int, code: int, message: str, data: Any = None) -> Message:
    return Message(topic + "_reply", envelope.reply(number, code, message, data))
