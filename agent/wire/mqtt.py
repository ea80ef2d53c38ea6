# SPDX-License-Identifier: MIT
"""MQTT 3.1.1 for a client, without a socket: packets out of calls, events out of bytes.

Covers QoS 0 and 1.  The functions make packets; a `Decoder` reads what the
server sends, in pieces of any size, and refuses whatever the standard forbids
a server to send to such a client.  Keep-alive, packet ids, retries and
time-outs are the session's.  Source: OASIS MQTT 3.1.1; clauses in brackets.
"""

from agent.errors import AgentError, MisuseError, RefusedError
from agent.wire import utf8

MAX_PACKET_BYTES = 16 * 1024  # what a Decoder takes unless told otherwise
MAX_REMAINING = 268_435_455  # [2.2.3]

PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"

_CONNACK = 0x20
_PUBLISH = 0x30
_PUBACK = 0x40
_SUBACK = 0x90
_PINGRESP = 0xD0


def connect(client_id: str, username: str = "", password: str = "", keepalive_s: int = 60) -> bytes:
    """CONNECT with a clean session and without a will.  Without user name there is no password either [3.1.2.9]."""
    if not 0 <= keepalive_s <= 0xFFFF or (password and not username):
        raise _misuse("keep-alive beyond 65535 s, or a password without a user name")
    flags = 0x02 | (0x80 if username else 0) | (0x40 if password else 0)
    body = b"\x00\x04MQTT\x04" + bytes((flags, keepalive_s >> 8, keepalive_s & 255)) + _text(client_id)
    if username:
        body += _text(username)
    if password:
        body += _text(password)
    return _packet(0x10, body)


def subscribe(packet_id: int, filters: list, qos: int = 1) -> bytes:
    """SUBSCRIBE to all of `filters` at the same QoS."""
    if not filters or qos not in (0, 1):
        raise _misuse("a subscription needs filters, and QoS 0 or 1")
    return _packet(0x82, _id(packet_id) + b"".join([_text(one) + bytes((qos,)) for one in filters]))


def publish(topic: str, payload: bytes, qos: int = 0, packet_id: int = 0, again: bool = False) -> bytes:
    """PUBLISH; `again` marks one that was sent before under the same packet id (DUP)."""
    if not topic or "+" in topic or "#" in topic:
        raise _misuse("a topic is not empty and has no wildcards")
    if qos not in (0, 1) or (qos == 0 and (packet_id or again)):
        raise _misuse("QoS is 0 without packet id or 1 with one")
    flags = _PUBLISH | qos << 1 | (8 if again else 0)
    return _packet(flags, _text(topic) + (_id(packet_id) if qos else b""), payload)


def puback(packet_id: int) -> bytes:
    return _packet(_PUBACK, _id(packet_id))


