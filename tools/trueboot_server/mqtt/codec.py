# SPDX-License-Identifier: MIT
"""MQTT 3.1.1 on the server's side: bytes to packets and back, without a socket.

Source: OASIS MQTT 3.1.1; the clause is named where the reason is not plain.  QoS 2 is not spoken: a
SUBSCRIBE that asks for it is granted QoS 1, a PUBLISH that uses it ends the connection.

MQTT 3.1 (name "MQIsdp", level 3), which Arm Mbed's examples speak, differs in CONNECT alone as far as it matters here:
its CONNACK knows no session present.

Whatever breaks the format raises `MalformedError`; the connection is to be closed then (4.8).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

ACCEPTED, BAD_PROTOCOL, BAD_CLIENT_ID, UNAVAILABLE, BAD_CREDENTIALS, NOT_AUTHORISED = range(6)
SUBSCRIBE_FAILED = 0x80


class MalformedError(Exception):
    pass


class UnknownProtocolError(Exception):
    """CONNECT for another version of MQTT: to be answered with BAD_PROTOCOL (3.1.2.2)."""


@dataclass(frozen=True, slots=True)
class Will:
    topic: str
    payload: bytes
    qos: int


@dataclass(frozen=True, slots=True)
class Connect:
    client_id: str
    username: str | None
    password: bytes | None
    keepalive_s: int
    clean: bool
    will: Will | None
    level: int = 4  # of the protocol: 4 is MQTT 3.1.1, 3 is MQTT 3.1

    def __repr__(self) -> str:  # the password is a proof: keep it out of tracebacks and logs
        return f"Connect(client_id={self.client_id!r}, username={self.username!r})"


@dataclass(frozen=True, slots=True)
class Publish:
    topic: str
    payload: bytes
    qos: int
    packet_id: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class PubAck:
    packet_id: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    packet_id: int
    filters: list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    packet_id: int
    filters: list[str]


@dataclass(frozen=True, slots=True)
class PingReq:
    pass


@dataclass(frozen=True, slots=True)
class Disconnect:
    pass


Packet = Connect | Publish | PubAck | Subscribe | Unsubscribe | PingReq | Disconnect


class Decoder:
    """Feed bytes in pieces of any size; iterate over whole packets."""

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def __iter__(self) -> Iterator[Packet]:
        return self

    def __next__(self) -> Packet:
        head = _head(self._buffer)
        if head is None:
            raise StopIteration
        start, length = head
        if length > self.max_bytes:
            raise MalformedError("the packet is too long")
        if len(self._buffer) < start + length:
            raise StopIteration
        first = self._buffer[0]
        body = bytes(self._buffer[start : start + length])
        del self._buffer[: start + length]
        return _decode(first, body)


def _head(buffer: bytearray) -> tuple[int, int] | None:
    """(where the body starts, its length), or None while that is not known yet (2.2.3)."""
    length = 0
    for i in range(1, 5):
        if i >= len(buffer):
            return None
        length |= (buffer[i] & 0x7F) << 7 * (i - 1)
        if not buffer[i] & 0x80:
            return i + 1, length
    raise MalformedError("the remaining length has more than four bytes")


def _decode(first: int, body: bytes) -> Packet:
    kind, flags = first >> 4, first & 0x0F
    reader = _Reader(body)
    if kind == 3:
        return _publish(flags, reader)
    if flags != (2 if kind in (8, 10) else 0):  # 2.2.2: reserved flags
        raise MalformedError("reserved flags")
    packet: Packet
    match kind:
        case 1:
            packet = _connect(reader)
        case 4:
            packet = PubAck(reader.packet_id())
        case 8:
            packet = _subscribe(reader)
        case 10:
            packet = _unsubscribe(reader)
        case 12:
            packet = PingReq()
        case 14:
            packet = Disconnect()
        case _:
            raise MalformedError(f"packet type {kind}")
    reader.end()
    return packet


def _connect(reader: _Reader) -> Connect:
    name, level = reader.data(), reader.byte()
    if (name, level) not in ((b"MQTT", 4), (b"MQIsdp", 3)):
        if name in (b"MQTT", b"MQIsdp"):
            raise UnknownProtocolError
        raise MalformedError("protocol name")
    flags, keepalive = reader.byte(), reader.word()
    has_user, has_password, has_will = flags & 0x80, flags & 0x40, flags & 0x04
    will_qos = flags >> 3 & 3
    if flags & 1 or (has_password and not has_user):
        raise MalformedError("connect flags")
    if will_qos == 3 or (not has_will and flags & 0x38):
        raise MalformedError("will flags")
    client_id = reader.text()
    will = Will(reader.text(), reader.data(), min(will_qos, 1)) if has_will else None
    return Connect(
        client_id,
        reader.text() if has_user else None,
        reader.data() if has_password else None,
        keepalive,
        bool(flags & 2),
        will,
        level,
    )


def _publish(flags: int, reader: _Reader) -> Publish:
    qos, duplicate = flags >> 1 & 3, bool(flags & 8)
    if qos > 1 or (duplicate and not qos):
        raise MalformedError("QoS")
    topic = reader.text()
    if not topic or "+" in topic or "#" in topic:
        raise MalformedError("topic")
    packet_id = reader.packet_id() if qos else 0
    return Publish(topic, reader.rest(), qos, packet_id, duplicate)


def _subscribe(reader: _Reader) -> Subscribe:
    packet_id, filters = reader.packet_id(), []
    while reader.left():
        text, qos = reader.text(), reader.byte()
        if qos > 2 or not is_filter(text):
            raise MalformedError("subscription")
        filters.append((text, qos))
    if not filters:
        raise MalformedError("no subscription")
    return Subscribe(packet_id, filters)


def _unsubscribe(reader: _Reader) -> Unsubscribe:
    packet_id, filters = reader.packet_id(), []
    while reader.left():
        filters.append(reader.text())
    if not filters:
        raise MalformedError("no subscription")
    return Unsubscribe(packet_id, filters)


def is_filter(text: str) -> bool:
    """4.7.1: "+" fills a level, "#" is the last one."""
    levels = text.split("/")
    return bool(text) and all(
        (level == "+" or "+" not in level) and ("#" not in level or (level == "#" and i == len(levels) - 1))
        for i, level in enumerate(levels)
    )


class _Reader:
    def __init__(self, body: bytes):
        self._body = body
        self._at = 0

    def left(self) -> int:
        return len(self._body) - self._at

    def take(self, size: int) -> bytes:
        if self.left() < size:
            raise MalformedError("the packet ends early")
        self._at += size
        return self._body[self._at - size : self._at]

    def byte(self) -> int:
        return self.take(1)[0]

    def word(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def packet_id(self) -> int:
        if not (number := self.word()):
            raise MalformedError("packet id 0")  # 2.3.1
        return number

    def data(self) -> bytes:
        return self.take(self.word())

    def text(self) -> str:
        try:
            text = self.data().decode()
        except UnicodeDecodeError as error:
            raise MalformedError("not UTF-8") from error
        if "\0" in text:
            raise MalformedError("U+0000")  # 1.5.3
        return text

    def rest(self) -> bytes:
        return self.take(self.left())

    def end(self) -> None:
        if self.left():
            raise MalformedError("the packet goes on after its end")


def connack(code: int, session_present: bool = False) -> bytes:
    return bytes((0x20, 2, int(session_present), code))


def publish(topic: str, payload: bytes, qos: int, packet_id: int = 0, duplicate: bool = False) -> bytes:
    name = topic.encode()
    body = struct.pack(">H", len(name)) + name + (struct.pack(">H", packet_id) if qos else b"") + payload
    return _packet(0x30 | (8 if duplicate else 0) | qos << 1, body)


def puback(packet_id: int) -> bytes:
    return b"\x40\x02" + packet_id.to_bytes(2, "big")


def suback(packet_id: int, granted: list[int]) -> bytes:
    return _packet(0x90, packet_id.to_bytes(2, "big") + bytes(granted))


def unsuback(packet_id: int) -> bytes:
    return b"\xb0\x02" + packet_id.to_bytes(2, "big")


PINGRESP = b"\xd0\x00"


def _packet(first: int, body: bytes) -> bytes:
    head, length = bytearray((first,)), len(body)
    while True:
        head.append(length & 0x7F | (0x80 if length > 0x7F else 0))
        length >>= 7
        if not length:
            return bytes(head) + body
