# SPDX-License-Identifier: MIT
"""Both doctors, at a real server in this process: each finds what was broken, and says what to do about it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import ssl
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from commandline import Tool

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))

from server_client import ServerThread  # noqa: E402

from agent import journal  # noqa: E402
from agent.runtime import Agent  # noqa: E402
from platform_adapters import linux_service  # noqa: E402
from platform_adapters.filestore import FileStore  # noqa: E402
from platform_adapters.linux import Linux  # noqa: E402
from trueboot import doctor, provision  # noqa: E402
from trueboot.api import Api, Server  # noqa: E402
from trueboot.images import build  # noqa: E402
from trueboot.releases import Release  # noqa: E402

SECRETS = []


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerThread(tmp_path_factory.mktemp("server") / "state")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def enrolled(server, tmp_path_factory):
    """A device's folder, after its agent has run: kept as it is, tests get copies."""
    info = server.first
    api = Api(Server(info["https"], info["ca_file"], info["admin_token"], info))
    secret = provision.register(api, "d1")
    api.close()
    SECRETS.extend([secret, info["admin_token"], info["product_secret"]])
    factory = Release("app", "sim", "1.0.0", build({"main.py": b"pass"}))
    folder = tmp_path_factory.mktemp("device") / "d1"
    file = provision.write(folder, info, "d1", "cpython", factory, {"device_secret": secret})
    platform = Linux(str(file))
    events = []
    platform.log = lambda event, fields: events.append(event)
    agent = Agent(platform, healthy=lambda: True)
    for _ in range(1500):
        if "version.reported" in events:
            break
        platform.clock.sleep_ms(min(agent.step(20), 10))
    assert "version.reported" in events, events
    platform.mqtt.close()
    return folder


@pytest.fixture
def device(enrolled, tmp_path):
    shutil.copytree(enrolled, tmp_path / "d1")
    (tmp_path / "d1/agent.toml").chmod(0o600)
    return tmp_path / "d1"


def ask(capsys, device, exit_code=0):
    """name -> [(verdict, found, what to do)]."""
    argv = ["doctor", "--config", str(device / "agent.toml")]
    assert linux_service.main([*argv, "--json"]) == exit_code
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert told["ok"] is (exit_code == 0)
    assert not [secret for secret in SECRETS if secret in said.out + said.err]
    found = {}
    for check in told["checks"]:
        found.setdefault(check["name"], []).append((check["verdict"], check["found"], check["todo"]))
        assert check["verdict"] == "ok" or check["todo"] or check["verdict"] == "warn"
    return found


