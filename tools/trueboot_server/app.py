# SPDX-License-Identifier: MIT
"""The server as a whole: what is opened, in which order, and closed again.

State first, then keys, then the database's content, then the ports, HTTPS before MQTT: when a device connects,
the addresses that it will be told are known.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from aiohttp import web

from .attestation.sessions import Sessions
from .ca import Authority, book
from .clock import iso
from .credentials import Credentials, load_or_make
from .errors import EXIT_CONFIG, EXIT_UNAVAILABLE, StartError
from .fleet import samples
from .fleet.desk import FleetDesk
from .https.front import make_app
from .https.parts import Parts
from .limits import Limits
from .log import Log, silent, tell_fault
from .metrics import MeteredDesk, Metrics
from .names import is_host
from .nonces import Nonces
from .page import live
from .proofs import FailedProofs
from .releases import keep_releases
from .repo.care import Care
from .repo.dev import open_repository
from .repo.encodings import Encodings
from .repo.repository import Repository
from .state import State
from .store import Store
from .tls import context

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_UNENCRYPTED = "unencrypted:"  # what the operator writes before an address that others can reach
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
_HOUSEKEEPING_S = 5.0

_T = TypeVar("_T")


@dataclass(frozen=True)
class Options:
    state: Path
    port: int = 8443
    mqtt_port: int = 8883
    activate_port: int = 0
    host: str = "127.0.0.1"
    names: tuple[str, ...] = ()  # what else the server is called: for its certificate and its addresses
    dev: bool = False
    limits: Limits = field(default_factory=Limits)
    plain_mqtt_port: int | None = None  # MQTT without TLS, for devices that cannot; None: there is none
    plain_mqtt_host: str = "127.0.0.1"
    metrics_open: bool = False  # /metrics asks for no token
    faults: bool = False  # it misbehaves on command


def check(options: Options) -> None:
    """StartError for options that cannot be meant."""
    if options.plain_mqtt_host not in _LOOPBACK and not options.plain_mqtt_host.startswith(_UNENCRYPTED):
        raise StartError(
            EXIT_CONFIG,
            f"--plain-mqtt-host {options.plain_mqtt_host} leaves this machine",
            "everybody on the way can read and repeat what devices without TLS say, their secrets' proofs included",
            f"Leave it out, or say that you mean it: --plain-mqtt-host {_UNENCRYPTED}{options.plain_mqtt_host}",
        )
    outside = [host for host in (options.host, options.plain_mqtt_host) if host not in _LOOPBACK]
    if options.dev and outside:
        raise StartError(
            EXIT_CONFIG,
            f"--dev does not listen on {outside[0]}",
            "a development server holds signing keys and registers every device",
            "Leave --host out, or leave --dev out.",
        )
    if options.host in _WILDCARDS and not options.names:
        raise StartError(
            EXIT_CONFIG,
            f"--host {options.host} needs a --name",
            "devices have to be told an address, and the certificate has to hold it",
            "Give the name by which devices reach this machine.",
        )
    for name in options.names:
        if not is_host(name):
            raise StartError(
                EXIT_CONFIG, f"--name {name!r} is not usable", "it is no host name", "Give a DNS name or an address."
            )
    for port in (options.port, options.mqtt_port, options.activate_port, options.plain_mqtt_port or 0):
        if not 0 <= port <= 65535:
            raise StartError(
                EXIT_CONFIG, f"{port} is no port", "ports are 0 to 65535", "Choose another; 0 takes a free one."
            )


class _Full(asyncio.Protocol):
    """Stands in for a connection that there is no room for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()


@dataclass(frozen=True)
class Addresses:
    https: str
    mqtt: str
    mqtt_activate: str
    mqtt_plain: str | None = None


