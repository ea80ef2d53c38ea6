# SPDX-License-Identifier: MIT
"""The MQTT endpoint's other side: every device's sessions, whatever dialect it speaks.

Who is connected, what is pushed, and how a device's sessions end together are the same for all; what is said is the
dialect's.  Order is the point: a push is written down as pushed before it is sent, and a message is answered after
its transaction has committed.  A cut in between costs a repetition, never a lie.
"""

from __future__ import annotations

from typing import Any

from ..ca import book
from ..decada.desk import DecadaDesk
from ..enos_http.sessions import Sessions
from ..esthesis.desk import EsthesisDesk
from ..limits import Limits
from ..log import Log
from ..mqtt import codec
from ..mqtt.desk import Admitted, Message, Peer, Refused
from ..mqtt.endpoint import Endpoint
from ..names import Identity
from ..proofs import FailedProofs
from ..store import Store, Transaction
from ..tickets import Tickets
from . import jobs, registry, replacement
from .dialect import DECADA, Dialect
from .steward import Steward


class FleetDesk:
    def __init__(self, store: Store, limits: Limits, proofs: FailedProofs, log: Log, open_registration: bool):
        self.base_url = ""  # known when the HTTPS port is
        self.mqtt_url = ""  # ssl://host:port, where a certificate is wanted; known when its port is
        self.endpoint = Endpoint(self, limits, log)
        self.http = Sessions(limits)
        self.tickets = Tickets(limits)
        self.queries = FailedProofs(limits.queries, limits.queries_window_s, limits.queries_remembered)  # per device
        self._store = store
        self._limits = limits
        self.decada = DecadaDesk(store, limits, proofs, self, open_registration)
        # Asked in this order; the last takes what no other knows.
        self.esthesis = EsthesisDesk(store, limits, self)
        self._dialects: dict[str, Dialect] = {dialect.name: dialect for dialect in (self.esthesis, self.decada)}
        self.commands = self.decada.commands
        self.steward = Steward(store, limits, self)

    # mqtt.desk.Desk

    def admit(self, peer: Peer, connect: codec.Connect) -> Admitted | Refused:
        dialect = next(dialect for dialect in self._dialects.values() if dialect.speaks(connect))
        return dialect.admit(peer, connect)

    def connected(self, admitted: Admitted) -> list[Message]:
        return self._dialects[admitted.dialect].connected(admitted)

    def arrived(self, admitted: Admitted, topic: str, payload: bytes) -> list[Message]:
        return self._dialects[admitted.dialect].arrived(admitted, topic, payload)

    def subscribed(self, admitted: Admitted, topic_filter: str) -> list[Message]:
        return self._dialects[admitted.dialect].subscribed(admitted, topic_filter)

    def gone(self, identity: Identity, reason: str) -> None:
        with self._store.transaction(lasting=False) as t:
            registry.note_seen(t, identity)
            t.event("device.offline", identity, reason=reason)

    # For the operator's side

    def online(self, identity: Identity) -> bool:
        return self.endpoint.online(identity) or self.http.online(identity)

    def dialect_of(self, identity: Identity) -> str:
        with self._store.transaction() as t:
            product = registry.product(t, identity.product_key)
        return str(product.dialect) if product else DECADA

    def push(self, identity: Identity, topic: str, payload: bytes) -> bool:
        """Hand a message to a device, over MQTT or with its next HTTP response.  False: it is not there, or takes no more."""
        if self.endpoint.online(identity):
            return self.endpoint.push(identity, topic, payload)
        return self.http.push(identity, topic, payload)

    def push_due(self, identity: Identity) -> None:
        """Push what waits for a device, if it is connected."""
        if self.endpoint.online(identity) or self.http.takes_upgrades(identity):
            for message in self._dialects[self.dialect_of(identity)].due(identity):
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
            self.tickets.collect(t)
        for identity in self.http.over():
            self.end_http(identity, "silent")

    # For dialects

    def file_url(self, t: Transaction, attempt: Any, job: Any) -> str:
        """Where the device gets the image: with a certificate where everybody's lies, without one by a ticket of its own."""
        identity = Identity(attempt.product_key, attempt.device_key)
        folder, _, name = job.target.rpartition("/")
        if registry.live_certificates(t, identity, self._limits):
            return f"{self.base_url}/repo/targets/{folder}/{job.sha256}.{name}"
        return f"{self.base_url}/download/{self.tickets.give(t, identity, job.sha256)}/{name}"

    def is_file_url(self, t: Transaction, attempt: Any, job: Any, url: str) -> bool:
        """Whether it is an address of `file_url` that is still good."""
        identity = Identity(attempt.product_key, attempt.device_key)
        rest = url.removeprefix(f"{self.base_url}/download/")
        if rest == url:
            return bool(registry.live_certificates(t, identity, self._limits)) and url == self.file_url(t, attempt, job)
        ticket = self.tickets.find(t, rest.partition("/")[0])
        return ticket is not None and (ticket.identity, ticket.sha256) == (identity, job.sha256)

    # Inside

    def _end(self, identity: Identity, reason: str) -> None:
        """Every session of the device, and what it was promised."""
        self.endpoint.kick(identity, reason)
        self.end_http(identity, reason)
        with self._store.transaction() as t:
            self.tickets.forget(t, identity)