def test_a_device_that_is_well(capsys, device, server):
    found = ask(capsys, device)
    fine = {name for name, checks in found.items() if all(verdict == "ok" for verdict, _, _ in checks)}
    assert fine >= {"config", "state", "ca", "root", "journal", "clock", "keys", "identity", "slots", "disk", "https"}
    assert fine >= {"mqtt"} and found["agent"][0][0] == "warn", "nobody runs it now"
    place = urlsplit(server.first["https"])
    der = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((place.hostname, place.port)))
    assert hashlib.sha256(der).hexdigest()[:16] in found["https"][0][1]
    linux_service.main(["doctor", "--config", str(device / "agent.toml")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok   config       ") and len(lines) == sum(map(len, found.values()))
    assert lines[-3].startswith("warn agent        does not run; do: ")


def break_key(device):
    (device / "state/keys/a.pem").chmod(0o644)


def break_certificate(device):
    (device / "state/store/cert.a").unlink()


def break_journal(device):
    for name in journal.COPIES:
        (device / "state/store" / name).write_bytes(b"torn")


def break_root(device):
    (device / "root.json").write_text("{}")


def break_slot(device):
    (device / "slots/a/main.py").unlink()


def break_ca(device):
    (device / "ca.pem").write_text("")


def break_port(device):
    text = (device / "agent.toml").read_text()
    lines = [line if not line.startswith("https") else 'https = "https://127.0.0.1:1"' for line in text.splitlines()]
    (device / "agent.toml").write_text("\n".join(lines))


def break_config(device):
    with (device / "agent.toml").open("a") as file:
        file.write('colour = "red"\n')


def record(device, **changes):
    store = FileStore(str(device / "state/store"))
    journal.save(store, journal.load(store) | changes)


def break_clock(device):
    record(device, clock=int(time.time()) + 86400)


def break_identity(device):
    record(device, identity={"phase": "revoked", "label": "a", "tries": 0, "reason": "key compromise"})


@pytest.mark.parametrize(
    ("break_it", "name", "words", "todo"),
    [
        (break_key, "keys", "key_exposed", "chmod 600"),
        (break_journal, "journal", "damaged", "state folder"),
        (break_root, "root", "no root metadata", "root.json"),
        (break_slot, "slots", "no main.py", "app image"),
        (break_ca, "ca", "no certificate", "CA file"),
        (break_port, "https", "127.0.0.1:1", "trueboot explain"),
        (break_config, "config", "colour", "config.md"),
        (break_clock, "clock", "is before", "timedatectl"),
        (break_identity, "identity", "key compromise", "forget-identity"),
    ],
)
def test_what_is_broken_fails(capsys, device, break_it, name, words, todo):
    break_it(device)
    found = ask(capsys, device, exit_code=1)
    failed = [(found, do) for verdict, found, do in found[name] if verdict == "fail"]
    assert failed and words in failed[0][0] and todo in failed[0][1], found


def test_what_will_not_last_warns(capsys, device):
    break_certificate(device)
    assert ask(capsys, device)["identity"][0][0] == "warn", "it enrols again by itself"
    (device / "agent.toml").chmod(0o644)
    assert ask(capsys, device)["config"][0][0] == "warn", "it holds a secret"
    text = (device / "agent.toml").read_text()
    (device / "agent.toml").write_text(text + 'keys = "tpm"\ntpm = "device:/dev/nowhere"\n')
    assert ask(capsys, device, exit_code=1)["keys"][-1][0] == "fail"


def test_slots_that_are_systems_are_asked_of_their_firmware(capsys, device):
    with (device / "agent.toml").open("a") as file:
        file.write("[raspberry_pi]\n")
    slots = ask(capsys, device, exit_code=1)["slots"]
    assert slots[0][0] == "fail" and slots[0][2].startswith("trueboot explain "), "no Pi is here"


def test_a_device_that_never_ran(capsys, device):
    shutil.rmtree(device / "state")
    found = ask(capsys, device)
    assert found["journal"][0][0] == found["identity"][0][0] == "warn"


def host(tmp_path, *arguments, **environment):
    done = Tool(tmp_path).run("doctor", "--json", *arguments, **environment)
    assert not [secret for secret in SECRETS if secret in done.stdout + done.stderr]
    found = {}
    for check in json.loads(done.stdout)["checks"]:
        found.setdefault(check["name"], []).append((check["verdict"], check["found"], check["todo"]))
    return done.returncode, found


def test_the_host_at_a_server(tmp_path, server):
    where = ["--server", server.first["https"], "--ca", server.first["ca_file"]]
    code, found = host(tmp_path, *where, TRUEBOOT_TOKEN=server.first["admin_token"])
    assert code == 0, found
    assert found["server"][0][0] == "ok" and found["certificate"][0][1].startswith("sha256 ")
    assert {"python", "[server]", "[sim]", "mpy-cross", "clock", "disk", "ports", "systemd"} <= found.keys()
    code, found = host(tmp_path, *where, TRUEBOOT_TOKEN="wrong")
    assert code == 1 and "[not_permitted]" in found["server"][0][1] and "operator.json" in found["server"][0][2]
    (tmp_path / "ca.pem").write_bytes(Path(server.first["ca_file"]).read_bytes().replace(b"A", b"B", 1))
    code, found = host(tmp_path, "--server", server.first["https"], "--ca", "ca.pem", "--token", "t")
    assert code == 1 and found["certificate"][0][0] == "fail"


def test_the_host_without_a_server(tmp_path):
    code, found = host(tmp_path)
    assert code == 0 and found["server"][0][0] == "warn" and "--dev" in found["server"][0][2]
    code, found = host(tmp_path, "--state", str(tmp_path / "none"))
    assert code == 1 and found["server"][0][0] == "fail", "one was named, and is not there"
    lines = Tool(tmp_path).run("doctor").stdout.splitlines()
    assert all(line.split()[0] in ("ok", "warn", "fail") for line in lines) and len(lines) >= 10


def test_a_port_that_may_not_be_opened(monkeypatch, tmp_path):
    (tmp_path / "ttyUSB0").write_text("")
    monkeypatch.setattr(os, "access", lambda *_: False)
    check = doctor.port_check(str(tmp_path / "ttyUSB0"))
    assert check.verdict == "fail" and "usermod -aG" in check.todo
