# SPDX-License-Identifier: MIT
"""The MQTT endpoint's other side: admission, messages, pushes, for DECADA devices.

Order is the point: a push is written down as pushed before it is sent, and a message is answered with 200
after its transaction has committed.  A cut in between costs a repetition, never a lie.
"""

from __future__ import annotations

from typing import Any

from ..ca import book
from ..enos_http.sessions import Sessions
from ..limits import Limits
from ..log import Log
from ..mqtt import codec, topics
from ..mqtt.desk import Admitted, Message, Peer, Refused
from ..mqtt.endpoint import Endpoint
from ..names import Identity
from ..proofs import FailedProofs
from ..store import Store, Transaction
from ..tickets import Tickets
from . import admission, envelope, jobs, login, registry, replacement, uplink
from .commands import Commands

_RAW = "thing/model/up_raw"
_AT_CONNECT = ("queued", "pushed")
# Not at connect: a device on trial connects too, and must not be told to begin again.  An inform says that it rests.
_AT_INFORM = ("queued", "pushed", "in_progress", "on_trial")


class DecadaDesk:
    def __init__(self, store: Store, limits: Limits, proofs: FailedProofs, log: Log, open_registration: bool):
        self.base_url = ""  # known when the HTTPS port is
        self.endpoint = Endpoint(self, limits, log)
        self.http = Sessions(limits)
        self.tickets = Tickets(limits)
        self.commands = Commands(self.push, limits)
        self._store = store
        self._limits = limits
        self._proofs = proofs
        self._open_registration = open_registration

    # mqtt.desk.Desk

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
        with self._store.transaction() as t:
            if admitted.activation:
                return [_activation(identity, registry.known_device(t, identity))]
            registry.update(t, identity, last_seen=t.now)
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

    def gone(self, identity: Identity, reason: str) -> None:
        with self._store.transaction() as t:
            registry.update(t, identity, last_seen=t.now)
            t.event("device.offline", identity, reason=reason)

    # For the operator's side

    def online(self, identity: Identity) -> bool:
        return self.endpoint.online(identity) or self.http.online(identity)

    def push(self, identity: Identity, topic: str, payload: bytes) -> bool:
        """Hand a message to a device, over MQTT or with its next HTTP response.  False: it is not there, or takes no more."""
        if self.endpoint.online(identity):
            return self.endpoint.push(identity, topic, payload)
        return self.http.push(identity, topic, payload)

    def push_due(self, identity: Identity) -> None:
        """Push what waits for a device, if it is connected."""
        if self.endpoint.online(identity) or self.http.takes_upgrades(identity):
            for message in self._due(identity, _AT_CONNECT):
                # Refused by a full queue: the attempt is pushed again at the next connect.
                self.push(identity, message.topic, message.payload)

    def revoke(self, identity: Identity, reason: int = 0) -> None:
        with self._store.transaction() as t:
            registry.revoke(t, identity, reason)
        self._end(identity, "revoked")

    def replace(self, identity: Identity, tpm_too: bool) -> None:
        with self._store.transaction() as t:
            replacement.replace(t, identity, tpm_too)
        self._end(identity, "replaced")

    def revoke_serial(self, serial: str, reason: int = 0) -> None:
        """A device's certificate, or one of the server's own."""
        with self._store.transaction() as t:
            own = book.own(t, serial)
            if own is not None and own.revoked_at is None:
                book.revoke_own(t, serial, reason)
            identity = registry.revoke_serial(t, serial, reason)
            ended = identity is not None and registry.known_device(t, identity).state == "revoked"
        if identity is not None and ended:
            self._end(identity, "revoked")
        elif identity is not None:
            self.endpoint.kick(identity, "revoked", serial)

    def forbid_passwords(self, product_key: str) -> None:
        """The product's policy has changed: who came by device secret alone has to go."""
        self.endpoint.kick_passwords(product_key, "needs_certificate")
        for identity in self.http.by_password(product_key):
            self.end_http(identity, "needs_certificate")

    def end_http(self, identity: Identity, reason: str) -> None:
        if self.http.close(identity) and not self.endpoint.online(identity):
            self.gone(identity, reason)

    def expire(self) -> None:
        with self._store.transaction() as t:
            jobs.expire(t, self._limits)
        for identity in self.http.over():
            self.end_http(identity, "silent")

    # Inside

    def _end(self, identity: Identity, reason: str) -> None:
        """Every session of the device, and what it was promised."""
        self.endpoint.kick(identity, reason)
        self.end_http(identity, reason)
        self.tickets.forget(identity)

    def _raw(self, identity: Identity, topic: str, payload: bytes) -> list[Message]:
        try:
            with self._store.transaction() as t:
                uplink.raw(t, identity, payload, self._limits)
        except uplink.Declined as declined:
            return [_answer(topic, "", declined.code, declined.message)]
        return [Message(topic + "_reply", b"")]  # a script would make the answer; there is none

    def _carry_out(self, identity: Identity, path: str, message: envelope.Envelope) -> Any:
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

    def file_url(self, t: Transaction, attempt: Any, job: Any) -> str:
        """Where the device gets the image: with a certificate where everybody's lies, without one by a ticket of its own."""
        identity = Identity(attempt.product_key, attempt.device_key)
        folder, _, name = job.target.rpartition("/")
        if registry.live_certificates(t, identity, self._limits):
            return f"{self.base_url}/repo/targets/{folder}/{job.sha256}.{name}"
        return f"{self.base_url}/download/{self.tickets.give(identity, job.sha256)}/{name}"

    def _offer(self, t: Transaction, attempt: Any, job: Any) -> dict[str, Any]:
        return {
            "version": job.version,
            "sign": job.sha256,
            "signMethod": "sha256",
            "fileUrl": self.file_url(t, attempt, job),
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
