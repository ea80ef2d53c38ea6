# SPDX-License-Identifier: MIT
"""The `mqtt` port over paho-mqtt 2: its codec and session, our sockets and our clock.

paho reconnects, retries and threads by itself if one lets it.  Here each
`connect` is a new client on a socket that `linux_net` dialled, moved on by
`poll` alone.
"""

from __future__ import annotations

import struct
import time
from collections import deque
from typing import Any

import paho.mqtt.client as paho

from agent.errors import MisuseError, RefusedError, UnreachableError
from platform_adapters.linux_net import Net, translate
from platform_adapters.ports import Identity

PACKET_BYTES = 256 * 1024  # of one incoming packet
IN_FLIGHT = 100

# MQTT 3.1.1, table 3.1
MEANINGS = (
    "",
    "unsupported protocol version",
    "client id",
    "server unavailable",
    "user name or password",
    "not authorized",
)
SERVER_UNAVAILABLE = 3


class _Client(paho.Client):
    """paho with our socket, a bound on what it reads, the CONNACK code, and the reason why reading ended."""

    dialled: Any = None
    failure: OSError | None = None
    connack: int | None = None

    def _handle_connack(self):
        if len(self._in_packet["packet"]) == 2:
            self.connack = self._in_packet["packet"][1]
        return super()._handle_connack()

    def _create_socket(self):
        return self.dialled

    def _sock_recv(self, bufsize):
        if bufsize > PACKET_BYTES:
            self.failure = OSError("a packet of %d bytes" % bufsize)
            raise self.failure
        try:
            return super()._sock_recv(bufsize)
        except BlockingIOError:
            raise
        except OSError as error:
            self.failure = error
            raise


class PahoMqtt:
    plaintext = False  # set by the agent where a policy with a loud name says so: then there is no TLS

    def __init__(self, net: Net):
        self._net = net
        self._client: _Client | None = None
        self._events: deque[tuple] = deque()
        self._unacked: set[int] = set()
        self._peer = ("", 0)

    def connect(
        self,
        host: str,
        port: int,
        client_id: str,
        username: str,
        password: str,
        keepalive_s: int,
        identity: Identity | None,
    ) -> None:
        self.close()
        self._peer = (host, port)
        deadline = time.monotonic() + self._net.limit_s
        client = _Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=True,
            protocol=paho.MQTTv311,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(IN_FLIGHT)
        if username:
            client.username_pw_set(username, password)
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.dialled = self._net.dial_plain(host, port) if self.plaintext else self._net.dial(host, port, identity)
        self._client = client
        try:
            client.connect(host, port, keepalive_s)
            while client.connack is None and time.monotonic() < deadline and not self._events:
                self._turn(deadline - time.monotonic())
        except (OSError, ValueError) as error:
            self.close()
            raise translate(error, host, port) from None
        answer, lost = client.connack, self._events[0] if self._events else None
        if answer == 0:
            return
        self.close()
        if answer is not None:
            kind = UnreachableError if answer == SERVER_UNAVAILABLE else RefusedError
            raise kind("mqtt_refused", "%s:%d answers CONNACK %d (%s)" % (host, port, answer, _meaning(answer)))
        if lost is not None:
            raise UnreachableError(lost[1], lost[2] + " before CONNACK")
        raise UnreachableError("timeout", "%s:%d sends no CONNACK" % (host, port))

    def subscribe(self, topics: list[str]) -> int:
        client = self._open()
        try:
            result, mid = client.subscribe([(topic, 1) for topic in topics])
        except ValueError as error:
            raise MisuseError("topic", str(error)) from None
        return self._sent(result, mid)

    def publish(self, topic: str, payload: bytes, qos: int) -> int:
        client = self._open()
        try:
            info = client.publish(topic, payload, qos)
        except ValueError as error:
            raise MisuseError("topic", str(error)) from None
        if qos:
            self._unacked.add(info.mid)
        return self._sent(info.rc, info.mid if qos else 0)

    def poll(self, timeout_ms: int) -> tuple | None:
        deadline = time.monotonic() + timeout_ms / 1000
        while not self._events:
            if self._client is None:
                return ("closed", "closed", "there is no session")
            self._turn(max(0.0, deadline - time.monotonic()))
            if time.monotonic() >= deadline:
                break
        if not self._events:
            return None
        event = self._events.popleft()
        if event[0] == "closed":
            self.close()
        return event

    def close(self) -> None:
        client, self._client = self._client, None
        self._unacked = set()
        if client is not None:
            client.on_disconnect = None
            client.disconnect()
            if client.dialled is not None:
                client.dialled.close()
        self._events.clear()

    def _turn(self, timeout_s: float) -> None:
        """Read, write and keep alive, for at most about `timeout_s`."""
        client = self._client
        assert client is not None
        try:
            result = client.loop(max(0.0, min(timeout_s, 1.0)))
        except (ValueError, struct.error, IndexError) as error:
            self._lost("protocol", "not MQTT: %s" % error)
            return
        if result not in (paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_AGAIN) and not client.connack:
            self._lost("closed", "%s:%d closed the connection" % self._peer)

    def _lost(self, code: str, detail: str) -> None:
        if not self._events or self._events[-1][0] != "closed":
            self._events.append(("closed", code, detail))

    def _open(self) -> _Client:
        if self._client is None:
            raise UnreachableError("closed", "there is no session")
        return self._client

    def _sent(self, result: int, mid: int | None) -> int:
        if result not in (paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_QUEUE_SIZE):
            raise UnreachableError("closed", "%s:%d closed the connection" % self._peer)
        return mid or 0

    def _on_disconnect(self, client, userdata, flags, reason, properties) -> None:
        if client.failure is not None:
            error = translate(client.failure, *self._peer)
            self._lost(error.code, error.detail)
        elif "eep alive" in str(reason):
            self._lost("timeout", "%s:%d does not answer pings" % self._peer)
        else:
            self._lost("closed", "%s:%d closed the connection" % self._peer)

    def _on_message(self, client, userdata, message) -> None:
        self._events.append(("message", message.topic, bytes(message.payload)))

    def _on_publish(self, client, userdata, mid, reason, properties) -> None:
        if mid in self._unacked:
            self._unacked.discard(mid)
            self._events.append(("acked", mid))

    def _on_subscribe(self, client, userdata, mid, reasons, properties) -> None:
        self._events.append(("subscribed", mid, [reason.value for reason in reasons]))


def _meaning(code: int) -> str:
    return MEANINGS[code] if code < len(MEANINGS) else "unknown"
