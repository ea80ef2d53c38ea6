# SPDX-License-Identifier: MIT
"""The server in this process, with an ear at every place where a device's bytes come in as plain text.

`received` is every byte that devices and operators sent, after TLS; `wire` what it meant, in the order in which the
server had it: connections, publishes, pushes, requests.  With each stands what the device's boot record said on its
disk at that very moment, so that no clock is needed to tell what came first.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from pathlib import Path

from aiohttp import web_protocol
from rig import Rig
from server_client import ServerThread

from platform_adapters import bootrecord
from trueboot_server.fleet.desk import FleetDesk
from trueboot_server.mqtt.connection import Connection
from trueboot_server.mqtt.desk import Admitted

REQUEST = re.compile(rb"^(GET|POST|PUT|HEAD|DELETE) (\S+) HTTP/1\.1\r\n", re.M)


class Spied(Rig):
    """A Rig whose server runs in a thread; `patch` is pytest's MonkeyPatch."""

    def __init__(self, folder: Path, patch):
        super().__init__(folder)
        self.received = bytearray()
        self.wire: list[dict] = []
        self._lock = threading.Lock()
        self._patch(patch)

    def start_server(self) -> None:
        self.thread = ServerThread(self.folder / "server")
        self.server_info = self.thread.first
        # As the process does; ServerThread leaves it out.
        operator = self.folder / "server" / "operator.json"
        operator.touch(0o600)
        operator.write_text(json.dumps(self.server_info))
        self.api = self.new_api()
        self._listener = threading.Thread(target=self._listen, args=(0,), daemon=True)
        self._listener.start()

    def stop(self) -> None:
        super().stop()
        self.thread.stop()

    def _note(self, what: str, **fields) -> None:
        with self._lock:
            self.wire.append({"what": what, "disk": self.disk(), **fields})

    def disk(self) -> dict | None:
        """What the first device's boot record says now, with the versions that lie in the slots."""
        if not self.devices:
            return None
        folder = self.devices[0].folder
        record = bootrecord.load(str(folder / "state"))
        versions = {}
        for slot in bootrecord.SLOTS:
            try:
                versions[slot] = json.loads((folder / "slots" / slot / ".release").read_bytes())["version"]
            except (OSError, ValueError):
                versions[slot] = None
        tried = record["trial"] if record["boots"] < bootrecord.TRIAL_BOOTS else None
        return {"confirmed": versions[record["active"]], "trial": versions.get(tried)}

    def _patch(self, patch) -> None:
        rig = self
        mqtt_data, http_data = Connection.data_received, web_protocol.RequestHandler.data_received
        admit, arrived, push = FleetDesk.admit, FleetDesk.arrived, Connection.push

        def hear_mqtt(self, data):
            rig.received += data
            mqtt_data(self, data)

        def hear_http(self, data):
            rig.received += data
            for method, path in REQUEST.findall(data):
                if not path.startswith(b"/api/"):
                    rig._note("http", method=method.decode(), path=path.decode())
            http_data(self, data)

        def hear_connect(self, peer, connect):
            answer = admit(self, peer, connect)
            if isinstance(answer, Admitted):
                rig._note("connect", certified=peer.certified, serial=peer.serial, activation=answer.activation)
            else:
                rig._note("refused", certified=peer.certified)
            return answer

        def hear_publish(self, admitted, topic, payload):
            message = json.loads(payload)
            rig._note("publish", topic=leaf(topic), message=message, params=message.get("params"))
            return arrived(self, admitted, topic, payload)

        def hear_push(self, topic, payload):
            rig._note("push", topic=leaf(topic), message=json.loads(payload))
            return push(self, topic, payload)

        patch.setattr(Connection, "data_received", hear_mqtt)
        patch.setattr(web_protocol.RequestHandler, "data_received", hear_http)
        patch.setattr(FleetDesk, "admit", hear_connect)
        patch.setattr(FleetDesk, "arrived", hear_publish)
        patch.setattr(Connection, "push", hear_push)


def leaf(topic: str) -> str:
    """Without the part that names the device."""
    return topic.split("/", 5 if topic.startswith("/ext/") else 4)[-1]


def claims(token: str) -> dict:
    """The payload of a compact JWS; the server has verified it."""
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


# How a secret may look


def shapes(secret: bytes) -> list[bytes]:
    """Every form in which `secret` might have been written down: itself, hex, base64 at the three alignments."""
    found = [secret, secret[::-1]]
    text = secret.hex()
    pairs = [text[at : at + 2] for at in range(0, len(text), 2)]
    found += [form.encode() for form in (text, text.upper(), ":".join(pairs), ":".join(pairs).upper())]
    for start in range(3):
        # Whole groups of three only: what stands around the secret mixes into the first and the last.
        whole = secret[start : start + (len(secret) - start) // 3 * 3]
        found += [base64.b64encode(whole), base64.urlsafe_b64encode(whole)]
    return list(dict.fromkeys(found))


def number_shapes(scalar: bytes) -> list[bytes]:
    """The same for a private number: as bytes in any wrapping (SEC 1, PKCS #8, PEM, JWK), and in decimal."""
    return [*shapes(scalar), str(int.from_bytes(scalar, "big")).encode()]


def unwrapped(data: bytes) -> bytes:
    """Without line ends, be they real, or escaped in JSON: PEM breaks base64, OpenSSL's text breaks hex."""
    return re.sub(rb"\s+|\\r|\\n", b"", data)


def holds(data: bytes, forms: list[bytes]) -> bool:
    bare = unwrapped(data)
    return any(form in data or form in bare for form in forms)
