# SPDX-License-Identifier: MIT
"""A server process and a device, small, for tests: paho-mqtt, requests, cryptography; no code of the agent.

Nothing here sleeps to wait: whoever waits, waits on a queue, a condition or a long poll.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import queue
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path

import paho.mqtt.client as mqtt
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, pkcs7
from cryptography.x509.oid import NameOID

PATIENCE_S = 20
ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tools'}"}


class ServerProcess:
    """`python -m trueboot_server` on free ports; `first` is its first line."""

    def __init__(self, state, *extra, dev=True):
        self.state = Path(state)
        command = [
            sys.executable,
            "-m",
            "trueboot_server",
            "--state",
            str(state),
            "--port",
            "0",
            "--mqtt-port",
            "0",
            "--json",
        ]
        self.log_path = self.state.parent / (self.state.name + ".log")
        self._log = self.log_path.open("ab")
        self.process = subprocess.Popen(
            [*command, *(["--dev"] if dev else []), *extra], stdout=subprocess.PIPE, stderr=self._log, env=ENVIRONMENT
        )
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(PATIENCE_S)
            raise RuntimeError(f"exit {self.process.returncode}: {self.log_path.read_text()}")
        self.first = json.loads(line)

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(PATIENCE_S)
        self.process.stdout.close()
        self._log.close()
        return code

    def log(self):
        return self.log_path.read_text()


class ServerThread:
    """The same server in this process, on asyncio's own loop, with limits that a test chooses.

    `call` runs a function of (server) in the server's thread, since nothing of it is thread-safe.
    """

    def __init__(self, state, limits=None, **options):
        from trueboot_server.app import Options, Server
        from trueboot_server.limits import Limits
        from trueboot_server.log import make_log
        from trueboot_server.main import _document, exception_handler

        self.lines = io.StringIO()
        self.loop = asyncio.new_event_loop()
        log = make_log(True, self.lines)
        self.loop.set_exception_handler(exception_handler(log))
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        chosen = Options(Path(state), 0, 0, 0, dev=True, limits=limits or Limits(), **options)
        self.server = Server(chosen, log)
        try:
            self.run(self.server.start())
        except BaseException:
            self._end()
            raise
        self.first = _document(chosen, self.server)

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE_S)

    def call(self, function):
        async def wrapped():
            return function(self.server)

        return self.run(wrapped())

    def log(self):
        return self.lines.getvalue()

    def stop(self):
        self.run(self.server.stop())
        self._end()

    def _end(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE_S)
        self.loop.close()


class Operator:
    def __init__(self, first, token=None):
        self.first = first
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = first["ca_file"]
        self.session.headers["Authorization"] = f"Bearer {token or first['admin_token']}"
        self._seen = self.get(f"/api/v1/events?after={2**50}")["last"] if token is None else 0  # from now on

    def call(self, method, path, body=None, **more):
        data = json.dumps(body) if body is not None else more.pop("data", None)
        return self.session.request(method, self.first["https"] + path, data=data, timeout=PATIENCE_S, **more)

    def get(self, path):
        answer = self.call("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path, body):
        answer = self.call("POST", path, body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def device(self, device_key):
        return self.get(f"/api/v1/devices/{self.first['product_key']}/{device_key}")

    def events(self, after=0):
        return self.get(f"/api/v1/events?after={after}")["events"]

    def wait_for(self, event, **fields):
        """The first event after the last one waited for that has this name and these fields."""
        deadline = time.monotonic() + PATIENCE_S
        seen = []
        while time.monotonic() < deadline:
            for found in self.get(f"/api/v1/events?after={self._seen}&wait=5")["events"]:
                self._seen = found["seq"]
                seen.append(found)
                if found["event"] == event and all(found.get(name) == value for name, value in fields.items()):
                    return found
        raise AssertionError(f"no {event} {fields} in {seen}")

    def publish(self, path, content, **custom):
        """Upload and sign a release with the dev keys, as the command line does."""
        from trueboot_server.repo import signing

        kind, hardware, version, _ = path.split("/")
        answer = self.call("PUT", f"/api/v1/repo/targets/{path}", data=content)
        assert answer.status_code == 201, answer.text
        role = signing.role_for(self.metadata("targets"), path)
        data = signing.add_target(
            self.metadata(role),
            path,
            len(content),
            hashlib.sha256(content).hexdigest(),
            {"kind": kind, "version": version, "hardware": [hardware], "security": 0, "size": len(content), **custom},
            [self.signer("release")],
        )
        answer = self.post_metadata({role: data})
        assert answer.status_code == 201, answer.text

    def withdraw(self, path):
        from trueboot_server.repo import signing

        role = signing.role_for(self.metadata("targets"), path)
        answer = self.post_metadata({role: signing.remove_target(self.metadata(role), path, [self.signer("release")])})
        assert answer.status_code == 201, answer.text

    def post_metadata(self, roles):
        """Publish metadata by role; the version is theirs."""
        from trueboot_server.repo.published import file_name

        files = {file_name(json.loads(data)["signed"]["version"], role): data.decode() for role, data in roles.items()}
        return self.call("POST", "/api/v1/repo/metadata", {"files": files})

    def signer(self, name):
        from trueboot_server.repo import signing

        return signing.load_signer(Path(self.first["keys_dir"]) / f"{name}.pem")

    def metadata(self, role):
        """What is published of a role, None when there is none."""
        from trueboot_server.repo.published import file_name

        def fetch(name):
            return self.session.get(f"{self.first['https']}/repo/metadata/{name}", timeout=PATIENCE_S).content

        stamp = json.loads(fetch("timestamp.json"))["signed"]["meta"]["snapshot.json"]["version"]
        meta = json.loads(fetch(f"{stamp}.snapshot.json"))["signed"]["meta"].get(f"{role}.json")
        return fetch(file_name(meta["version"], role)) if meta else None


def password(client, product_key, device_key, timestamp, secret):
    text = f"clientId{client}deviceKey{device_key}productKey{product_key}timestamp{timestamp}{secret}"
    return hashlib.sha256(text.encode()).hexdigest()


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jws(key, claims, header=None):
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    header = {"alg": "ES256", "typ": "trueboot-report+jwt", "kid": thumbprint(point), **(header or {})}
    text = base64url(json.dumps(header).encode()) + "." + base64url(json.dumps(claims).encode())
    r, s = utils.decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return text + "." + base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def thumbprint(point):
    jwk = {"crv": "P-256", "kty": "EC", "x": base64url(point[1:33]), "y": base64url(point[33:])}
    return base64url(hashlib.sha256(json.dumps(jwk, separators=(",", ":"), sort_keys=True).encode()).digest())


def csr(key, name="a device may ask for any name"):
    if isinstance(name, str):
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return base64.encodebytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))


class Session:
    """One MQTT connection; what arrives waits in queues by topic."""

    def __init__(
        self, device, url, mode, secret, identity=None, subscribe=(), client=None, user=None, clean=True, keepalive=60
    ):
        at = urllib.parse.urlsplit(url)
        client = client or device.device_key
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=f"{client}|securemode={mode},signmethod=sha256,timestamp=1|",
            clean_session=clean,
            reconnect_on_failure=False,
        )
        self.client.username_pw_set(
            user or f"{device.device_key}&{device.product_key}",
            password(client, device.product_key, device.device_key, "1", secret),
        )
        context = ssl.create_default_context(cafile=device.ca_file)
        if identity:
            context.load_cert_chain(*identity)
        self.client.tls_set_context(context)
        self.topics = {}
        self.code, self.present, self.ended = None, None, threading.Event()
        self._lock, self._answered, self._subscribed = threading.Lock(), threading.Event(), threading.Event()
        self._filters, self._number = list(subscribe), 0
        self.client.on_connect = self._on_connect
        self.client.on_message = lambda _c, _u, m: self.queue(m.topic).put(m.payload)
        self.client.on_subscribe = lambda _c, _u, _i, codes, _p: (
            setattr(self, "granted", codes),
            self._subscribed.set(),
        )
        self.client.on_disconnect = lambda *_: (self._answered.set(), self.ended.set())
        try:
            self.client.connect(at.hostname, at.port, keepalive)
        except (ssl.SSLError, ConnectionError):
            self.ended.set()
            return
        self.client.loop_start()
        self._answered.wait(PATIENCE_S)

    def _on_connect(self, client, _userdata, flags, code, _properties):
        self.code, self.present = code.value, flags.session_present
        if self._filters and self.code == 0:
            client.subscribe([(name, 1) for name in self._filters])
        else:
            self._subscribed.set()
        self._answered.set()

    @property
    def online(self):
        return self.code == 0 and self._subscribed.wait(PATIENCE_S)

    def queue(self, topic):
        with self._lock:
            return self.topics.setdefault(topic, queue.Queue())

    def get(self, topic, timeout=PATIENCE_S):
        return json.loads(self.queue(topic).get(timeout=timeout))

    def request(self, topic, params):
        """Publish a request with QoS 1 and wait for its reply."""
        self._number += 1
        number = str(self._number)
        self.client.publish(topic, json.dumps({"id": number, "version": "1.0", "method": "x", "params": params}), 1)
        reply = self.get(topic + "_reply")
        assert reply["id"] == number
        return reply

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


class Device:
    def __init__(self, first, device_key, folder, product_secret=None):
        self.first, self.device_key, self.folder = first, device_key, Path(folder)
        self.product_key, self.ca_file = first["product_key"], first["ca_file"]
        self.product_secret = product_secret or first["product_secret"]
        self.device_secret = None
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.identity = None
        self.seq = 0
        self.sys = f"/sys/{self.product_key}/{device_key}/"
        self.info = f"/ext/session/{self.product_key}/{device_key}/thing/activate/info"

    def activate(self):
        session = Session(self, self.first["mqtt_activate"], 3, self.product_secret)
        try:
            if session.code != 0:
                return session.code
            message = session.get(self.info)
            self.device_secret = message["params"]["deviceSecret"]
            session.client.publish(
                self.info + "_reply", json.dumps({"id": message["id"], "code": 200, "data": None}), 1
            )
            assert session.ended.wait(PATIENCE_S)
            return 0
        finally:
            session.close()

    def post_csr(self, body, label=True, user=None, secret=None):
        path = f"/.well-known/est/{self.product_key}/simpleenroll" if label else "/.well-known/est/simpleenroll"
        session = requests.Session()
        session.trust_env = False
        session.auth = (user or self.device_key, secret or self.device_secret)
        headers = {"Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"}
        return session.post(
            self.first["https"] + path, data=body, headers=headers, verify=self.ca_file, timeout=PATIENCE_S
        )

    def enrol(self):
        answer = self.post_csr(csr(self.key))
        assert answer.status_code == 200, answer.text
        chain = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.content))  # a set: in no order
        self.keep(next(one for one in chain if one.public_key() == self.key.public_key()), self.key)
        return self

    def keep(self, certificate, key):
        """From now on these are the device's; the files of those before stay."""
        self.certificate, self.key = certificate, key
        name = f"{self.device_key}-{certificate.serial_number % 2**32:x}"
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        cert.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        key.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.identity = (str(cert), str(key))

    def connect(self, **more):
        more.setdefault("subscribe", [self.sys + "#"])
        return Session(self, self.first["mqtt"], 2, self.device_secret, self.identity, **more)

    def ready(self):
        """Activated, enrolled, connected."""
        assert self.activate() == 0
        session = self.enrol().connect()
        assert session.online
        return session

    def claims(self, **changed):
        self.seq += 1
        claims = {
            "aud": self.product_key,
            "sub": f"{self.product_key}/{self.device_key}",
            "outcome": "running",
            "version": "1.0.0",
            "image": "0" * 64,
            "slot": "a",
            "boot": 1,
            "seq": self.seq,
            "job": None,
            "nonce": None,
            "target_version": None,
            "reason": "",
            "floor": 0,
            "measured": "boot",
        }
        return {**claims, **changed}

    def report(self, **changed):
        return jws(self.key, self.claims(**changed))

    def proof(self, push, image, version, /, **changed):
        """What an honest device reports after an upgrade push that it has carried out."""
        told = push["params"]
        return self.report(
            **{
                "outcome": "updated",
                "version": version,
                "target_version": version,
                "slot": "b",
                "boot": 3,
                "image": hashlib.sha256(image).hexdigest(),
                "job": told["job"],
                "nonce": told["nonce"],
                **changed,
            }
        )


