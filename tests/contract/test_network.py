# SPDX-License-Identifier: MIT
"""The network contract, over paho and requests on CPython and over our codecs on the real MicroPython."""

from __future__ import annotations

import inspect
import json
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from far_end import DER, PEM, key_bytes

import contract_network
from platform_adapters.keystores.software import SoftwareKeys
from platform_adapters.linux_http import RequestsHttp
from platform_adapters.linux_mqtt import PahoMqtt
from platform_adapters.linux_net import Net
from trueboot import mpy

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LIMIT_S = contract_network.LIMIT_MS / 1000


@pytest.fixture(scope="module")
def about(authority, far_end, tmp_path_factory):
    """What both interpreters get: a folder with trust and a key, and the servers' ports."""
    folder = tmp_path_factory.mktemp("device")
    key, certificate = authority.issue([], common_name="pk/dk")
    (folder / "ca.der").write_bytes(authority.der)
    (folder / "dev.pem").touch(0o600)
    (folder / "dev.pem").write_bytes(key_bytes(key, PEM))
    (folder / "dev.der").write_bytes(key_bytes(key, DER))
    (folder / "certificate.der").write_bytes(certificate.public_bytes(DER))
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = free.getsockname()[1]
    ports = {name: server.port for name, server in far_end.items()}
    return {"folder": str(folder), "ports": {**ports, "nobody": nobody}}


class LinuxNet:
    def __init__(self, about):
        folder = Path(about["folder"])
        net = Net(lambda: [(folder / "ca.der").read_bytes()], SoftwareKeys(folder), LIMIT_S)
        self.mqtt = PahoMqtt(net)
        self.http = RequestsHttp(net, LIMIT_S)
        self.identity = ("dev", [(folder / "certificate.der").read_bytes()])
        self.ports = about["ports"]

    def now_ms(self):
        return time.monotonic_ns() // 1_000_000


def names(checks):
    return [check.__name__ for check in checks]


@pytest.mark.parametrize("check", contract_network.CHECKS, ids=names(contract_network.CHECKS))
def test_linux(about, check):
    check(LinuxNet(about))


def run_on_board(about, tmp_path, *checks, library="", heap="3000k"):
    (tmp_path / "about.json").write_text(json.dumps(about))
    path = ":".join([str(ROOT), str(ROOT / "tests" / "portable"), *([library] if library else []), ".frozen"])
    return subprocess.run(
        [*mpy.interpreter(heap), str(HERE / "board_network.py"), str(tmp_path / "about.json"), *checks],
        env={"MICROPYPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.skipif(bool(mpy.unavailable()), reason=mpy.unavailable() or "-")
@pytest.mark.parametrize("check", names(contract_network.CHECKS))
def test_micropython(about, tmp_path, check):
    done = run_on_board(about, tmp_path, check)
    assert done.stdout.endswith("all passed\n"), done.stdout + done.stderr


UMQTT = os.environ.get("TRUEBOOT_TEST_UMQTT", "")
MQTT_CHECKS = [
    name
    for name in names(contract_network.CHECKS)
    if "net.mqtt" in inspect.getsource(getattr(contract_network, name))
    or "connect(net" in inspect.getsource(getattr(contract_network, name))
]


@pytest.mark.skipif(not UMQTT, reason="TRUEBOOT_TEST_UMQTT is not set: the folder that holds umqtt/simple.py")
@pytest.mark.parametrize("check", MQTT_CHECKS)
def test_umqtt(about, tmp_path, check):
    """umqtt.simple as ESP32 firmware has it, by `micropython_umqtt`."""
    done = run_on_board(about, tmp_path, "umqtt", check, library=UMQTT)
    assert done.stdout.endswith("all passed\n"), done.stdout + done.stderr


def run_umqtt(script, *more):
    path = ":".join([str(ROOT), *more, ".frozen"])
    command = [*mpy.interpreter("3M"), *script]
    return subprocess.run(command, env={"MICROPYPATH": path}, capture_output=True, text=True, timeout=60)


@pytest.mark.skipif(not UMQTT, reason="TRUEBOOT_TEST_UMQTT is not set: the folder that holds umqtt/simple.py")
def test_umqtt_says_what_our_codec_says():
    done = run_umqtt([str(HERE / "board_umqtt.py")], UMQTT)
    assert done.stdout == "all passed\n", done.stdout + done.stderr


@pytest.mark.skipif(bool(mpy.unavailable()), reason=mpy.unavailable() or "-")
def test_a_board_without_umqtt_says_so():
    done = run_umqtt(["-c", "from platform_adapters.micropython_umqtt import Codec; Codec()"])
    assert "umqtt.simple is not on this board" in done.stdout and "MisuseError" in done.stdout, done.stdout


def test_the_environment_has_no_say(about, foreign, monkeypatch, tmp_path):
    """No variable and no installed bundle adds trust, removes trust, or sends a connection elsewhere."""
    bundle = tmp_path / "foreign.pem"
    bundle.write_bytes(foreign.pem)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(bundle))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(bundle))  # certifi's place
    monkeypatch.setattr("certifi.where", lambda: str(bundle))
    (tmp_path / "netrc").write_text("machine localhost login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with socket.create_server(("127.0.0.1", 0)) as trap:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY", "mqtt_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:%d" % trap.getsockname()[1])
        net = LinuxNet(about)
        contract_network.check_servers_that_are_not_the_right_one(net)
        contract_network.check_our_headers_and_no_more(net)
        contract_network.check_mqtt_session(net)


def test_a_download_overlaps_in_bounded_memory(about):
    """The reader stops when nobody takes what it has read, and ends when the answer is closed."""
    before = threading.active_count()
    response = contract_network.get(LinuxNet(about), "big")
    assert response.read(10) is not None
    response.close()
    deadline = time.monotonic() + 5
    while threading.active_count() > before + 2 and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert time.monotonic() < deadline


def test_little_is_read_ahead_where_bandwidth_is_limited(about):
    """What waits in this process was sent, whatever the agent's rests say."""
    net = LinuxNet(about)
    net.http._ahead = RequestsHttp(net.http._net, LIMIT_S, 40_000)._ahead
    response = contract_network.get(net, "big")
    try:
        assert response.read(100) == bytes(range(100))
        threading.Event().wait(0.3)
        assert response._answer.tell() <= 3 * 10_000, "the piece at hand, one that waits, one on its way"
    finally:
        response.close()
