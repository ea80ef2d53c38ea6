# SPDX-License-Identifier: MIT
"""What stands between a device and its server: a door at a fixed address that passes bytes on, or does something worse.

Passing on, it sees ciphertext only.  As an impostor it ends TLS itself, with a certificate of the test's choice, and
keeps whatever a device told it.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import re
import select
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

TIMEOUT_S = 20
DAY = datetime.timedelta(days=1)
Behaviour = Callable[[socket.socket], None]


class Door:
    def __init__(self, url: str):
        self.raw = bytearray()  # every byte that came from the device's side
        self.visits = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._behave: Behaviour | None = None
        self.lead_to(url)
        self.url = f"{urlsplit(url).scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def lead_to(self, url: str) -> None:
        at = urlsplit(url)
        self._target = (at.hostname, at.port)
        self.behave(None)

    def behave(self, how: Behaviour | None) -> None:
        """From now on, and for everybody: the connections that are open end."""
        self._behave = how
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.behave(silent)

    def _accept(self) -> None:
        while True:
            try:
                inside, _ = self._listener.accept()
            except OSError:
                return
            self.visits += 1
            threading.Thread(target=self._serve, args=(inside,), daemon=True).start()

    def _serve(self, inside: socket.socket) -> None:
        inside.settimeout(TIMEOUT_S)
        self._open.add(inside)
        behave = self._behave
        try:
            with inside:
                if behave is not None:
                    behave(inside)
                else:
                    with socket.create_connection(self._target, TIMEOUT_S) as outside:
                        self._open.add(outside)
                        try:
                            self._pass_on(inside, outside)
                        finally:
                            self._open.discard(outside)
        except (OSError, ValueError):
            pass  # one of the two has gone
        finally:
            self._open.discard(inside)

    def _pass_on(self, inside: socket.socket, outside: socket.socket) -> None:
        while True:
            for one in select.select([inside, outside], [], [])[0]:
                data = one.recv(65536)
                if not data:
                    return
                if one is inside:
                    self.raw += data
                    outside.sendall(data)
                else:
                    inside.sendall(data)


def silent(connection: socket.socket) -> None:
    """Takes whatever comes and never says a word."""
    connection.settimeout(None)
    while connection.recv(65536):
        pass


class Authority:
    """A CA: that of a server's state folder, or one of nobody."""

    def __init__(self, state: Path | None = None):
        if state is None:
            self.key = ec.generate_private_key(ec.SECP256R1())
            self.certificate = _sign(
                self.key, _name("Trueboot CA"), self.key.public_key(), "Trueboot CA", [], -DAY, DAY, ca=True
            )
        else:
            self.key = load_pem_private_key((state / "private" / "ca-key.pem").read_bytes(), None)
            self.certificate = x509.load_pem_x509_certificate((state / "ca.pem").read_bytes())

    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    def server(self, folder: Path, names=("127.0.0.1",), start=-DAY, end=DAY) -> ssl.SSLContext:
        """A server's TLS context with a new certificate; `start` and `end` are counted from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign(self.key, self.certificate.subject, key.public_key(), "server", names, start, end)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{key.private_numbers().private_value:x}.pem"
        file.write_bytes(
            certificate.public_bytes(Encoding.PEM)
            + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def _sign(signer, issuer, public, name, names, start, end, ca=False):
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + start)
        .not_valid_after(now + end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(one) for one in names]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _name(common_name):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def _general(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Impostor:
    """Ends TLS with a certificate that must not be believed.  `heard` must stay empty."""

    def __init__(self, context: ssl.SSLContext):
        self.heard = bytearray()
        self._context = context

    def __call__(self, connection: socket.socket) -> None:
        with self._context.wrap_socket(connection, server_side=True) as tls:
            while data := tls.recv(65536):
                self.heard += data


class Liar:
    """An HTTPS server with the real one's certificate that passes requests on and may alter the answers.

    `alter(path, status, body)` gives (status, body, bytes to really send).
    """

    def __init__(self, info: dict, alter):
        self.asked: list[str] = []
        self._info = info
        self._alter = alter
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        private = Path(info["state"]) / "private"
        self._context.load_cert_chain(private / "server.pem", private / "server-key.pem")

    def __call__(self, connection: socket.socket) -> None:
        with self._context.wrap_socket(connection, server_side=True) as tls:
            head, _, body = self._until_blank(tls).partition(b"\r\n\r\n")
            method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
            low = {name.lower(): value for name, value in headers.items()}
            while len(body) < int(low.get("content-length", 0)):
                body += tls.recv(65536)
            self.asked.append(path)
            passed = {name: value for name, value in low.items() if name in ("range", "content-type", "authorization")}
            passed.setdefault("authorization", "Bearer " + self._info["admin_token"])
            with requests.Session() as session:
                session.trust_env = False
                url = self._info["https"] + path
                answer = session.request(
                    method, url, headers=passed, data=body or None, verify=self._info["ca_file"], timeout=TIMEOUT_S
                )
            status, said, sent = self._alter(path, answer.status_code, answer.content)
            lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(said)}", "Connection: close"]
            if "content-range" in answer.headers:
                lines.append(f"Content-Range: {answer.headers['content-range']}")
            tls.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + sent)

    def _until_blank(self, tls: ssl.SSLSocket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            more = tls.recv(65536)
            if not more:
                raise ValueError("ended early")
            data += more
        return data


def alter_where(pattern: str, change):
    """An `alter` that changes what matches and passes on the rest."""

    def alter(path, status, body):
        return change(status, body) if re.search(pattern, path) else (status, body, body)

    return alter
