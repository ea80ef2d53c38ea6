# SPDX-License-Identifier: MIT
"""What hits everybody at once: the MQTT endpoint, the server's certificate, its clock, its metadata; and how it all is put up.

`put_up` is the one thing that the server calls, and only with `--faults`.
"""

from __future__ import annotations

import email.utils
import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from aiohttp import web
from cryptography import x509
from tuf.api.metadata import Metadata, MetaFile, Timestamp

from ..ca import profiles
from ..errors import ApiError
from ..https.parts import Parts
from ..log import Log
from ..mqtt import codec
from ..mqtt.desk import Admitted, Desk, Message, Peer, Refused
from ..mqtt.endpoint import Endpoint
from ..names import Identity
from ..nonces import Nonces
from ..repo import signing
from ..repo.repository import Repository
from . import bent, roads
from .book import Fault, Faults, Undo

Present = Callable[[Path, Path], None]  # certificate and chain, key: for the handshakes that follow
_ELSEWHERE = "elsewhere.invalid"


def put_up(app: web.Application, parts: Parts, present: Present, restore: Undo, log: Log) -> Faults:
    log("server.faults", warning="this server misbehaves on command; never let devices that matter near it")

    def tell(event: str, **fields: object) -> None:
        log(event, **fields)
        if event != "fault.applied":  # which may come many times a second
            with parts.store.transaction() as t:
                t.event(event, None, **fields)

    faults = Faults(tell)
    endpoint = parts.desk.endpoint
    endpoint.desk = BrokenDesk(endpoint.desk, endpoint, faults)
    clock = SkewedClock()
    parts.nonces = Nonces(parts.limits.nonce_life_s, parts.limits.nonces_taken, clock.monotonic)
    parts.stream = bent.Bent
    certificates = _Certificates(parts, present, restore)
    faults.begin = {
        "broker-restart": lambda fault: _restart(endpoint),
        "clock-skew": lambda fault: clock.skew(fault.arguments["s"]),
        "stale-metadata": lambda fault: _stale(fault, parts.repository),
        "bad-certificate": certificates.show,
    }
    app.middlewares.append(bent.middleware(faults))
    app.on_response_prepare.append(clock.date)
    app.add_routes(roads.routes(faults))
    return faults


class BrokenDesk:
    """Between the endpoint and its desk: some messages never arrive, and their connection ends."""

    def __init__(self, desk: Desk, endpoint: Endpoint, faults: Faults):
        self._desk = desk
        self._endpoint = endpoint
        self._faults = faults

    def admit(self, peer: Peer, connect: codec.Connect) -> Admitted | Refused:
        return self._desk.admit(peer, connect)

    def connected(self, admitted: Admitted) -> list[Message]:
        return self._desk.connected(admitted)

    def arrived(self, admitted: Admitted, topic: str, payload: bytes) -> list[Message]:
        if self._faults.hit("drop", topic, lambda: admitted.identity.common_name):
            self._endpoint.cut(admitted.identity)
            return []
        return self._desk.arrived(admitted, topic, payload)

    def subscribed(self, admitted: Admitted, topic_filter: str) -> list[Message]:
        return self._desk.subscribed(admitted, topic_filter)

    def gone(self, identity: Identity, reason: str) -> None:
        self._desk.gone(identity, reason)


def _restart(endpoint: Endpoint) -> Undo:
    limits = endpoint.limits
    endpoint.limits = replace(limits, connections=0)
    endpoint.restart()

    def let_in() -> None:
        endpoint.limits = limits

    return let_in


class SkewedClock:
    def __init__(self) -> None:
        self._off_s = 0

    def monotonic(self) -> float:
        return max(0.0, time.monotonic() + self._off_s)

    def skew(self, seconds: int) -> Undo:
        self._off_s = seconds
        return self._right

    async def date(self, request: web.Request, response: web.StreamResponse) -> None:
        if self._off_s:
            now = max(0.0, time.time() + self._off_s)
            response.headers["Date"] = email.utils.formatdate(now, usegmt=True)

    def _right(self) -> None:
        self._off_s = 0


def _stale(fault: Fault, repository: Repository) -> Undo:
    """What will be served lies in the fault itself."""
    how, published = fault.arguments["as"], repository.published
    nothing = ApiError(409, "bad_fault", "there is no older metadata to serve", "Publish a release first.")
    if published.timestamp is None:
        raise nothing
    fault.stamp = published.stamp
    if how == "freeze":
        return lambda: None
    changed = Metadata[Timestamp].from_bytes(published.stamp)
    if how == "rollback":
        number = published.version("snapshot") - 1
        path = repository.metadata_file(number, "snapshot")
        if path is None:
            raise nothing
        data = path.read_bytes()
        changed.signed.version = 1
        changed.signed.snapshot_meta = MetaFile(number, len(data), {"sha256": hashlib.sha256(data).hexdigest()})
    else:
        changed.signed.version += 1
        changed.signed.expires -= timedelta(days=365)
    signer = repository.keys.signer_for(published.root.signed)
    fault.stamp = signing.sign(changed, [signer] if signer else [])
    return lambda: None


class _Certificates:
    def __init__(self, parts: Parts, present: Present, restore: Undo):
        self._parts = parts
        self._present = present
        self._restore = restore

    def show(self, fault: Fault) -> Undo:
        key = profiles.new_key()
        chain = self._made(fault.arguments["as"], key)
        with tempfile.TemporaryDirectory() as folder:
            certificate, private = Path(folder) / "certificate.pem", Path(folder) / "key.pem"
            certificate.write_bytes(b"".join(map(profiles.pem, chain)))
            private.write_bytes(profiles.private_pem(key))
            self._present(certificate, private)
        self._parts.desk.endpoint.restart()
        return self._restore

    def _made(self, how: str, key: profiles.Key) -> list[x509.Certificate]:
        authority, url = self._parts.authority, self._parts.base_url
        names = [_ELSEWHERE] if how == "name" else authority.names
        if how == "untrusted":
            own_key = profiles.new_key()
            own = profiles.root_that_issues(own_key)
            return [profiles.server(names, key.public_key(), own, own_key, url)]
        life = timedelta(minutes=-30) if how == "expired" else profiles.SERVER_LIFE
        issued = authority.issue_server(names, key.public_key(), url, life)
        return [x509.load_der_x509_certificate(one) for one in (issued.der, *authority.chain_der())]
