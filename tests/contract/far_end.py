# SPDX-License-Identifier: MIT
"""The far end of the network contract: small TLS servers on loopback that behave, or misbehave, on request.

What a server does is chosen by the client: by the path of a request, by the
client id or the topic of an MQTT session.  One thread a connection.
"""

from __future__ import annotations

import datetime
import json
import socket
import ssl
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

BIG = bytes(range(256)) * 1200
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER


def key_bytes(key, encoding) -> bytes:
    return key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class Authority:
    def __init__(self, name: str):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self.name, self.key.public_key(), (-400, 400))
        builder = builder.add_extension(x509.BasicConstraints(True, None), True)
        self.certificate = builder.sign(self.key, hashes.SHA256())
        self.der = self.certificate.public_bytes(DER)
        self.pem = self.certificate.public_bytes(PEM)

    def issue(self, names, days=(-1, 30), common_name="far end"):
        """(key, certificate)."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = self._builder(subject, key.public_key(), days)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
        return key, builder.sign(self.key, hashes.SHA256())

    def _builder(self, subject, public, days):
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=days[0]))
            .not_valid_after(now + datetime.timedelta(days=days[1]))
        )


class Server:
    """Runs `end.serve(sock)` for each connection; `leaf` None: without TLS."""

    def __init__(self, folder: Path, leaf, end, client_anchor: Authority | None = None):
        self.end = end
        self._context = None
        if leaf is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            name = folder / ("%x.pem" % leaf[1].serial_number)
            name.write_bytes(leaf[1].public_bytes(PEM) + key_bytes(leaf[0], PEM))
            self._context.load_cert_chain(name)
            if client_anchor is not None:
                self._context.verify_mode = ssl.CERT_REQUIRED
                self._context.load_verify_locations(cadata=client_anchor.der)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        sock.settimeout(30)
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            with sock:
                self.end.serve(sock)
        except OSError:
            sock.close()

    def close(self):
        self._listener.close()


class SilentEnd:
    def serve(self, sock):
        while sock.recv(4096):
            pass


class HttpEnd:
    def serve(self, sock):
        stream = sock.makefile("rb")
        while True:
            words = stream.readline().split()
            if len(words) != 3:
                return
            headers = {}
            while (line := stream.readline().strip()) != b"":
                name, _, value = line.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            body = stream.read(int(headers.get("content-length", 0)))
            path = words[1].decode()
            route = getattr(self, "on_" + path[1:].partition("?")[0].replace("/", "_"), None)
            if route is None:
                self.answer(sock, b"", status="404 Not Found")
            elif route(sock, headers, body) is not None:
                return

    def answer(self, sock, body, status="200 OK", **headers):
        fields = {
            "Content-Length": str(len(body)),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        head = "".join("%s: %s\r\n" % field for field in fields.items())
        sock.sendall(("HTTP/1.1 %s\r\n%s\r\n" % (status, head)).encode() + body)

    def on_hello(self, sock, headers, body):
        self.answer(sock, b"hello", ETag='"1"')

    def on_echo(self, sock, headers, body):
        self.answer(sock, body, status="201 Created")

    def on_headers(self, sock, headers, body):
        self.answer(sock, json.dumps(headers).encode(), Set_Cookie="a=b")

    def on_connection(self, sock, headers, body):
        self.answer(sock, b"%d" % sock.getpeername()[1])

    def on_who(self, sock, headers, body):
        subject = (sock.getpeercert() or {}).get("subject", ((("", "nobody"),),))
        self.answer(sock, subject[0][0][1].encode())

    def on_big(self, sock, headers, body):
        first, _, last = headers.get("range", "").replace("bytes=", "").partition("-")
        if not first:
            self.answer(sock, BIG)
            return
        end = int(last or len(BIG) - 1)
        span = "bytes %s-%d/%d" % (first, end, len(BIG))
        self.answer(sock, BIG[int(first) : end + 1], status="206 Partial Content", Content_Range=span)

    def on_chunked(self, sock, headers, body):
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhell\r\n1\r\no\r\n0\r\n\r\n")

    def on_truncated(self, sock, headers, body):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 400)
        return True

    def on_truncated_chunk(self, sock, headers, body):
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\nxxx")
        return True

    def on_redirect(self, sock, headers, body):
        self.answer(sock, b"", status="302 Found", Location="/hello")

    def on_coded(self, sock, headers, body):
        self.answer(sock, b"not gzip at all", Content_Encoding="gzip")

    def on_no_answer(self, sock, headers, body):
        SilentEnd().serve(sock)

    def on_stalls(self, sock, headers, body):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nxxx")
        SilentEnd().serve(sock)

    def on_garbage(self, sock, headers, body):
        sock.sendall(b"220 this is not HTTP\r\n\r\n")
        return True

    def on_closes(self, sock, headers, body):
        return True

    def on_last(self, sock, headers, body):
        """Promises to go on, and closes."""
        self.answer(sock, b"last")
        return True


class MqttEnd:
    """Client ids: "refuse-N" gets CONNACK N, "silent" nothing, "close" is closed on; else the topics decide."""

    def serve(self, sock):
        stream = sock.makefile("rb")
        kind, body = self.packet(stream)
        width = int.from_bytes(body[10:12], "big")
        client = body[12 : 12 + width].decode()
        if client == "close":
            return
        if client == "silent":
            SilentEnd().serve(sock)
            return
        if client == "garbage":
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return
        code = int(client[7:]) if client.startswith("refuse-") else 0
        sock.sendall(bytes((0x20, 2, 0, code)))
        if not code:
            self.session(sock, stream, client)

    def session(self, sock, stream, client):
        acks = 0
        while True:
            kind, body = self.packet(stream)
            if kind & 0xF0 == 0x80:
                self.subscribed(sock, body)
            elif kind & 0xF0 == 0x40:
                acks += 1
            elif kind & 0xF0 == 0x30 and body[2:7] == b"acks?":
                self.publish(sock, b"acks", b"%d" % acks)
            elif kind & 0xF0 == 0x30:
                if self.published(sock, kind >> 1 & 3, body):
                    return
            elif kind == 0xC0 and client != "deaf":
                sock.sendall(b"\xd0\x00")
            elif kind == 0xE0:
                return

    def subscribed(self, sock, body):
        codes, at = b"", 2
        while at < len(body):
            width = int.from_bytes(body[at : at + 2], "big")
            codes += b"\x80" if body[at + 2 : at + 2 + width].startswith(b"deny") else bytes((body[at + 2 + width],))
            at += 3 + width
        sock.sendall(bytes((0x90, 2 + len(codes))) + body[:2] + codes)

    def published(self, sock, qos, body):
        width = int.from_bytes(body[:2], "big")
        topic = body[2 : 2 + width].decode()
        at = 2 + width + (2 if qos else 0)
        payload = body[at:]
        if topic == "close":
            return True
        if qos and topic != "unacked":
            sock.sendall(b"\x40\x02" + body[at - 2 : at])
        if topic == "echo":
            self.publish(sock, b"echo/back", payload)
        elif topic == "huge":
            sock.sendall(b"\x30\xff\xff\xff\x7f\x00\x01x" + bytes(1000))
        elif topic == "garbage":
            sock.sendall(b"\xff\x00\x00")
        elif topic == "half":
            sock.sendall(b"\x30\x10\x00\x06hal")
        elif topic == "rest":
            sock.sendall(b"vesabcdefgh")
        elif topic == "flood":
            for number in range(50):
                self.publish(sock, b"flood", b"%d" % number)
        return False

    def publish(self, sock, topic, payload):
        body = len(topic).to_bytes(2, "big") + topic + b"\x00\x07" + payload
        length, size = b"", len(body)
        while True:
            length += bytes((size & 127 | (128 if size > 127 else 0),))
            size >>= 7
            if not size:
                break
        sock.sendall(b"\x32" + length + body)

    def packet(self, stream):
        kind = stream.read(1)
        if not kind:
            raise OSError("closed")
        length = shift = 0
        while True:
            byte = stream.read(1)[0]
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return kind[0], stream.read(length)
