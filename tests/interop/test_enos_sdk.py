# SPDX-License-Identifier: MIT
"""The unmodified EnOS Python SDK against our server: over TLS with a certificate, and without TLS by its secret alone.

Its faults that matter here (enos-decada, 12): `connect` without a callback may wait ten seconds for nothing; a refused
CONNECT is told to nobody and tried for ever; it needs ids to be texts and codes to be numbers, and writes codes as texts.
"""

import sys
from pathlib import Path

import pytest
from enos_sdk import NotInstalled, SdkDevice, installed

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server"))
from server_client import Operator, ServerProcess  # noqa: E402

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
