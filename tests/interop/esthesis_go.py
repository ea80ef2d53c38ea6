# SPDX-License-Identifier: MIT
"""The octets that esthesis CORE's own agent sends, over TLS and by hand: no HTTP or MQTT library tidies them up.

Written from the protocol document, which was written beside the running agent; its licence keeps the agent itself out.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
from urllib.parse import quote, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import load_pem_private_key

PATIENCE_S = 20
_USER_AGENT = "go-resty/2.10.0 (https://github.com/go-resty/resty)"


class GoAgent:
    def __init__(self, registration_url, ca_file, hardware_id, folder, provisioning_prefix=""):
        self.registration_url = registration_url
        self.ca_file = ca_file
        self.hardware_id = hardware_id
        self.folder = folder
        self.prefix = provisioning_prefix
        self.reply = {}

    # HTTP

    def register(self, tags="", attributes="", secret=""):
        """(status line's number, headers, body).  One line of JSON, five members in this order, empty when unset."""
        values = (self.hardware_id, tags, attributes, secret)
        hardware_id, tags, attributes, secret = (json.dumps(value) for value in values)
        body = (
            f'{{"hardwareId":{hardware_id},"tags":{tags},"attributes":{attributes},"type":"CORE",'
            f'"registrationSecret":{secret}}}'
        ).encode()
        more = f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\n"
        status, headers, content = self._http("POST", self.registration_url, more, body)
        if status == 200:
            self.reply = json.loads(content)
            self._keep()
        return status, headers, content

    def find(self, version, signed=True):
        return self._ask("find", f"hardwareId={self.hardware_id}", f"version={version}", signed)

    def find_by_id(self, package_id, signed=True):
        return self._ask("find/by-id", f"hardwareId={self.hardware_id}&packageId={package_id}", "", signed)

    def download(self, token):
        return self._http("GET", self._provisioning("download") + "?token=" + quote(token, safe=""))

    def token(self):
        key = load_pem_private_key(self.reply["privateKey"].encode(), None)
        return base64.b64encode(key.sign(self.hardware_id.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()

    def _ask(self, road, before, after, signed):
        token = "token=" + quote(self.token(), safe="") if signed else ""
        query = "&".join(part for part in (before, token, after) if part)  # in alphabetical order
        return self._http("GET", self._provisioning(road) + "?" + query)

    def _provisioning(self, road):
        return f"{self.reply['provisioningUrl']}{self.prefix}/api/v1/provisioning/{road}"  # concatenated, no more

    def _http(self, method, url, more="", body=b""):
        parts = urlsplit(url)
        target = url[url.index(parts.netloc) + len(parts.netloc) :]
        head = f"{method} {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: {_USER_AGENT}\r\n{more}"
        context = ssl.create_default_context(cafile=self.ca_file)
        plain = socket.create_connection((parts.hostname, parts.port), PATIENCE_S)
        with context.wrap_socket(plain, server_hostname=parts.hostname) as link, link.makefile("rb") as answer:
            link.sendall(head.encode() + b"Accept-Encoding: gzip\r\n\r\n" + body)
            status = int(answer.readline().split()[1])
            headers = {}
            while (line := answer.readline().strip()) != b"":
                name, _, value = line.partition(b":")
                headers[name.decode().lower()] = value.strip().decode()
            return status, headers, answer.read(int(headers["content-length"]))

    def _keep(self):
        self.chain, self.key_file = self.folder / "chain.pem", self.folder / "key.pem"
        self.chain.write_text(self.reply["certificate"])
        self.key_file.write_text(self.reply["privateKey"])

    # MQTT

    def connect(self):
        return GoSession(self)


class GoSession:
    """Clean session, keep-alive 60, no user name; one subscription, all at QoS 0."""

    def __init__(self, agent):
        self.agent = agent
        server = agent.reply["mqttServer"]
        assert server[:6] == "ssl://"
        host, _, port = server[6:].rpartition(":")
        context = ssl.create_default_context(cadata=agent.reply["rootCaCertificate"])
        context.load_cert_chain(agent.chain, agent.key_file)
        plain = socket.create_connection((host, int(port)), PATIENCE_S)
        self._link = context.wrap_socket(plain, server_hostname=host)
        self._incoming = self._link.makefile("rb")
        client_id = agent.hardware_id.encode()
        self._send(0x10, b"\x00\x04MQTT\x04\x02\x00\x3c" + _text(client_id))
        self.answer = self._take()

    def subscribe(self):
        topic = f"esthesis/command/request/{self.agent.hardware_id}".encode()
        self._send(0x82, b"\x00\x01" + _text(topic) + b"\x00")
        return self._take()

    def publish(self, what, payload):
        """Returns when the server has taken it: at QoS 0 only what follows tells."""
        topic = f"esthesis/{what}/{self.agent.hardware_id}".encode()
        self._send(0x30, _text(topic) + payload.encode())
        self._send(0xC0, b"")
        assert self._take() == (0xD0, b"")

    def command(self):
        """The next one's payload."""
        first, body = self._take()
        topic = f"esthesis/command/request/{self.agent.hardware_id}".encode()
        assert first == 0x30 and body.startswith(_text(topic)), (first, body)
        return body[2 + len(topic) :].decode()

    def close(self):
        self._send(0xE0, b"")
        self._incoming.close()
        self._link.close()

    def _send(self, first, body):
        length, digits = len(body), bytearray()
        while True:
            length, digit = divmod(length, 128)
            digits.append(digit | (0x80 if length else 0))
            if not length:
                break
        self._link.sendall(bytes([first]) + bytes(digits) + body)

    def _take(self):
        first, length, shift = self._incoming.read(1)[0], 0, 0
        while True:
            digit = self._incoming.read(1)[0]
            length |= (digit & 0x7F) << shift
            shift += 7
            if digit < 0x80:
                return first, self._incoming.read(length)


def _text(text):
    return len(text).to_bytes(2, "big") + text