class Raw:
    """A TLS socket that speaks MQTT byte by byte, to say what no library would."""

    def __init__(self, url, ca_file, identity=None):
        at = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((at.hostname, at.port), PATIENCE_S)
        if at.scheme == "mqtt":  # without TLS
            return
        context = ssl.create_default_context(cafile=ca_file)
        if identity:
            context.load_cert_chain(*identity)
        self.socket = context.wrap_socket(self.socket, server_hostname=at.hostname)

    def send(self, data):
        self.socket.sendall(data)
        return self

    def read(self, size):
        data = b""
        while len(data) < size and (piece := self.socket.recv(size - len(data))):
            data += piece
        return data

    def packet(self):
        """The next packet, or b"" at the end of the connection."""
        try:
            head = self.read(2)
        except OSError:
            return b""
        if len(head) < 2:
            return b""
        length, shift = head[1] & 0x7F, 7
        while head[-1] & 0x80:
            head += self.read(1)
            length |= (head[-1] & 0x7F) << shift
            shift += 7
        return head + self.read(length)

    def closed(self):
        """Waits until the server ends the connection; False when it sends something instead."""
        return self.packet() == b""

    def close(self):
        self.socket.close()


def field(data):
    data = data.encode() if isinstance(data, str) else data
    return len(data).to_bytes(2, "big") + data


def packet(first, body):
    head, length = bytearray((first,)), len(body)
    while True:
        head.append(length & 0x7F | (0x80 if length > 0x7F else 0))
        length >>= 7
        if not length:
            return bytes(head) + body


def connect_packet(device, secret=None, mode=2, clean=True, keepalive=60, client=None, user=None, will=b"", flags=0):
    client = client or device.device_key
    proof = password(client, device.product_key, device.device_key, "1", secret or device.device_secret)
    body = (
        field("MQTT")
        + bytes((4, 0xC0 | (2 if clean else 0) | (4 if will else 0) | flags))
        + keepalive.to_bytes(2, "big")
    )
    body += field(f"{client}|securemode={mode},signmethod=sha256,timestamp=1|") + will
    return packet(0x10, body + field(user or f"{device.device_key}&{device.product_key}") + field(proof))
