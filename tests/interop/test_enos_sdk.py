# SPDX-License-Identifier: MIT
"""The unmodified EnOS Python SDK against our server: over TLS with a certificate, and without TLS by its secret alone.

Its faults that matter here (enos-decada, 12): `connect` without a callback may wait ten seconds for nothing; a refused
CONNECT is told to nobody and tried for ever; it needs ids to be texts and codes to be numbers, and writes codes as texts.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from enos_sdk import NotInstalled, SdkDevice, installed

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server"))
from server_client import Device, Operator, ServerProcess  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
IMAGE = b"an image of somebody else's device" * 50
TARGET = "app/sim/2.0.0/app.img"


@pytest.fixture(scope="module")
def sdk_python():
    try:
        return installed()
    except NotInstalled as why:
        pytest.skip(str(why))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerProcess(tmp_path_factory.mktemp("server") / "state", "--plain-mqtt-port", "0")
    Operator(running.first).publish(TARGET, IMAGE)
    yield running
    assert running.stop() == 0


@pytest.fixture
def operator(server):
    return Operator(server.first)


@pytest.fixture
def new_sdk(sdk_python):
    made = []

    def make():
        made.append(SdkDevice(sdk_python))
        return made[-1]

    yield make
    for device in made:
        device.stop()


@pytest.fixture
def passwords(server, operator):
    """The product lets a device in by its secret alone, and counts what it claims, as EnOS does."""
    policy = f"/api/v1/products/{server.first['product_key']}/policy"
    operator.post(policy, {"allow_password_login": True, "claims_count": True})
    yield
    operator.post(policy, {"allow_password_login": False, "claims_count": False})


def plain(first):
    return first["mqtt_plain"].replace("mqtt:", "tcp:")


def tls(url):
    return url.replace("mqtts:", "ssl:")


def activated(sdk, first, url, device_key):
    sdk.tell("activate", url, first["product_key"], first["product_secret"], device_key, first["ca_file"])
    secret = sdk.hear("activated")["secret"]
    sdk.stop()
    return secret


def connected(sdk, first, url, device_key, secret, *identity):
    sdk.tell("connect", url, first["product_key"], device_key, secret, first["ca_file"], *identity)
    sdk.hear("connected")
    return sdk


def test_the_pages_example(server, operator, passwords, sdk_python):
    page = (ROOT / "docs" / "enos-devices.md").read_text()
    [example] = [block for block in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S) if "from enos" in block]
    first, secret = server.first, operator.post("/api/v1/devices", {"device_key": "page"})["device_secret"]
    for url in (plain(first), tls(first["mqtt_activate"])):
        names = {"URL": url, "PRODUCT_KEY": first["product_key"], "DEVICE_KEY": "page", "DEVICE_SECRET": secret}
        names["CA_FILE"] = first["ca_file"]
        code = "\n".join([*(f"{name} = {value!r}" for name, value in names.items()), example])
        process = subprocess.Popen(
            [sdk_python, "-I", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            assert "200\n" in iter(process.stdout.readline, "")
        finally:
            process.kill()
            process.communicate()
    assert operator.device("page")["claimed_version"] == "1.0.0"


def test_its_whole_life_without_tls(server, operator, passwords, new_sdk):
    first = server.first
    secret = activated(new_sdk(), first, plain(first), "sdk-1")
    sdk = connected(new_sdk(), first, plain(first), "sdk-1", secret)
    sdk.tell("handle_upgrades", "35", "70", "100")
    assert sdk.ask("inform", 1.0)["code"] == 200  # a number, as in its sample
    assert operator.device("sdk-1")["claimed_version"] == "1.0"

    job = operator.post("/api/v1/jobs", {"target": TARGET, "devices": ["sdk-1"]})
    told = sdk.hear("upgrade")  # it never subscribed to that
    assert told["version"] == "2.0.0" and told["size"] == len(IMAGE)
    assert [sdk.hear("progress")["code"] for _ in range(3)] == [200] * 3
    assert sdk.hear("inform")["code"] == 200
    done = operator.get(f"/api/v1/jobs/{job['id']}")
    assert (done["state"], done["attempts"][0]["state"]) == ("done", "claimed")
    assert done["attempts"][0]["proven"] is False and operator.device("sdk-1")["proven_version"] is None


def test_it_reports_asks_and_is_commanded(server, operator, passwords, new_sdk):
    first = server.first
    secret = operator.post("/api/v1/devices", {"device_key": "sdk-2"})["device_secret"]
    sdk = connected(new_sdk(), first, plain(first), "sdk-2", secret)
    assert sdk.ask("post", {"temperature": 20.5, "power": {"value": 1.0, "quality": 9}})["code"] == 200
    assert sdk.ask("post_batch", [[{"temperature": 21}, 1573061486173], [{"b": 1}, 1573061486174]])["code"] == 200
    assert sdk.ask("resume", {"temperature": 1}, 1573061486000)["code"] == 200
    assert sdk.ask("resume_batch", [[{"c": 1}, None]])["code"] == 200
    assert sdk.ask("event", "Error", {"temp": 120.0, "desc": "temp too high"})["code"] == 200  # its method is broken
    assert operator.wait_for("device.event", device_key="sdk-2")["outputs"]["temp"] == 120.0
    shown = operator.device("sdk-2")
    assert {name: point["value"] for name, point in shown["telemetry"].items()} == {
        "temperature": 21, "power": {"value": 1.0, "quality": 9}, "b": 1, "c": 1,
    }  # fmt: skip

    assert sdk.ask("attributes", "update", {"attribute1": 4, "attribute2": [1]})["code"] == 200
    road = f"/api/v1/devices/{first['product_key']}/sdk-2/attributes"
    operator.post(road, {"attributes": {"by": "operator"}, "tags": {"site": "north"}})
    assert sdk.ask("attributes", "query", [])["data"] == {"attribute1": 4, "attribute2": [1], "by": "operator"}
    assert sdk.ask("attributes", "delete", ["attribute2", "by"])["code"] == 200
    assert sdk.ask("tags", "update", {"tag1": 30})["code"] == 200
    assert sdk.ask("tags", "query", ["tag1", "site"])["data"] == {"tag1": "30", "site": "north"}
    assert sdk.ask("tags", "delete", ["site"])["code"] == 200
    assert operator.get(road) == {"attributes": {"attribute1": 4}, "tags": {"tag1": "30"}}
    assert sdk.ask("template")["data"]["tslServiceMap"] == {}
    assert sdk.ask("raw", "01000000140100040000")["payload"] == ""

    sdk.tell("handle_services")
    sdk.tell("handle_points")
    assert sdk.ask("getversion")["data"] == []  # and so it has taken the two lines before

    def command(service, params):
        body = {"service": service, "params": params, "timeout_s": 30}
        return operator.post(f"/api/v1/devices/{first['product_key']}/sdk-2/commands", body)

    assert command("multiply", {"left": 6, "right": 7}) == {"code": 200, "data": {"result": 42}, "message": ""}
    assert command("unknown", {})["code"] == 2220
    assert command("multiply", {})["code"] == 500  # its handler failed; it writes the code as a text
    assert command("measurepoint/set", {"temperature": 19})["code"] == 200
    assert sdk.hear("set")["params"] == {"temperature": 19}
    assert command("measurepoint/get", {}) == {"code": 200, "data": {"temperature": 21}, "message": ""}


def test_over_tls_with_a_certificate_it_asks_and_fails_honestly(server, operator, new_sdk, tmp_path):
    """The product requires certificates: activation is over TLS, and a device that ignores a push says so with a text."""
    first = server.first
    device = Device(first, "sdk-3", tmp_path)
    device.device_secret = activated(new_sdk(), first, tls(first["mqtt_activate"]), "sdk-3")
    device.enrol()
    sdk = connected(new_sdk(), first, tls(first["mqtt"]), "sdk-3", device.device_secret, *device.identity)
    assert sdk.ask("inform", "1.0.0")["code"] == 200

    ignored = operator.post("/api/v1/jobs", {"target": TARGET, "devices": ["sdk-3"]})
    operator.wait_for("attempt.failed", job=ignored["id"])
    [attempt] = operator.get(f"/api/v1/jobs/{ignored['id']}")["attempts"]
    assert attempt["reason"] == "the device answered the push with 1101"  # no handler was registered

    sdk.tell("handle_upgrades", "35", "-2")
    assert sdk.ask("getversion")["data"] == []
    failed = operator.post("/api/v1/jobs", {"target": TARGET, "devices": ["sdk-3"]})
    assert sdk.hear("upgrade")["url"].startswith(first["https"] + "/repo/targets/")
    operator.wait_for("attempt.failed", job=failed["id"], step=-2)

    assert operator.device("sdk-3")["claimed_version"] == "1.0.0"


def test_a_wrong_secret_and_a_strangers_certificate_are_refused(server, operator, new_sdk, tmp_path):
    """The SDK tells nobody and tries again: it is the server that says so."""
    first = server.first
    secret = operator.post("/api/v1/devices", {"device_key": "sdk-4"})["device_secret"]
    stranger = Device(first, "sdk-stranger", tmp_path)
    assert stranger.activate() == 0
    stranger.enrol()
    doors = [(plain(first), "0" * 32, (), 4, "wrong secret")]
    doors += [(tls(first["mqtt"]), secret, stranger.identity, 5, "the certificate is another device's")]
    for url, word, identity, code, why in doors:
        sdk = new_sdk()
        sdk.tell("connect", url, first["product_key"], "sdk-4", word, first["ca_file"], *identity)
        assert sdk.hear("refused")["text"] == f"bad connection, error code: {code}"
        assert why in server.log()
        sdk.stop()
    assert operator.device("sdk-4")["online"] is False and operator.device("sdk-4")["last_seen"] is None
