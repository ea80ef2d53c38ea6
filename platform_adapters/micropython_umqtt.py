# SPDX-License-Identifier: MIT
"""MQTT packets by `umqtt.simple`, which ESP32 firmware has frozen: flash without our own codec.  Stands for `agent.wire.mqtt`.

    from platform_adapters.micropython_umqtt import Codec
    ESP32(mqtt_codec=Codec())

umqtt only ever writes packets into memory and reads whole ones from it; sockets, waiting
and keep-alive stay the session's (`micropython_mqtt`).  What is known to go wrong in
umqtt.simple up to 1.8, and is closed by that or here
  * it waits without an end, for a PUBACK, a SUBACK or the rest of a packet: it never waits;
  * a packet leaves in up to six pieces, any of which may be the last: it is sent whole;
  * what a server must not send is checked by `assert`, or not: checked here, sizes too;
  * lengths of texts are counted in characters: it gets bytes;
  * packet ids go beyond 65535: they are the session's;
  * up to 1.7 a SUBSCRIBE of more than 127 bytes has a wrong length: its length is not used.
Source: micropython-lib, umqtt.simple; MQTT 3.1.1, clauses in brackets.
"""

from agent.errors import MisuseError, RefusedError

MAX_PACKET_BYTES = 16 * 1024  # that come
MAX_PAYLOAD_BYTES = 1024 * 1024  # umqtt has room for three bytes of length


class Codec:
    PINGREQ = b"\xc0\x00"
    DISCONNECT = b"\xe0\x00"

    def __init__(self):
        """MisuseError("config") when there is no umqtt.simple."""
        try:
            from umqtt import simple
        except ImportError:
            raise MisuseError("config", "umqtt.simple is not on this board: mpremote mip install umqtt.simple")
        self._simple = simple

    def connect(self, client_id, username="", password="", keepalive_s=60):
        if not 0 <= keepalive_s <= 0xFFFF or (password and not username):
            raise _misuse()
        wire = _Wire(b"\x20\x02\x00\x00")
        user = _text(username) or None
        client = self._simple.MQTTClient(_text(client_id), "", 0, user, _text(password), keepalive_s)
        real, self._simple.socket = self._simple.socket, wire
        try:
            client.connect()
        finally:
            self._simple.socket = real
        return wire.out

    def subscribe(self, packet_id, filters, qos=1):
        """One SUBSCRIBE to all: what umqtt says of each, behind one another."""
        head, body = b"\x82", self.puback(packet_id)[2:]
        for one in filters:
            client, wire = self._at(packet_id, b"\x90\x03" + body[:2] + b"\x00")
            client.subscribe(_text(one), qos)
            body += wire.out[-len(_text(one)) - 3 :]
        size = len(body)
        while size > 127:  # [2.2.3]
            head += bytes((size & 127 | 128,))
            size >>= 7
        return head + bytes((size,)) + body

    def publish(self, topic, payload, qos=0, packet_id=0):
        if not topic or "+" in topic or "#" in topic or len(payload) > MAX_PAYLOAD_BYTES:
            raise _misuse()
        client, wire = self._at(packet_id, self.puback(packet_id))
        client.publish(_text(topic), payload, False, qos)
        return wire.out

    def puback(self, packet_id):
        return b"\x40\x02" + packet_id.to_bytes(2, "big")

    def Decoder(self):
        return Decoder(self._at)

    def _at(self, packet_id, answer):
        """(a client whose next packet id is this, its wire): it will read `answer`."""
        client = self._simple.MQTTClient(b"", "")
        client.cb = client.pid = packet_id - 1
        client.sock = wire = _Wire(answer)
        return client, wire


class Decoder:
    """What `agent.wire.mqtt.Decoder` promises."""

    def __init__(self, at):
        self._at = at
        self._buffer = b""
        self._connected = False

    def feed(self, data):
        self._buffer += data

    def event(self):
        """Every packet is whole before umqtt sees it."""
        data = self._buffer
        if not data:
            return None
        first = data[0]
        # [2.2.2-2], [3.3.1-2]; CONNACK comes first, and once
        if first in (0x38, 0x39) or first & 0xF4 != 0x30 and first not in (0x20, 0x40, 0x90, 0xD0):
            raise _refused()
        if (first == 0x20) is self._connected:
            raise _refused()
        length = shift = 0
        for at in range(1, len(data)):
            length |= (data[at] & 127) << shift
            shift += 7
            if length > MAX_PACKET_BYTES or shift > 28:
                raise RefusedError("mqtt_too_big", "a packet of more than %d bytes" % MAX_PACKET_BYTES)
            if data[at] < 128:
                end = at + 1 + length
                if len(data) < end:
                    return None
                self._buffer = data[end:]
                return (
                    self._publish(data[:end])
                    if first < 0x40 and first > 0x20
                    else self._event(first, data[at + 1 : end])
                )
        return None

    def _publish(self, packet):
        found = []
        client, wire = self._at(0, packet)
        client.cb = lambda topic, payload: found.extend((topic, payload))
        try:
            client.wait_msg()
            topic = found[0].decode()
        except (AssertionError, IndexError, ValueError):  # UnicodeError is a ValueError
            raise _refused()
        number = int.from_bytes(wire.out[2:], "big")
        if not topic or "\x00" in topic or "+" in topic or "#" in topic or bool(number) is not bool(packet[0] & 2):
            raise _refused()
        return "publish", topic, found[1], packet[0] >> 1 & 3, number, packet[0] & 1 == 1

    def _event(self, first, body):
        if first == 0xD0 and not body:
            return ("pingresp",)
        if first == 0x20 and len(body) == 2 and body[0] < 2 and body[1] < 6:
            self._connected = True
            return "connack", body[1], body[0] == 1
        number = int.from_bytes(body[:2], "big")
        if number and first == 0x40 and len(body) == 2:
            return "puback", number
        codes = list(body[2:])
        if number and first == 0x90 and codes and not [code for code in codes if code not in (0, 1, 0x80)]:
            return "suback", number, codes
        raise _refused()


class _Wire:
    """What umqtt takes for its socket, and while it makes a CONNECT for the module `socket`."""

    def __init__(self, answer):
        self._in = answer
        self.out = b""

    def write(self, data, size=None):
        self.out += data if size is None else data[:size]

    def read(self, size):
        if not 0 <= size <= len(self._in):
            raise _refused()
        data, self._in = self._in[:size], self._in[size:]
        return data

    def socket(self, *_):
        return self

    connect = settimeout = setblocking = socket

    def getaddrinfo(self, *_):
        return ((0,),)


def _text(text):
    data = text.encode()
    if len(data) > 0xFFFF or b"\x00" in data:
        raise _misuse()
    return data


def _misuse():
    return MisuseError("mqtt_argument", "an empty topic, a wildcard, NUL, or too many bytes")


def _refused():
    return RefusedError("mqtt_packet", "the server sent what it must not")
