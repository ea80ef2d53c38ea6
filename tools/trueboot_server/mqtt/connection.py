# SPDX-License-Identifier: MIT
"""One MQTT connection: from the TLS handshake to its end.

A time limit runs at every moment: for CONNECT, for an activation, then for silence.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from ..tls import proven_certificate
from . import codec
from .desk import Admitted, Message, Peer, Refused
from .session import Session

if TYPE_CHECKING:
    from .endpoint import Endpoint


class Connection(asyncio.Protocol):
    def __init__(self, endpoint: Endpoint, certified: bool, encrypted: bool = True):
        self.admitted: Admitted | None = None
        self.serial: str | None = None  # of the certificate that it came with
        self._endpoint = endpoint
        self._certified = certified
        self._encrypted = encrypted
        self._loop = asyncio.get_running_loop()
        self._decoder = codec.Decoder(endpoint.limits.connect_packet_bytes)
        self._transport: asyncio.Transport | None = None
        self._address = "?"
        self._session = Session(endpoint.limits)
        self._will: codec.Will | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._silence_s = 0.0
        self._heard = 0.0
        self._reason = ""  # why it ends; "" while it does not
        self._writable = True
        self._resting = False  # the device was too fast; its packets wait
        self._allowance = float(endpoint.limits.messages_per_s)
        self._allowance_at = self._loop.time()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A TLS server's transport; not asserted by isinstance, since uvloop's is no subclass.
        self._transport = transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else "?"
        if not self._endpoint.opened(self):
            self.close("no_room")
            return
        self._timer = self._loop.call_later(self._endpoint.limits.connect_timeout_s, self.close, "connect_timeout")

    def connection_lost(self, error: Exception | None) -> None:
        self.close(self._reason or "lost")

    def pause_writing(self) -> None:
        """The device does not read: nothing more is read of it either, since answers to it would only pile up."""
        self._writable = False
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._writable = True
        self._send_due()
        if not self._reason and not self._resting:
            self._loop.call_soon(self._read_on)  # not from within: the transport is still writing

    def data_received(self, data: bytes) -> None:
        if self._reason:
            return
        self._heard = self._loop.time()
        self._decoder.feed(data)
        if not self._resting and self._writable:
            self._work()

    # The road to the device

    def push(self, topic: str, payload: bytes) -> bool:
        unasked = self.admitted is None or self.admitted.unasked
        qos = self._session.qos_for(topic, unasked)
        if qos is None:
            return unasked  # a reply that the device did not want to hear; or a command, and it does not listen yet
        if qos == 0:
            if self._writable:
                self._write(codec.publish(topic, payload, 0))
            return self._writable
        if not self._session.accept(topic, payload):
            return False
        self._send_due()
        return True

    def close(self, reason: str) -> None:
        """Idempotent.  What was written is still sent, but nothing more is read."""
        if self._timer is not None:
            self._timer.cancel()
        if self._reason:
            return
        self._reason = reason
        if self._transport is not None and not self._transport.is_closing():
            if reason in ("lost", "keepalive", "taken_over", "connect_timeout"):
                self._transport.abort()
            else:
                self._transport.close()
        try:
            if self._will is not None and self.admitted is not None and reason != "disconnected":
                self._endpoint.desk.arrived(self.admitted, self._will.topic, self._will.payload)  # 3.1.2.5
        finally:
            self._endpoint.closed(self, reason)

    # Packets

    def _work(self) -> None:
        try:
            for packet in self._decoder:
                self._take(packet)
                if self._reason or not self._writable or self._over_allowance():
                    return
        except codec.UnknownProtocolError:
            self._write(self._endpoint.refuse(self._address, codec.BAD_PROTOCOL, "protocol"))
            self.close("refused")
        except codec.MalformedError as error:
            self._endpoint.log("mqtt.malformed", address=self._address, detail=str(error))
            self.close("malformed")

    def _take(self, packet: codec.Packet) -> None:
        if self.admitted is None:
            if not isinstance(packet, codec.Connect):
                raise codec.MalformedError("the first packet must be CONNECT")
            self._connect(packet)
            return
        match packet:
            case codec.Publish():
                self._publish(self.admitted, packet)
            case codec.PubAck(packet_id):
                self._session.acknowledged(packet_id)
                self._send_due()
            case codec.Subscribe(packet_id, filters):
                granted = [self._subscribe(self.admitted, *wanted) for wanted in filters]
                self._write(codec.suback(packet_id, granted))
                for (name, _), code in zip(filters, granted, strict=True):
                    if code != codec.SUBSCRIBE_FAILED:
                        self._say(self._endpoint.desk.subscribed(self.admitted, name))
            case codec.Unsubscribe(packet_id, unwanted):
                for name in unwanted:
                    self._session.unsubscribe(name)
                self._write(codec.unsuback(packet_id))
            case codec.PingReq():
                self._write(codec.PINGRESP)
            case codec.Disconnect():
                self.close("disconnected")
            case codec.Connect():
                raise codec.MalformedError("a second CONNECT")  # 3.1

    def _connect(self, connect: codec.Connect) -> None:
        self.serial, der = proven_certificate(self._transport) if self._certified else (None, b"")
        peer = Peer(self._address, self._certified, self.serial, self._encrypted, der)
        answer = self._endpoint.desk.admit(peer, connect)
        if isinstance(answer, Admitted) and connect.will is not None:
            if answer.activation or not answer.owns(connect.will.topic):
                answer = Refused(codec.NOT_AUTHORISED, "will topic")
        if isinstance(answer, Refused):
            self._write(self._endpoint.refuse(self._address, answer.code, answer.reason))
            self.close("refused")
            return
        present = False
        if not answer.activation:
            self._session, present = self._endpoint.take_session(self, answer.identity, connect.clean)
        self.admitted, self._will = answer, connect.will
        self._decoder.max_bytes = self._endpoint.limits.packet_bytes
        self._start_watch(connect.keepalive_s)
        self._write(codec.connack(codec.ACCEPTED, present and connect.level > 3))
        for packet in self._session.again():
            self._write(packet)
        self._send_due()
        self._say(self._endpoint.desk.connected(answer))

    def _publish(self, admitted: Admitted, packet: codec.Publish) -> None:
        allowed = packet.topic == admitted.answers_on if admitted.activation else admitted.owns(packet.topic)
        if not allowed:
            # 3.3.5 leaves the choice; an honest end is better than an acknowledged loss.
            self._endpoint.log("mqtt.forbidden", address=self._address, device=admitted.identity.common_name)
            self.close("forbidden")
            return
        answers = self._endpoint.desk.arrived(admitted, packet.topic, packet.payload)
        if packet.qos:
            self._write(codec.puback(packet.packet_id))
        self._say(answers)
        if admitted.activation:
            self.close("activated")

    def _subscribe(self, admitted: Admitted, name: str, qos: int) -> int:
        if not admitted.owns(name):
            return codec.SUBSCRIBE_FAILED
        return self._session.subscribe(name, qos)

    def _say(self, messages: list[Message]) -> None:
        for message in messages:
            self.push(message.topic, message.payload)

    def _send_due(self) -> None:
        if self._writable and not self._reason:
            for packet in self._session.due():
                self._write(packet)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    # Time

    def _start_watch(self, keepalive_s: int) -> None:
        limits = self._endpoint.limits
        if self._timer is not None:
            self._timer.cancel()
        if self.admitted is not None and self.admitted.activation:
            self._timer = self._loop.call_later(limits.activation_session_s, self.close, "activation_timeout")
            return
        self._silence_s = 1.5 * min(keepalive_s or limits.keepalive_max_s, limits.keepalive_max_s)
        self._watch()

    def _watch(self) -> None:
        left = self._heard + self._silence_s - self._loop.time()
        if left <= 0:
            self.close("keepalive")
        else:
            self._timer = self._loop.call_later(left + 0.01, self._watch)

    def _over_allowance(self) -> bool:
        """Reads on later when the device sends faster than the limit: its own socket fills, nobody else's."""
        rate, now = self._endpoint.limits.messages_per_s, self._loop.time()
        self._allowance = min(rate, self._allowance + (now - self._allowance_at) * rate) - 1
        self._allowance_at = now
        if self._allowance >= 0 or self._transport is None:
            return False
        self._resting = True
        self._transport.pause_reading()
        self._loop.call_later(1 / rate, self._read_on)
        return True

    def _read_on(self) -> None:
        self._resting = False
        if not self._reason and self._writable and self._transport is not None:
            self._heard = self._loop.time()
            self._transport.resume_reading()
            self._work()