class Server:
    """`start` opens everything or raises StartError and leaves nothing open; `stop` closes it."""

    def __init__(self, options: Options, log: Log = silent):
        self._options = options
        self._log = log
        self._open = AsyncExitStack()
        self.addresses: Addresses
        self.app: web.Application
        self.credentials: Credentials
        self.desk: FleetDesk
        self.repository: Repository
        self.store: Store
        self._contexts: list[ssl.SSLContext] = []
        self._serial = ""  # of the certificate that they present

    async def start(self) -> None:
        check(self._options)
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        await self._open.aclose()

    async def _start(self) -> None:
        options, limits = self._options, self._options.limits
        state = State(options.state)
        state.open()
        self._open.callback(state.close)
        authority = Authority(state, self._names())
        self.repository = open_repository(state, options.dev)
        care = Care(self.repository)
        self._tell(care.turn())  # nobody is served what has expired meanwhile
        metrics = Metrics()
        self.store = Store(state.database, log=metrics.metered(self._log), keep_events=limits.events)
        self._open.callback(self.store.close)
        self.credentials = load_or_make(self.store, state.operator)
        with self.store.transaction() as t:
            keep_releases(t, self.repository.published.files)
        proofs = FailedProofs(limits.failed_proofs, limits.failed_proofs_window_s, limits.failed_proofs_addresses)
        self.desk = FleetDesk(self.store, limits, proofs, self._log, open_registration=options.dev)
        self.desk.endpoint.desk = MeteredDesk(self.desk, metrics)
        self._open.callback(self.desk.endpoint.close)
        encodings = Encodings(state.encodings, limits, self._log)
        self._open.push_async_callback(encodings.close)
        asks = FailedProofs(limits.nonce_asks, limits.nonce_asks_window_s, limits.failed_proofs_addresses)
        parts = Parts(
            self.store,
            authority,
            self.credentials,
            self.desk,
            self.repository,
            encodings,
            proofs,
            limits,
            self._log,
            Nonces(limits.nonce_life_s, limits.nonces_taken),
            asks,
            Sessions(limits.attestation_s, limits.attestations),
            state.packages,
            state.ek_roots,
            metrics,
            options.metrics_open,
        )
        await self._listen(parts)
        metrics.follow(self.store, self.desk, limits, state.database, lambda: len(self.app[live.OPEN]))
        self._open.callback(asyncio.create_task(metrics.watch_loop()).cancel)
        self._open.callback(asyncio.create_task(self._keep_house(care, parts)).cancel)
        self._open.callback(asyncio.create_task(self._keep_campaigns()).cancel)

    async def _listen(self, parts: Parts) -> None:
        options = self._options
        anchors = parts.authority.client_anchors()
        contexts = {verify: context(anchors, verify) for verify in ssl.VerifyMode}
        self._contexts = list(contexts.values())
        self.app = make_app(parts)
        if options.faults:
            from .faults.stand import put_up

            faults = put_up(self.app, parts, self._present, self._present_again, self._log)
            self._open.callback(faults.clear)
        binding = self._bind_https(self.app, contexts[ssl.CERT_OPTIONAL])
        server = await self._bind("--port", options.port, binding)
        https_port = int(server.sockets[0].getsockname()[1])
        parts.base_url = f"https://{self._authority_name()}:{https_port}"
        self.desk.base_url = parts.base_url
        # The certificate says where its CRL is: the address has to be known before, and nobody is heard until it is there.
        parts.certify_server = lambda: self._certify_server(parts)
        parts.certify_server()
        await self._bind("--port", options.port, server.start_serving())
        ports = []
        for flag, port, verify in (
            ("--mqtt-port", options.mqtt_port, ssl.CERT_REQUIRED),
            ("--activate-port", options.activate_port, ssl.CERT_NONE),
        ):
            tls = contexts[verify]
            listening = self.desk.endpoint.listen(options.host, port, tls, verify == ssl.CERT_REQUIRED)
            ports.append(await self._bind(flag, port, listening))
        mqtt, activate = (f"mqtts://{self._authority_name()}:{port}" for port in ports)
        self.desk.mqtt_url = "ssl" + mqtt.removeprefix("mqtts")
        self.addresses = Addresses(parts.base_url, mqtt, activate, await self._listen_plain())

    async def _listen_plain(self) -> str | None:
        options = self._options
        if options.plain_mqtt_port is None:
            return None
        host = options.plain_mqtt_host.removeprefix(_UNENCRYPTED)
        listening = self.desk.endpoint.listen(host, options.plain_mqtt_port, None, False)
        port = await self._bind("--plain-mqtt-port", options.plain_mqtt_port, listening, host)
        name = self._authority_name() if host in _WILDCARDS else f"[{host}]" if ":" in host else host
        return f"mqtt://{name}:{port}"

    def _certify_server(self, parts: Parts) -> None:
        """Into all contexts, live ones too: a certificate that has life left, is not revoked, and is written down."""
        certificate, key = parts.authority.server_files(parts.base_url)
        issued = parts.authority.server_certificate()
        with self.store.transaction() as t:
            known = book.own(t, issued.serial)
            if known is not None and known.revoked_at is not None:
                certificate, key = parts.authority.server_files(parts.base_url, anew=True)
                issued, known = parts.authority.server_certificate(), None
            if known is None:
                book.note_own(t, issued)
        if issued.serial == self._serial:
            return
        self._present(certificate, key)
        if self._serial:
            self._log("server.certificate", serial=issued.serial, not_after=iso(issued.not_after_ms))
        self._serial = issued.serial

    def _present(self, certificate: Path, key: Path) -> None:
        for tls in self._contexts:
            tls.load_cert_chain(certificate, key)

    def _present_again(self) -> None:
        """Its own, after another one was shown."""
        certificate, key = (self._options.state / "private" / name for name in ("server.pem", "server-key.pem"))
        self._present(certificate, key)

    async def _bind_https(self, app: web.Application, tls: ssl.SSLContext) -> asyncio.Server:
        limits = self._options.limits
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=limits.https_idle_s)
        await runner.setup()
        self._open.push_async_callback(runner.cleanup)
        protocols = cast(web.Server, runner.server)
        server = await asyncio.get_running_loop().create_server(
            lambda: _Full() if len(protocols.connections) >= limits.https_connections else protocols(),
            self._options.host,
            self._options.port,
            ssl=tls,
            ssl_handshake_timeout=limits.handshake_timeout_s,
            ssl_shutdown_timeout=limits.shutdown_timeout_s,
            backlog=512,
            start_serving=False,
        )
        self._open.callback(server.close)
        return server

    async def _bind(self, flag: str, port: int, listening: Awaitable[_T], host: str = "") -> _T:
        try:
            return await listening
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            raise StartError(
                EXIT_UNAVAILABLE,
                f"cannot listen on {host or self._options.host}:{port}",
                "the port is in use" if taken else (error.strerror or str(error)),
                f"Stop what uses it, or choose another with {flag} (0 takes a free one).",
            ) from error

    async def _keep_house(self, care: Care, parts: Parts) -> None:
        while True:
            try:
                self.desk.expire()
                with self.store.transaction() as t:
                    samples.take(t, self._options.limits)
                parts.certify_server()
                with self.store.transaction() as t:
                    parts.crls.refresh(t)
                self._tell(await asyncio.to_thread(care.turn))
            except Exception as error:  # noqa: BLE001 - a full disk must not end the housekeeping for ever
                tell_fault(self._log, error)
            await asyncio.sleep(_HOUSEKEEPING_S)

    async def _keep_campaigns(self) -> None:
        """At once when a device's step may matter to a campaign, and else every few seconds."""
        while True:
            try:
                await self.desk.steward.turn()
            except Exception as error:  # noqa: BLE001 - see above
                tell_fault(self._log, error)
            await self.desk.steward.rest(_HOUSEKEEPING_S)

    def _tell(self, told: list[tuple[str, dict[str, Any]]]) -> None:
        for event, fields in told:
            self._log(event, **fields)

    def _names(self) -> list[str]:
        own = [] if self._options.host in _WILDCARDS else [self._options.host]
        return list(dict.fromkeys([*self._options.names, *own, "localhost", "127.0.0.1", "::1"]))

    def _authority_name(self) -> str:
        name = self._names()[0]
        return f"[{name}]" if ":" in name else name
