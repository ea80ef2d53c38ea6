# SPDX-License-Identifier: MIT
"""Mutual TLS with a key in a TPM, beside the same handshake with a key in a file.

Peer: the same client, server and certificates' kind, with the key as a file in `ssl.SSLContext.load_cert_chain`.  A time
is that of one connection to a server in another process: context, TCP, TLS, one byte there and back, since a client of
TLS 1.3 is done before the server has looked at its certificate.  The TPM is swtpm: what a chip takes for a signature, 20 to
100 ms, comes on top.  The aim is what a signature and its loading may add.
"""

from __future__ import annotations

import datetime
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from measure import Figure, in_turns

from platform_adapters.keystores.software import SoftwareKeys
from platform_adapters.linux_net import Net
from trueboot.demo import swtpm

TIMES = 30  # connections in a turn; the first ones warm up
WARM = 5
AIM = 2.0  # of a handshake, against the file key
SERVER = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("server.pem")
context.load_verify_locations("ca.pem")
context.verify_mode = ssl.CERT_REQUIRED
context.maximum_version = context.minimum_version = getattr(ssl.TLSVersion, sys.argv[1])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    try:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(sock, server_side=True) as secured:
            secured.sendall(secured.recv(1))
    except OSError as error:
        print(error, file=sys.stderr)
"""


def tpm(runs: int) -> list[Figure]:
    lacking = swtpm.lacks()
    if lacking:
        return [Figure("mutual TLS, key in a TPM", None, "ms", note=lacking)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chip = swtpm.Swtpm(folder / "chip").start()
        try:
            return [figure for version in ("TLSv1_2", "TLSv1_3") for figure in _of(folder, chip, version, runs)]
        finally:
            chip.stop()


def _of(folder: Path, chip: swtpm.Swtpm, version: str, runs: int) -> list[Figure]:
    from platform_adapters.keystores.tpm_device import TpmKeys
    from platform_adapters.keystores.tpm_link import Link

    link = Link(chip.tcti)
    in_tpm, in_file = TpmKeys(str(folder / "keys"), link), SoftwareKeys(folder / "files")
    authority = _Authority(folder)
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, version],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            turns = in_turns(runs, _dialled(in_file, authority, port), _dialled(in_tpm, authority, port))[0]
        finally:
            server.kill()
    signing = in_turns(runs, _signed(in_file), _signed(in_tpm))[0]
    link.close()
    name = version.replace("v", " ").replace("_", ".")
    found = [
        Figure(
            f"mutual {name}, key in a TPM",
            round(turns.ours, 2),
            "ms",
            round(turns.peer, 2),
            "key in a file",
            turns.ratio,
            f"<= {AIM}",
            turns.ratio <= AIM,
        )
    ]
    if version == "TLSv1_3":
        found.append(
            Figure(
                "sign, key in a TPM",
                round(signing.ours, 2),
                "ms",
                round(signing.peer, 2),
                "key in a file",
                signing.ratio,
            )
        )
    return found


def _dialled(keys, authority, port):
    keys.make("a")
    net = Net(lambda: [authority.der], keys)
    identity = ("a", [authority.issue(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), keys.public("a")))])

    def once() -> float:
        start = time.perf_counter()
        with net.dial("localhost", port, identity) as sock:
            sock.sendall(b"x")
            if sock.recv(1) != b"x":
                raise ssl.SSLError("the server has not accepted the certificate")
            return (time.perf_counter() - start) * 1000

    return lambda: statistics.median([once() for _ in range(TIMES)][WARM:])


def _signed(keys):
    def once() -> float:
        start = time.perf_counter()
        keys.sign("a", b"message")
        return (time.perf_counter() - start) * 1000

    return lambda: statistics.median([once() for _ in range(TIMES)][WARM:])


class _Authority:
    """A CA, and a server's certificate of it in the folder."""

    def __init__(self, folder: Path):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
        builder = self._builder(self._name, self._key.public_key()).add_extension(
            x509.BasicConstraints(True, None), True
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        self.der = certificate.public_bytes(serialization.Encoding.DER)
        (folder / "ca.pem").write_text(ssl.DER_cert_to_PEM_cert(self.der))
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / "server.pem").write_bytes(pem + ssl.DER_cert_to_PEM_cert(self.issue(key.public_key())).encode())

    def issue(self, public) -> bytes:
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")])
        leaf = self._builder(subject, public).add_extension(names, False).sign(self._key, hashes.SHA256())
        return leaf.public_bytes(serialization.Encoding.DER)

    def _builder(self, subject, public):
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(public)
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(30))
