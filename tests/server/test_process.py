# SPDX-License-Identifier: MIT
"""The process: its first line, its end, kill -9, and every reason not to start in one clear line."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from cryptography import x509
from server_client import ENVIRONMENT, PATIENCE_S, Device, Operator, ServerProcess

from trueboot_server.ca import Authority
from trueboot_server.errors import StartError
from trueboot_server.repo import signing
from trueboot_server.state import State

CONTRACT = {
    "https", "mqtt", "mqtt_activate", "mqtt_plain", "ca_file", "org_id", "product_key", "product_secret", "access_key", "secret_key",
    "registration_secret", "admin_token", "root_file", "keys_dir", "state", "pid", "faults",
}  # fmt: skip
ADDRESSES = {"https", "mqtt", "mqtt_activate", "pid"}


def start(*arguments, port="0"):
    """Runs a server that is expected not to start: (exit code, standard error)."""
    command = [sys.executable, "-m", "trueboot_server", "--port", port, "--mqtt-port", "0", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=PATIENCE_S, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


def one_line(text):
    assert text.count("\n") == 1 and "Traceback" not in text and text.startswith("trueboot server: "), text
    return text


def test_the_first_line_and_the_operators_file_are_the_contract(tmp_path):
    server = ServerProcess(tmp_path / "state")
    try:
        assert server.first["mqtt_plain"] is None
        assert set(server.first) == CONTRACT and server.first["pid"] == server.process.pid
        assert server.first["https"].startswith("https://127.0.0.1:") and server.first["mqtt"].startswith(
            "mqtts://127.0.0.1:"
        )
        path = tmp_path / "state/operator.json"
        assert json.loads(path.read_text()) == server.first and path.stat().st_mode & 0o777 == 0o600
        assert os.path.exists(server.first["root_file"]) and os.path.exists(server.first["ca_file"])
        assert Operator(server.first).get("/healthz") == {"status": "ok"}
        for file in (tmp_path / "state").rglob("*"):
            assert file.stat().st_mode & 0o077 == 0, file
    finally:
        assert server.stop() == 0
    assert "Traceback" not in server.log()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_told_even_with_a_device_and_a_long_poll_open(tmp_path, how):
    server = ServerProcess(tmp_path / "state")
    device = Device(server.first, "d", tmp_path)
    session = device.ready()
    operator = Operator(server.first)
    polling = threading.Thread(target=lambda: quietly(lambda: operator.get(f"/api/v1/events?after={2**40}&wait=60")))
    polling.start()
    assert server.stop(how) == 0
    assert session.ended.wait(PATIENCE_S)
    polling.join(PATIENCE_S)
    assert "Traceback" not in server.log() and '"fault"' not in server.log()


def quietly(action):
    import requests

    try:
        action()
    except (requests.exceptions.ConnectionError, AssertionError):
        pass


def test_after_kill_9_everything_acknowledged_is_there(tmp_path):
    server = ServerProcess(tmp_path / "state")
    device = Device(server.first, "d", tmp_path)
    session = device.ready()
    operator = Operator(server.first)
    operator.publish("app/sim/1.1.0/app.img", b"image")
    job = operator.post("/api/v1/jobs", {"target": "app/sim/1.1.0/app.img", "devices": ["d"]})
    push = session.get(device.sys + "ota/device/upgrade")
    report = device.proof(push, b"image", "1.1.0")
    assert session.request(device.sys + "ota/device/inform", {"version": "1.1.0", "report": report})["code"] == 200
    server.stop(signal.SIGKILL)

    again = ServerProcess(tmp_path / "state")
    try:
        kept = CONTRACT - ADDRESSES
        assert {name: again.first[name] for name in kept} == {name: server.first[name] for name in kept}
        device.first = again.first
        session = device.connect()
        assert session.online
        operator = Operator(again.first)
        assert operator.get(f"/api/v1/jobs/{job['id']}")["attempts"][0]["state"] == "updated"
        assert operator.device("d")["proven_version"] == "1.1.0"
        assert session.request(device.sys + "ota/device/inform", {"version": "1.1.0", "report": report})["code"] == 200
        operator.publish("app/sim/1.2.0/app.img", b"image 2")
        session.close()
    finally:
        assert again.stop() == 0


def test_kill_9_at_each_stage_of_the_first_start_leaves_a_folder_that_starts(tmp_path):
    command = [
        sys.executable,
        "-m",
        "trueboot_server",
        "--dev",
        "--state",
        str(tmp_path / "state"),
        "--port",
        "0",
        "--mqtt-port",
        "0",
    ]
    for name in ("ca.pem", "private/online.pem", "dev-keys/targets.pem", "server.db", "operator.json"):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
        while not (tmp_path / "state" / name).exists() and process.poll() is None:
            time.sleep(0.001)  # a file's appearance cannot be waited for otherwise
        process.kill()
        process.wait(PATIENCE_S)
    server = ServerProcess(tmp_path / "state")
    assert Operator(server.first).get("/healthz")
    assert server.stop() == 0


# Reasons not to start


def test_a_taken_port(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, text = start("--dev", "--state", tmp_path / "state", port=port)
    assert code == 69 and f"127.0.0.1:{port}" in one_line(text) and "--port" in text


def test_a_taken_mqtt_port_names_its_own_flag(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, text = start("--dev", "--state", tmp_path / "s", "--activate-port", taken.getsockname()[1])
    assert code == 69 and "--activate-port" in one_line(text)


def test_a_state_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    code, text = start("--dev", "--state", tmp_path / "file" / "state")
    assert code == 73 and "--state" in one_line(text)
    assert start("--dev", "--state", tmp_path / "file")[0] == 73
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        assert start("--dev", "--state", tmp_path / "closed" / "state")[0] == 73


def test_a_second_server_on_the_same_state(tmp_path):
    server = ServerProcess(tmp_path / "state")
    try:
        code, text = start("--dev", "--state", tmp_path / "state")
        assert code == 75 and "another server" in one_line(text)
        assert Operator(server.first).get("/healthz")
    finally:
        server.stop()


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_database(tmp_path, content):
    ServerProcess(tmp_path / "state").stop()
    (tmp_path / "state/server.db").write_bytes(content)
    code, text = start("--dev", "--state", tmp_path / "state")
    assert code == 78 and "server.db" in one_line(text)


def test_a_database_of_a_newer_server(tmp_path):
    ServerProcess(tmp_path / "state").stop()
    with sqlite3.connect(tmp_path / "state/server.db") as database:
        database.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    code, text = start("--dev", "--state", tmp_path / "state")
    assert code == 78 and "newer server" in one_line(text)


@pytest.mark.parametrize("name", ["ca.pem", "private/issuing.pem"])
def test_a_lost_ca_is_not_replaced_behind_the_devices_backs(tmp_path, name):
    ServerProcess(tmp_path / "state").stop()
    lost = tmp_path / "state" / name
    (lost if lost.exists() else lost.with_name("ca-key.pem")).unlink()
    code, text = start("--dev", "--state", tmp_path / "state")
    assert code == 78 and "backup" in one_line(text)


def test_a_ca_key_that_is_not_the_cas(tmp_path):
    ServerProcess(tmp_path / "state").stop()
    for name in ("ca-key.pem", "issuing.pem"):
        (tmp_path / "state/private" / name).write_bytes((tmp_path / "state/private/online.pem").read_bytes())
    assert start("--dev", "--state", tmp_path / "state")[0] == 78


def test_dev_listens_on_loopback_only(tmp_path):
    code, text = start("--dev", "--state", tmp_path / "state", "--host", "0.0.0.0")
    assert code == 78 and "--dev" in one_line(text)
    plain = ("--plain-mqtt-port", "0", "--plain-mqtt-host", "unencrypted:0.0.0.0")
    code, text = start("--dev", "--state", tmp_path / "state", *plain)
    assert code == 78 and "--dev" in one_line(text)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--host", "0.0.0.0"], "--name"),
        (["--name", "not a name"], "not a name"),
        (["--name", "ä.example"], "host name"),
        (["--activate-port", "70000"], "70000"),
        (["--plain-mqtt-port", "70000"], "70000"),
        (["--plain-mqtt-port", "0", "--plain-mqtt-host", "0.0.0.0"], "unencrypted:0.0.0.0"),
        (["--plain-mqtt-host", "192.0.2.7"], "unencrypted:192.0.2.7"),
    ],
)
def test_addresses_that_cannot_be(tmp_path, arguments, told):
    dev = [] if "--host" in arguments else ["--dev"]
    code, text = start("--state", tmp_path / "state", *dev, *arguments)
    assert code == 78 and told in one_line(text)


def test_a_folder_with_an_odd_name(tmp_path):
    server = ServerProcess(tmp_path / "a b?c=%20#'ä")
    assert Operator(server.first).get("/healthz")
    assert server.stop() == 0
    assert (tmp_path / "a b?c=%20#'ä/server.db").exists()


def test_outside_dev_a_root_made_elsewhere_is_needed_and_no_signing_key_may_lie_around(tmp_path):
    state = tmp_path / "state"
    code, text = start("--state", state)
    assert code == 78 and "1.root.json" in one_line(text) and "online.pub" in text
    keys = tmp_path / "offline"
    keys.mkdir()
    root, targets, release = (signing.make_key(keys / f"{name}.pem") for name in ("root", "targets", "release"))
    online = signing.load_public(state / "online.pub")
    (state / "repo/metadata/1.root.json").write_bytes(signing.new_root([root], [targets.public_key], online))
    server = ServerProcess(state, dev=False)
    assert server.first["keys_dir"] is None
    operator = Operator(server.first)
    assert operator.get("/api/v1/releases")["releases"] == []
    assert operator.call("GET", "/repo/metadata/timestamp.json").status_code == 404
    assert operator.post_metadata({"targets": signing.new_targets([targets], [release.public_key])}).status_code == 201
    assert operator.call("GET", "/repo/metadata/timestamp.json").status_code == 200
    assert Device(server.first, "unregistered", tmp_path).activate() != 0
    assert server.stop() == 0
    signing.make_key(keys / "encrypted.pem", b"password")
    for hidden, key in (
        ("targets.key", "targets"),
        ("repo/notes.txt", "release"),
        ("private/root", "root"),
        ("locked.pem", "encrypted"),  # whose it is cannot be seen
        ("dev-keys/any", "release"),
    ):
        path = state / hidden
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((keys / f"{key}.pem").read_bytes())
        code, text = start("--state", state)
        assert code == 78 and str(path) in one_line(text)
        path.unlink()
    server = ServerProcess(state, dev=False)
    assert server.stop() == 0


def test_an_unknown_option_is_refused_by_name(tmp_path):
    code, text = start("--dev", "--state", tmp_path, "--unsafe")
    assert code == 2 and "--unsafe" in text


# The server's certificate


URL = "https://fleet.example:8443"


def test_the_servers_certificate_has_its_names_and_is_renewed_in_time(tmp_path, monkeypatch):
    state = State(tmp_path / "state")
    state.open()
    authority = Authority(state, ["fleet.example", "127.0.0.1"])
    path, _ = authority.server_files(URL)
    first = x509.load_pem_x509_certificate(path.read_bytes())
    names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["fleet.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    first.verify_directly_issued_by(authority.certificate)
    authority.server_files(URL)
    assert x509.load_pem_x509_certificate(path.read_bytes()) == first
    Authority(state, ["other.example"]).server_files(URL)
    second = x509.load_pem_x509_certificate(path.read_bytes())
    assert second != first
    monkeypatch.setattr(
        "trueboot_server.ca.authority.SERVER_RENEW_BEFORE", second.not_valid_after_utc - second.not_valid_before_utc
    )
    Authority(state, ["other.example"]).server_files(URL)
    assert x509.load_pem_x509_certificate(path.read_bytes()) != second
    (state.private / "server-key.pem").write_bytes(
        (state.private / "ca-key.pem").read_bytes()
    )  # cut between two writes
    authority.server_files(URL)
    certificate, key = authority.server_files(URL)
    import ssl

    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    state.close()


def test_the_state_is_held_by_one(tmp_path):
    first, second = State(tmp_path / "s"), State(tmp_path / "s")
    first.open()
    with pytest.raises(StartError):
        second.open()
    first.close()
    second.open()
    second.close()
