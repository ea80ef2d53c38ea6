# SPDX-License-Identifier: MIT
"""The network of the memory platform: ports whose far end is a `Peer`, a plain object that a test overrides.

What is sent is an effect: a cut before it means that the peer never heard, a
cut after it that the peer did and the device does not know.  Answers come in
small pieces with pauses, as a network's do.
"""

from agent.errors import MisuseError, RefusedError, UnreachableError
from agent.wire.url import split_url
from platform_adapters.memory_power import Illegal

PIECE_BYTES = 1000


class Peer:
    """A cloud that agrees to everything.  Override what matters; to send, use `device.push` and `device.hang_up`.

    Any method may raise an AgentError: then the call fails with it.
    """

    piece_bytes = PIECE_BYTES  # the most that one read of an answer's body gives
    silences = 1  # reads that give nothing yet, before each piece
    read_ms = 0  # that each of them takes

    def connect(self, device, login):
        """The CONNACK code.  `login`: host, port, client_id, username, password, keepalive_s, identity."""
        return 0

    def on_subscribe(self, device, topics):
        """The codes granted, one a topic."""
        return [1] * len(topics)

    def on_publish(self, device, topic, payload, qos):
        """Return False to leave a message of QoS 1 without its acknowledgement."""

    def on_idle(self, device):
        """The device polls and nothing is there; called once a poll, before time passes."""

    def http(self, device, method, url, headers, body, identity):
        """(status, headers, body).  A Content-Length beyond the body makes a truncated answer."""
        return 404, {}, b""

    def datagram(self, device, host, port, data):
        """What comes back from there by UDP, or None."""
        return None


class Mqtt:
    plaintext = False

    def __init__(self, life):
        self._life = life
        self._last_id = 0

    def connect(self, host, port, client_id, username, password, keepalive_s, identity):
        life = self._life
        life.check()
        if life.session is not None:
            raise Illegal("mqtt.connect: there is a session")
        _check_identity(life.device, identity)
        login = {
            "host": host,
            "port": port,
            "client_id": client_id,
            "username": username,
            "password": password,
            "keepalive_s": keepalive_s,
            "identity": identity,
            "plaintext": self.plaintext,
        }
        life.inbox = []
        code = life.effect("mqtt.connect " + client_id, lambda: life.device.peer.connect(life.device, login))
        if code:
            raise RefusedError("mqtt_refused", "CONNACK %d" % code)
        life.session = login

    def subscribe(self, topics):
        life = self._open("subscribe")
        granted = life.effect("mqtt.subscribe", lambda: life.device.peer.on_subscribe(life.device, list(topics)))
        life.inbox.append(("subscribed", self._next_id(), list(granted)))
        return self._last_id

    def publish(self, topic, payload, qos):
        life = self._open("publish")
        if qos not in (0, 1) or "+" in topic or "#" in topic or not topic:
            raise MisuseError("topic", topic)
        if not isinstance(payload, (bytes, bytearray)):
            raise Illegal("mqtt.publish: not bytes")
        number = self._next_id() if qos else 0
        acked = life.effect(
            "mqtt.publish " + topic, lambda: life.device.peer.on_publish(life.device, topic, bytes(payload), qos)
        )
        if qos and acked is not False:
            life.inbox.append(("acked", number))
        return number

    def poll(self, timeout_ms):
        life = self._open("poll")
        if timeout_ms < 0:
            raise Illegal("mqtt.poll: negative")
        if not life.inbox:
            life.device.peer.on_idle(life.device)
        if not life.inbox:
            life.device.now_ms += timeout_ms
            return None
        event = life.inbox.pop(0)
        if event[0] == "closed":
            life.session = None
        return event

    def close(self):
        self._life.check()
        self._life.session = None
        self._life.inbox = []

    def _open(self, verb):
        self._life.check()
        if self._life.session is None:
            raise Illegal("mqtt.%s without a session" % verb)
        return self._life

    def _next_id(self):
        self._last_id = self._last_id % 0xFFFF + 1
        return self._last_id


class Http:
    def __init__(self, life):
        self._life = life

    def open(self, method, url, headers, body, identity):
        split_url(url)
        life = self._life
        life.check()
        _check_identity(life.device, identity)
        sent = (life.device, method, url, dict(headers), bytes(body), identity)
        status, answered, content = life.effect("http %s %s" % (method, url), lambda: life.device.peer.http(*sent))
        return Response(life, method, status, answered, content)


class Response:
    def __init__(self, life, method, status, headers, body):
        self._life = life
        self.status = status
        self.headers = {"content-length": str(len(body))}
        for name in headers:
            self.headers[name.lower()] = headers[name]
        self._body = b"" if method == "HEAD" or status in (204, 304) else body
        self._missing = len(self._body) and len(self._body) != int(self.headers["content-length"])
        self._at = 0
        self._silences = 0

    def read(self, size):
        self._life.check()
        peer = self._life.device.peer
        self._life.device.now_ms += peer.read_ms
        if self._silences < peer.silences:
            self._silences += 1
            return None
        self._silences = 0
        data = self._body[self._at : self._at + min(size, peer.piece_bytes)]
        self._at += len(data)
        if not data and self._missing:
            raise UnreachableError("http_truncated", "the connection closed before the end of the response")
        return data

    def close(self):
        self._body = b""
        self._missing = False


def _check_identity(device, identity):
    if identity is None:
        return
    label, chain = identity
    if label not in device.secrets or not chain or not all(isinstance(der, bytes) for der in chain):
        raise Illegal("an identity of no key, or without a certificate: %r" % label)
