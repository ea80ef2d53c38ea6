# SPDX-License-Identifier: MIT
"""A device of esthesis CORE as its protocol document describes it, over a real HTTPS and MQTT connection."""

from __future__ import annotations

import queue
import ssl

import paho.mqtt.client as paho
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

PATIENCE_S = 20


def csr_pem(key) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


class EsthesisDevice:
    def __init__(self, first, hardware_id, folder):
        self.first = first
        self.hardware_id = hardware_id
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.reply = {}

    def post(self, body, path="/api/v1/register"):
        return requests.post(self.first["https"] + path, json=body, verify=self.first["ca_file"], timeout=PATIENCE_S)

    def body(self, csr=True, **more):
        body = {"hardwareId": self.hardware_id, "tags": "", "attributes": "", "type": "CORE", "registrationSecret": ""}
        return {**body, **({"csr": csr_pem(self.key)} if csr else {}), **more}

    def register(self, csr=True, **more):
        """The HTTP status.  The credentials are kept."""
        answer = self.post(self.body(csr, **more))
        if answer.status_code == 200:
            self.reply = answer.json()
            key = (
                self.reply["privateKey"]
                or self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
            )
            self.chain, self.key_file = self.folder / "chain.pem", self.folder / "key.pem"
            self.chain.write_text(self.reply["certificate"])
            self.key_file.write_text(key)
        return answer.status_code

    def connect(self, client_id=None, subscribe=True):
        return EsthesisSession(self, client_id or self.hardware_id, subscribe)


class EsthesisSession:
    """Connected as the original agent connects: clean, no user name, QoS 0, one subscription."""

    def __init__(self, device, client_id, subscribe):
        self.device = device
        self.requests: queue.Queue[str] = queue.Queue()
        self._codes: queue.Queue[int] = queue.Queue()
        self._granted: queue.Queue[int] = queue.Queue()
        client = self._client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=True,
            protocol=paho.MQTTv311,
            reconnect_on_failure=False,
        )
        context = ssl.create_default_context()
        context.load_verify_locations(cadata=device.reply["rootCaCertificate"])
        context.load_cert_chain(device.chain, device.key_file)
        client.tls_set_context(context)
        client.on_connect = lambda _c, _u, _f, code, _p: self._codes.put(code.value)
        client.on_subscribe = lambda _c, _u, _m, codes, _p: self._granted.put(codes[0].value)
        client.on_message = lambda _c, _u, message: self.requests.put(message.payload.decode())
        self.closed: queue.Queue[int] = queue.Queue()
        client.on_disconnect = lambda *_: self.closed.put(0)
        host, _, port = device.reply["mqttServer"].removeprefix("ssl://").rpartition(":")
        client.connect(host, int(port), keepalive=60)
        client.loop_start()
        self.code = self._codes.get(timeout=PATIENCE_S)
        if self.code == 0 and subscribe:
            self.subscribe()

    def subscribe(self, name=None):
        self._client.subscribe(name or f"esthesis/command/request/{self.device.hardware_id}", 0)
        return self._granted.get(timeout=PATIENCE_S)

    def say(self, what, text, qos=1, hardware_id=None):
        """Publish; returns when the server has committed it (QoS 1)."""
        payload = text if isinstance(text, bytes) else text.encode()
        told = self._client.publish(f"esthesis/{what}/{hardware_id or self.device.hardware_id}", payload, qos)
        if qos:
            told.wait_for_publish(PATIENCE_S)
        return told

    def hear(self):
        return self.requests.get(timeout=PATIENCE_S)

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()
