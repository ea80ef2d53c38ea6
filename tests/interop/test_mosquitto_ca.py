# SPDX-License-Identifier: MIT
"""Mosquitto, with a certificate, the anchors and the CRLs of our CA: a device's certificate opens it until it is revoked."""

import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from live_server import live_server

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server"))
from server_client import Device  # noqa: E402

# Debian keeps it where only root's path leads.
MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
PATIENCE_S = 20
CONNECT = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test"
CONNACK = b"\x20\x02\x00\x00"

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (debian-packages.txt)")


def trueboot(state, *verb):
    command = [sys.executable, "-m", "trueboot", "ca", *verb, "--state", state]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Broker:
    """Mosquitto on a free port; it trusts our CA, wants a certificate, and reads a file of CRLs."""

    def __init__(self, folder, state):
        self.folder = folder
        trueboot(state, "issue-server", "localhost", "127.0.0.1", "-o", folder)
        self.crl(state)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        lines = [f"listener {self.port} 127.0.0.1", "require_certificate true", "use_identity_as_username true",
                 "allow_anonymous true", "log_dest stderr", "log_type all", "user root"]  # fmt: skip
        files = (("cafile", "trusted.pem"), ("certfile", "chain.pem"), ("keyfile", "key.pem"), ("crlfile", "crl.pem"))
        lines += [f"{name} {folder / file}" for name, file in files]
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        command = [MOSQUITTO, "-c", folder / "mosquitto.conf"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE)
        self.wait_for(b"running")

    def crl(self, state):
        trueboot(state, "crl", "-o", self.folder / "crl.pem")

    def wait_for(self, text):
        said, deadline = b"", time.monotonic() + PATIENCE_S
        while text not in said:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.process.stderr], [], [], left)[0], said
            more = os.read(self.process.stderr.fileno(), 65536)
            assert more, said
            said += more

    def reload(self, state):
        self.crl(state)
        self.process.send_signal(signal.SIGHUP)
        self.wait_for(b"Reloading config")

    def lets_in(self, device):
        context = ssl.create_default_context(cafile=device.ca_file)
        context.load_cert_chain(*device.identity)
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as connection,
            ):
                connection.sendall(CONNECT)
                return connection.recv(4) == CONNACK
        except (ssl.SSLError, ConnectionError):
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        self.process.stderr.close()


def test_a_revoked_device_is_refused_once_mosquitto_has_the_new_crl(tmp_path):
    state = tmp_path / "state"
    with live_server(state) as first:
        devices = [Device(first, name, tmp_path) for name in ("revoked", "other")]
        for device in devices:
            device.activate()
            device.enrol()
        broker = Broker(tmp_path / "broker", state)
        try:
            assert [broker.lets_in(device) for device in devices] == [True, True]
            serial = format(devices[0].certificate.serial_number, "x")
            trueboot(state, "revoke", serial, "--reason", "keyCompromise", "--yes")
            broker.reload(state)
            assert [broker.lets_in(device) for device in devices] == [False, True]
        finally:
            broker.stop()
