# SPDX-License-Identifier: MIT
"""What TLS may expect of every key store on CPython: `store`, a platform's `keys`; `world`, far ends of both versions."""

from __future__ import annotations

import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from far_end import DER, Authority, HttpEnd, MqttEnd, Server

from agent.errors import MisuseError
from platform_adapters.linux_http import RequestsHttp
from platform_adapters.linux_mqtt import PahoMqtt
from platform_adapters.linux_net import Net

LIMIT_S = 10


class World:
    """Servers that want a certificate under `root`; a device's is issued by a CA between."""

    def __init__(self, folder):
        self.root, self.between = Authority("Root"), Authority("Issuing")
        builder = self.root._builder(self.between.name, self.between.key.public_key(), (-1, 30))
        self.issuing = builder.add_extension(x509.BasicConstraints(True, 0), True).sign(self.root.key, hashes.SHA256())
        leaf = self.root.issue(["localhost"])
        self.servers = {}
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for name, end in (("http", HttpEnd()), ("mqtt", MqttEnd())):
                server = Server(folder, leaf, end, client_anchor=self.root)
                server._context.minimum_version = server._context.maximum_version = version
                self.servers[name, version] = server

    def chain(self, point, name="pk/dk"):
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        leaf = self.between._builder(subject, public, (-1, 30)).sign(self.between.key, hashes.SHA256())
        return [leaf.public_bytes(DER), self.issuing.public_bytes(DER)]

    def close(self):
        for server in self.servers.values():
            server.close()


def who(http, world, version, identity):
    url = "https://localhost:%d/who" % world.servers["http", version].port
    response = http.open("GET", url, {}, b"", identity)
    try:
        data = b""
        while (piece := response.read(100)) != b"":
            data += piece or b""
        return data
    finally:
        response.close()


def check_requests(keys, world, version):
    """A handshake of TLS 1.3 succeeds without a certificate: what the server says of us is what counts."""
    keys.make("a")
    identity = ("a", world.chain(keys.public("a")))
    assert (
        who(RequestsHttp(Net(lambda: [world.root.der], keys, LIMIT_S), LIMIT_S), world, version, identity) == b"pk/dk"
    )


def check_paho(keys, world, version):
    keys.make("a")
    mqtt = PahoMqtt(Net(lambda: [world.root.der], keys, LIMIT_S))
    port = world.servers["mqtt", version].port
    mqtt.connect("localhost", port, "dev", "u", "p", 60, ("a", world.chain(keys.public("a"))))
    try:
        mqtt.publish("echo", b"hello", 1)
        events = []
        while not events or events[-1][0] != "message":
            events.append(mqtt.poll(1000))
            assert len(events) < 20
        assert events[-1] == ("message", "echo/back", b"hello")
    finally:
        mqtt.close()


def check_what_does_not_fit(keys, world, version):
    keys.make("a")
    keys.make("b")
    net = Net(lambda: [world.root.der], keys, LIMIT_S)
    chain = world.chain(keys.public("a"))
    with pytest.raises(MisuseError, match="identity"):
        net.context(("b", chain))
    with pytest.raises(MisuseError, match="identity"):
        net.context(("a", [b"\x30\x00"]))
    with pytest.raises(MisuseError, match="no_key"):
        net.context(("spare", chain))


def check_many_sessions_one_key(keys, world, version):
    """Two labels by turns, as in a renewal, and many contexts: each shows its own certificate."""
    for label in ("a", "b"):
        keys.make(label)
    chains = {label: world.chain(keys.public(label), "pk/" + label) for label in ("a", "b")}
    net = Net(lambda: [world.root.der], keys, LIMIT_S)
    for label in "abab":
        with net.dial("localhost", world.servers["http", version].port, (label, chains[label])) as sock:
            sock.sendall(b"GET /who HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
            assert sock.recv(4096).endswith(b"\r\n\r\npk/" + label.encode())


CHECKS = [check_requests, check_paho, check_what_does_not_fit, check_many_sessions_one_key]
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
