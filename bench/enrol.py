# SPDX-License-Identifier: MIT
"""What an enrolment costs the server: processor time on one core, beside the floor that `cryptography` sets.

floor       a request's signature verified and a certificate signed, P-256, and nothing else
kept        simpleenroll over one connection: proof, rules, two durable commits, PKCS#7
each        the same with a TLS connection for each device, as a fleet does it

Time is the server process's own (user and system), so that the client and a busy machine do not count.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from measure import Figure, in_turns, must

from trueboot.api import Api, Server

DEVICES = 150  # a turn
FLOOR_OPERATIONS = 400
START_S = 20
_TICKS = os.sysconf("SC_CLK_TCK")


def enrol(runs: int) -> list[Figure]:
    requests = [request() for _ in range(DEVICES)]
    with tempfile.TemporaryDirectory() as name, server(Path(name)) as first:
        fleet = Fleet(first)
        kept, each = in_turns(
            runs,
            floor,
            lambda: fleet.enrolled(requests, keep=True),
            lambda: fleet.enrolled(requests, keep=False),
        )
    rows = (("simpleenroll, one connection", kept), ("simpleenroll, a connection each", each))
    return [
        Figure(f"{what}, one core", round(turns.ours), "/s", round(turns.peer), "cryptography", turns.ratio)
        for what, turns in rows
    ]


def floor() -> float:
    """Requests verified and certificates signed, for a second of this process."""
    der, authority = base64.b64decode(request()), ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pk/dk")]), datetime.now(UTC)
    begun = time.process_time()
    for _ in range(FLOOR_OPERATIONS):
        asked = x509.load_der_x509_csr(der)
        must(asked.is_signature_valid, "a valid signature")
        (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(asked.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=730))
            .sign(authority, hashes.SHA256())
            .public_bytes(Encoding.DER)
        )
    return FLOOR_OPERATIONS / (time.process_time() - begun)


def request() -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    der = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)
    return base64.b64encode(der)


class Fleet:
    """Devices, new in each turn, that the operator has registered."""

    def __init__(self, first: dict[str, Any]):
        self._first = first
        self._api = Api(Server(first["https"], first["ca_file"], first["admin_token"]))
        self._context = ssl.create_default_context(cafile=first["ca_file"])
        self._made = 0

    def enrolled(self, requests: list[bytes], keep: bool) -> float:
        """Enrolments for a second of the server's processor time.  The keys are new to the server each time."""
        secrets = [self._register() for _ in requests]
        fresh = requests if self._made <= len(requests) else [request() for _ in requests]
        begun, connection = cpu_s(self._first["pid"]), self._connect()
        for (name, secret), body in zip(secrets, fresh, strict=True):
            basic = base64.b64encode(f"{name}:{secret}".encode()).decode()
            headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/pkcs10"}
            connection.request("POST", "/.well-known/est/simpleenroll", body, headers)
            answer = connection.getresponse()
            answer.read()
            must(answer.status == 200, "a certificate")
            if not keep:
                connection.close()
                connection = self._connect()
        connection.close()
        return len(requests) / (cpu_s(self._first["pid"]) - begun)

    def _register(self) -> tuple[str, str]:
        self._made += 1
        made = self._api.post("/api/v1/devices", {"device_key": f"bench-{self._made}"})
        return made["device_key"], made["device_secret"]

    def _connect(self) -> http.client.HTTPSConnection:
        at = urlsplit(self._first["https"])
        return http.client.HTTPSConnection(str(at.hostname), at.port, context=self._context, timeout=START_S)


def cpu_s(pid: int) -> float:
    """User and system time of a process, in seconds (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def server(folder: Path) -> Iterator[dict[str, Any]]:
    command = [sys.executable, "-m", "trueboot", "server", "--dev", "--state", str(folder / "state"), "--json"]
    with subprocess.Popen(
        [*command, "--port", "0", "--mqtt-port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            must(process.stdout is not None, "the server")
            yield json.loads(process.stdout.readline())  # type: ignore[union-attr]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(START_S)
