# SPDX-License-Identifier: MIT
"""The `mqtt` port of boards: keep-alive, packet ids and time-outs of one session.

Packets are made and read by our own codec, `agent.wire.mqtt`, or by another of its verbs (`micropython_umqtt`).

An incoming message of QoS 1 is acknowledged when `poll` hands it over.
Nothing is sent twice: a lost session ends in ("closed", ...), and what to
repeat is the agent's to know.  Source: MQTT 3.1.1, 3.1.2.10 and 4.4.
"""

import time

from agent.errors import AgentError, UnreachableError
from platform_adapters.micropython_net import LIMIT_MS, Connection

READ_BYTES = 512


class Mqtt:
    """`credentials(identity)` gives the DER forms for TLS."""

    def __init__(self, anchors, credentials, limit_ms=LIMIT_MS, codec=None):
        if codec is None:
            from agent.wire import mqtt as codec
        self._codec = codec
        self._anchors = anchors
        self._credentials = credentials
        self._limit_ms = limit_ms
        self._connection = None
        self._failure = None
        self._last_id = 0

    def connect(self, host, port, client_id, username, password, keepalive_s, identity):
        from platform_adapters import micropython_dial

        self.close()
        hello = self._codec.connect(client_id, username, password, keepalive_s)
        self._failure = None
        self._decoder = self._codec.Decoder()
        self._unacked = set()
        self._pinged = None
        self._keepalive_ms = keepalive_s * 1000
        connection = Connection(host, port, self._anchors(), self._credentials(identity), self._limit_ms)
        try:
            connection.send(hello)
            self._sent = time.ticks_ms()
            micropython_dial.await_connack(lambda left: self._receive(connection, left), self._limit_ms, host, port)
            self._connection = connection
        finally:
            if self._connection is None:
                connection.close()

    def subscribe(self, topics):
        number = self._next_id()
        self._send(self._codec.subscribe(number, topics))
        return number

    def publish(self, topic, payload, qos):
        number = self._next_id() if qos else 0
        packet = self._codec.publish(topic, payload, qos, number)
        self._send(packet)
        if qos:
            self._unacked.add(number)
        return number

    def poll(self, timeout_ms):
        started = time.ticks_ms()
        try:
            while True:
                if self._failure is not None:
                    raise self._failure
                if self._connection is None:
                    raise UnreachableError("closed", "there is no session")
                left = max(0, timeout_ms - time.ticks_diff(time.ticks_ms(), started))
                event = self._report(self._receive(self._connection, min(left, self._keep_alive())))
                if event is not None or not left:
                    return event
        except AgentError as error:
            self._drop()
            return "closed", error.code, error.detail

    def close(self):
        self._failure = None
        if self._connection is not None:
            try:
                self._connection.send(self._codec.DISCONNECT)
            except AgentError:
                pass  # it is gone already
            self._drop()

    def _drop(self):
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._failure = None

    def _receive(self, connection, timeout_ms):
        """The next event of the codec, or None after about `timeout_ms`."""
        event = self._decoder.event()
        if event is not None:
            return event
        data = connection.receive(READ_BYTES)
        if data is None and timeout_ms:  # a poll takes a millisecond at least
            connection.wait(timeout_ms)
            data = connection.receive(READ_BYTES)
        if data is None:
            return None
        if not data:
            raise UnreachableError("closed", "the server closed the connection")
        self._decoder.feed(data)
        return self._decoder.event()

    def _report(self, event):
        """The port's event for the codec's, or None."""
        if event is None:
            return None
        kind = event[0]
        if kind == "publish":
            if event[3]:
                self._send(self._codec.puback(event[4]))
            return "message", event[1], event[2]
        if kind == "puback" and event[1] in self._unacked:
            self._unacked.remove(event[1])
            return "acked", event[1]
        if kind == "suback":
            return "subscribed", event[1], list(event[2])
        if kind == "pingresp":
            self._pinged = None
        return None

    def _keep_alive(self):
        """Ping when it is time; the milliseconds until there is something to do again."""
        now = time.ticks_ms()
        if self._pinged is not None:
            left = self._limit_ms - time.ticks_diff(now, self._pinged)
            if left <= 0:
                raise UnreachableError("timeout", "the server does not answer pings")
            return left
        left = self._keepalive_ms // 2 - time.ticks_diff(now, self._sent)
        if self._keepalive_ms and left <= 0:
            self._send(self._codec.PINGREQ)
            self._pinged = now
            return self._limit_ms
        return left if self._keepalive_ms else self._limit_ms

    def _send(self, packet):
        if self._connection is None or self._failure is not None:
            raise UnreachableError("closed", "there is no session")
        try:
            self._connection.send(packet)
        except AgentError as error:
            self._failure = error  # a packet may be cut off in its middle: nothing may follow it
            raise
        self._sent = time.ticks_ms()

    def _next_id(self):
        self._last_id = self._last_id % 0xFFFF + 1
        return self._last_id
