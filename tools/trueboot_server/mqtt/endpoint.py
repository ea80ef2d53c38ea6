# SPDX-License-Identifier: MIT
"""The endpoint: every connected device, and the road to it.

Rules it keeps:
- Identity first: nothing of a session is read or changed before `Desk.admit` has said who this is.
- One connection a device; a new one takes over.  An activation is no session and takes nothing over.
- PUBACK means that the desk has committed the message.
- Who is silent for one and a half keep-alive intervals is disconnected (3.1.2.10); keep-alive 0 gets a long
  one of ours.
- Nothing is retained: no device hears another, and the server repeats itself by intent.
"""

from __future__ import annotations

import asyncio
import socket
import ssl

from ..limits import Limits
from ..log import Log
from ..names import Identity
from . import codec
from .connection import Connection
from .desk import Desk
from .session import Session


class Endpoint:
    def __init__(self, desk: Desk, limits: Limits, log: Log):
        self.desk = desk
        self.limits = limits
        self.log = log
        self._connections: set[Connection] = set()
        self._live: dict[Identity, Connection] = {}
        self._kept: dict[Identity, Session] = {}
        self._servers: list[asyncio.Server] = []

    async def listen(self, host: str, port: int, context: ssl.SSLContext | None, certified: bool) -> int:
        """Open a listener, without TLS when there is no context; returns its port.  OSError when that is taken."""
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self, certified, context is not None),
            host,
            port,
            ssl=context,
            ssl_handshake_timeout=self.limits.handshake_timeout_s if context else None,
            ssl_shutdown_timeout=self.limits.shutdown_timeout_s if context else None,
            backlog=512,
        )
        self._servers.append(server)
        _ask_in_silence(server)
        return int(server.sockets[0].getsockname()[1])

    def close(self) -> None:
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.close("server_stops")

    @property
    def count(self) -> int:
        """Of connections, those included that have not said who they are."""
        return len(self._connections)

    def online(self, identity: Identity) -> bool:
        return identity in self._live

    def push(self, identity: Identity, topic: str, payload: bytes) -> bool:
        """Hand a message to a connected device.  False: it is not connected, or its queue is full."""
        connection = self._live.get(identity)
        return connection is not None and connection.push(topic, payload)

    def kick(self, identity: Identity, reason: str, serial: str | None = None) -> None:
        """End the session and forget what was kept of it; with `serial`, only one under that certificate."""
        connection = self._live.get(identity)
        if serial is None:
            self._kept.pop(identity, None)
        elif connection is None or connection.serial != serial:
            return
        if connection:
            connection.close(reason)

    def cut(self, identity: Identity) -> None:
        """Break a device's connection as a network does: its session stays."""
        if connection := self._live.get(identity):
            connection.close("lost")

    def restart(self) -> None:
        """As a broker does that keeps its sessions in memory: everybody has to come again."""
        self._kept.clear()
        for connection in list(self._connections):
            connection.close("lost")

    def kick_passwords(self, product_key: str, reason: str) -> None:
        """End the sessions of a product's devices that showed no certificate."""
        for identity, connection in list(self._live.items()):
            admitted = connection.admitted
            if identity.product_key == product_key and admitted is not None and admitted.by_password:
                self.kick(identity, reason)

    # For connections

    def opened(self, connection: Connection) -> bool:
        """False: there is no room for another connection."""
        if len(self._connections) >= self.limits.connections:
            return False
        self._connections.add(connection)
        return True

    def closed(self, connection: Connection, reason: str) -> None:
        self._connections.discard(connection)
        admitted = connection.admitted
        if admitted is None or admitted.activation:
            return
        if self._live.get(admitted.identity) is connection:
            del self._live[admitted.identity]
            self.desk.gone(admitted.identity, reason)

    def take_session(self, connection: Connection, identity: Identity, clean: bool) -> tuple[Session, bool]:
        """(the session, whether it was there before), with any older connection of the device closed."""
        if older := self._live.get(identity):
            self._live[identity] = connection
            older.close("taken_over")
        self._live[identity] = connection
        kept = None if clean else self._kept.get(identity)
        session = kept or Session(self.limits)
        if clean:
            self._kept.pop(identity, None)
        else:
            self._kept[identity] = session
        return session, kept is not None

    def refuse(self, address: str, code: int, reason: str) -> bytes:
        self.log("mqtt.refused", address=address, code=code, reason=reason)
        return codec.connack(code)


def _ask_in_silence(server: asyncio.Server) -> None:
    """TCP's own keep-alive: a device may keep silent for an hour and a half, but one that is gone is found in minutes.

    Set on the listener: the connections that it takes have it from there.
    """
    for listening in server.sockets:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 90), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 4)):
            if hasattr(socket, option):  # Linux names; elsewhere the system's own times hold
                listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
