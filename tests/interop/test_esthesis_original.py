# SPDX-License-Identifier: MIT
"""esthesis CORE's own agent at our server: its octets replayed, and the agent itself where somebody has built it."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from esthesis_go import GoAgent

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))
from server_client import Operator, ServerThread  # noqa: E402

PRODUCT, SECRET = "esthesis-go", "s3cret of the fleet"
IMAGE, PATH = b"an image of 1.2.0", "app/sim/1.2.0/app.img"
PACKAGE = b"#!/bin/sh\nexit 0\n"
PATIENCE_S = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerThread(tmp_path_factory.mktemp("server") / "state")
    operator = Operator(running.first)
    operator.post("/api/v1/products", {"product_key": PRODUCT, "dialect": "esthesis"})
    policy = {"registration": "OPEN_WITH_SECRET", "registration_secret": SECRET, "pushed_tags": True}
    assert (
        operator.call("POST", f"/api/v1/products/{PRODUCT}/policy", policy | {"claims_count": True}).status_code == 200
    )
    operator.publish(PATH, IMAGE)
    sha256 = hashlib.sha256(PACKAGE).hexdigest()
    assert operator.call("PUT", f"/api/v1/packages/files/{sha256}", data=PACKAGE).status_code == 201
    body = {"product_key": PRODUCT, "name": "fw", "version": "1.0.1", "sha256": sha256, "tags": ["a"]}
    running.package = operator.call("POST", "/api/v1/packages", body).json()
    yield running
    running.stop()


@pytest.fixture
def operator(server):
    return Operator(server.first)


def device(operator, name):
    return operator.get(f"/api/v1/devices/{PRODUCT}/{name}")


def command(operator, name, kind, **more):
    answer = operator.call("POST", f"/api/v1/devices/{PRODUCT}/{name}/esthesis-commands", {"type": kind, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def reply_of(operator, name, number):
    return operator.get(f"/api/v1/devices/{PRODUCT}/{name}/esthesis-commands/{number}")


@pytest.mark.parametrize(
    ("name", "road", "prefix"),
    [
        ("go-1", "/api/v1/register", ""),
        ("go-2", "/api/agent/v1/register", "/"),
        ("go-3", "/api/agent//v1/register", ""),
    ],
)
def test_a_life_of_the_original_octet_by_octet(server, operator, tmp_path, name, road, prefix):
    agent = GoAgent(server.first["https"] + road, server.first["ca_file"], name, tmp_path, prefix)
    status, headers, body = agent.register("a,b", "k1=v1,k2=2;INTEGER", "wrong " + SECRET)
    assert status >= 400 and b"errorMessage" in body
    status, headers, _ = agent.register("a,b", "k1=v1,k2=2;INTEGER", SECRET)
    assert status == 200 and headers["content-type"].startswith("application/json")  # 201 would be asked again

    session = agent.connect()
    assert session.answer == (0x20, b"\x00\x00")
    assert session.subscribe() == (0x90, b"\x00\x01\x00")
    session.publish("ping", "health ping=2036-11-22T02:11:35+02:00")
    session.publish(
        "telemetry",
        "health memoryTotal=25276502016l,memoryUsed=649969664l,memoryFree=24218226688l,"
        "loadAverage1=1.45d,loadAverage5=1.91d,loadAverage15=1.05d",
    )
    session.publish("metadata", "health firmware='1.0.0'")
    seen = device(operator, name)
    assert seen["claimed_version"] == "1.0.0" and seen["proven_version"] is None
    assert not seen["last_seen"].startswith("2036")  # by the server's clock
    assert seen["attributes"] == {"k1": "v1", "k2": 2} and set(seen["tags"]) == {"a", "b"}

    listing = command(operator, name, "execute", command="ls", arguments="-la /etc", wait_s=0)
    assert session.command() == f"{listing['id']} es ls -la /etc"
    session.publish("command/reply", f"{listing['id']} s total 0\nsecond line")
    assert reply_of(operator, name, listing["id"])["output"] == "total 0\nsecond line"
    reboot = command(operator, name, "reboot", asynchronous=True, wait_s=0)
    assert session.command() == f"{reboot['id']} ra"
    session.publish("command/reply", f"{reboot['id']} f exit status 1: no script")
    assert reply_of(operator, name, reboot["id"])["succeeded"] is False

    # The newest, by a command that names none; its token, and without one nothing.
    newest = command(operator, name, "firmware", wait_s=0)
    assert session.command() == f"{newest['id']} fs"
    assert agent.find("1.0.0", signed=False)[::2] == (401, b"")
    status, headers, body = agent.find("1.0.0")
    assert status == 200 and headers["content-type"].startswith("application/json")
    found = json.loads(body)
    assert found["version"] == "1.0.1" and found["type"] == "INTERNAL" and found["size"] == len(PACKAGE)
    status, headers, body = agent.download(found["downloadToken"])
    assert (status, headers["content-type"], body) == (200, "application/octet-stream", PACKAGE)
    assert "content-encoding" not in headers and hashlib.sha256(body).hexdigest() == found["sha256"]
    session.publish("command/reply", f"{newest['id']} s Firmware update initiated.")
    assert agent.download(found["downloadToken"])[0] == 410

    # A job: the release is named, and its end is what the device claims next, never "updated".
    job = operator.post("/api/v1/jobs", {"target": PATH, "product_key": PRODUCT, "devices": [name]})
    number, kind, package_id = session.command().split(" ")
    assert kind == "fs" and len(number) == len(package_id) == 24
    found = json.loads(agent.find_by_id(package_id)[2])
    assert found["id"] == package_id and agent.download(found["downloadToken"])[2] == IMAGE
    session.publish("command/reply", f"{number} s Firmware update initiated.")
    session.close()
    session = agent.connect()
    session.subscribe()  # before it says what it runs: it must not be told to install once more
    session.publish("metadata", "health firmware='1.2.0'")
    attempt = operator.get(f"/api/v1/jobs/{job['id']}")["attempts"][0]
    assert (attempt["state"], attempt["claimed_version"]) == ("claimed", "1.2.0")
    assert device(operator, name)["proven_version"] is None
    session.close()


def test_the_original_agent(server, operator, tmp_path):
    binary = os.environ.get("TRUEBOOT_TEST_ESTHESIS_AGENT")
    if not binary:
        pytest.skip("TRUEBOOT_TEST_ESTHESIS_AGENT is not set: the path of esthesis CORE's agent")
    first, name = server.first, "go-agent-1"
    (tmp_path / "version").write_text("1.0.0\n")
    script = tmp_path / "firmware.sh"
    script.write_text(f'#!/bin/sh\necho "$1 $2 $3 $4" > {tmp_path}/ran.new\nmv {tmp_path}/ran.new {tmp_path}/ran\n')
    script.chmod(0o755)
    options = {
        "hardwareId": name,
        "registrationUrl": first["https"] + "/api/agent/v1/register",
        "registrationSecret": SECRET,
        "tags": "a",
        "propertiesFile": tmp_path / "esthesis.properties",
        "securePropertiesFile": tmp_path / "secure.properties",
        "tempDir": tmp_path,
        "versionFile": tmp_path / "version",
        "versionReport": "true",
        "secureProvisioning": "true",
        "provisioningScript": script,
        "httpRetry": "1",
        "pingInterval": "1",
    }
    log = (tmp_path / "log").open("wb")
    agent = subprocess.Popen(
        [binary, *(f"--{name}={value}" for name, value in options.items())],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "SSL_CERT_FILE": first["ca_file"]},
        stdout=log,
        stderr=log,
    )
    try:
        within(lambda: device(operator, name)["claimed_version"] == "1.0.0")
        said = command(operator, name, "execute", command="/bin/echo", arguments="hello", wait_s=30)
        assert said["succeeded"] and said["output"] == "hello"
        assert command(operator, name, "ping", wait_s=30)["succeeded"]
        assert command(operator, name, "firmware", command=server.package["id"], wait_s=30)["succeeded"]
        within((tmp_path / "ran").exists)
        package = server.package
        assert (tmp_path / "ran").read_text().split() == ["1.0.0", "1.0.1", package["sha256"], str(package["size"])]
    finally:
        agent.terminate()
        agent.wait(PATIENCE_S)
        log.close()


def within(true):
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            if true():
                return
        except AssertionError:
            pass  # the server does not know the device yet
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)