class Decoder:
    """Reads a server's packets.

    Give it bytes with `feed`, then take events with `event` until it has none.
    After a refusal the connection is of no use any more: close it.
    """

    def __init__(self, max_packet_bytes: int = MAX_PACKET_BYTES):
        self._max_packet_bytes = max_packet_bytes
        self._buffer = b""
        self._at = 0  # where the next packet begins in the buffer
        self._connected = False

    def feed(self, data: bytes) -> None:
        if self._at:
            self._buffer = self._buffer[self._at :]
            self._at = 0
        self._buffer = self._buffer + bytes(data) if self._buffer else bytes(data)

    def event(self):
        """The next event, or None when more bytes are needed:

        ("connack", code, session_present: bool)        always first, and once
        ("publish", topic, payload, qos, packet_id, retained: bool)     packet_id is 0 at QoS 0
        ("puback", packet_id)
        ("suback", packet_id, codes)                    a list of 0, 1 or 0x80
        ("pingresp",)

        RefusedError("mqtt_packet") for what a server must not send, RefusedError("mqtt_too_big") beyond the limit.
        """
        if self._at == len(self._buffer):
            return None
        first = self._buffer[self._at]
        kind = first & 0xF0
        self._check_first(first)
        start, length = self._body()
        if start < 0:
            return None
        self._check_length(kind, length)
        if len(self._buffer) < start + length:
            return None
        body = self._buffer[start : start + length]
        self._at = start + length
        if kind == _PUBLISH:
            return _read_publish(first, body)
        if kind == _PUBACK:
            return "puback", _read_id(body)
        if kind == _SUBACK:
            return _read_suback(body)
        if kind == _CONNACK:
            self._connected = True
            return _read_connack(body)
        return ("pingresp",)

    def _body(self) -> tuple:
        """(where the body begins, its length), or (-1, 0) while the remaining length is incomplete [2.2.3]."""
        length = shift = 0
        for at in range(self._at + 1, len(self._buffer)):
            byte = self._buffer[at]
            length |= (byte & 127) << shift
            if byte < 128:
                if shift and not byte:
                    raise _refused("remaining length is padded")
                return at + 1, length
            shift += 7
            if shift == 28:
                raise _refused("remaining length has more than four bytes")
        return -1, 0

    # Both are checked before the body has come, so that nothing is stored in vain.

    def _check_first(self, first: int) -> None:
        kind = first & 0xF0
        if kind not in (_CONNACK, _PUBLISH, _PUBACK, _SUBACK, _PINGRESP):
            raise _refused("a packet of type %d" % (kind >> 4))
        if (kind == _CONNACK) is self._connected:
            raise _refused("CONNACK does not come first, or comes twice")  # [3.2.0-1]
        if kind != _PUBLISH and first & 15:
            raise _refused("reserved flags are set")  # [2.2.2-2]
        if kind == _PUBLISH and (first & 4 or first & 10 == 8):
            raise _refused("QoS above 1, or DUP at QoS 0")  # [3.3.1-2]; QoS 1 is the most that is subscribed to

    def _check_length(self, kind: int, length: int) -> None:
        if length > self._max_packet_bytes:
            raise RefusedError("mqtt_too_big", "%d bytes where %d are the limit" % (length, self._max_packet_bytes))
        if kind in (_CONNACK, _PUBACK) and length != 2 or kind == _PINGRESP and length:
            raise _refused("a packet of the wrong length")


def _read_connack(body: bytes) -> tuple:
    present, code = body
    if present > 1 or code > 5 or (present and code):
        raise _refused("CONNACK with reserved values")  # [3.2.2]
    return "connack", code, present == 1


def _read_publish(first: int, body: bytes) -> tuple:
    qos = first >> 1 & 3
    end = 2 + int.from_bytes(body[:2], "big")
    payload = end + 2 if qos else end
    if len(body) < payload or end == 2:
        raise _refused("PUBLISH is cut short or has no topic")
    try:
        topic = utf8.decode(body[2:end])
    except AgentError:
        raise _refused("a topic that is not UTF-8")  # [1.5.3-1]
    if "\x00" in topic or "+" in topic or "#" in topic:
        raise _refused("a topic with NUL or wildcards")  # [1.5.3-2], [3.3.2-2]
    packet_id = _read_id(body[end:payload]) if qos else 0
    return "publish", topic, body[payload:], qos, packet_id, first & 1 == 1


def _read_suback(body: bytes) -> tuple:
    codes = list(body[2:])
    if not codes:
        raise _refused("SUBACK without a code")
    for code in codes:
        if code not in (0, 1, 0x80):
            raise _refused("SUBACK with a code that answers no subscription of ours")  # [3.9.3]
    return "suback", _read_id(body[:2]), codes


def _read_id(body: bytes) -> int:
    packet_id = int.from_bytes(body, "big")
    if len(body) != 2 or not packet_id:
        raise _refused("packet id is 0 or missing")  # [2.3.1-1]
    return packet_id


def _packet(first: int, head: bytes, payload: bytes = b"") -> bytes:
    length = len(head) + len(payload)
    if length > MAX_REMAINING:
        raise _misuse("a packet of more than %d bytes" % MAX_REMAINING)
    fixed = bytearray((first,))
    while length > 127:
        fixed.append(length & 127 | 128)
        length >>= 7
    fixed.append(length)
    return b"".join((bytes(fixed), head, payload))


def _text(text: str) -> bytes:
    data = text.encode()
    if len(data) > 0xFFFF or b"\x00" in data:
        raise _misuse("a text of more than 65535 bytes, or with NUL")
    return bytes((len(data) >> 8, len(data) & 255)) + data


def _id(packet_id: int) -> bytes:
    if not 0 < packet_id <= 0xFFFF:
        raise _misuse("a packet id is 1 to 65535")
    return bytes((packet_id >> 8, packet_id & 255))


def _misuse(detail: str) -> MisuseError:
    return MisuseError("mqtt_argument", detail)


def _refused(detail: str) -> RefusedError:
    return RefusedError("mqtt_packet", detail)
