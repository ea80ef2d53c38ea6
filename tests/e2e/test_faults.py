# SPDX-License-Identifier: MIT
"""What goes wrong in the field, on both interpreters: each fault is named by its code, loses nothing, and is got over."""

import json
import os
import shutil
from pathlib import Path

import pytest

from trueboot import fleet
from trueboot.demo.story import micropython_lacks
from trueboot.demo.world import World, world

WAIT_S = 40


@pytest.fixture(params=["cpython", "micropython"])
def runtime(request):
    if request.param == "micropython" and micropython_lacks():
        pytest.skip(f"no MicroPython for this machine: {micropython_lacks()}")
    return request.param


@pytest.fixture
def here(tmp_path):
    with world(tmp_path) as made:
        made.start_server()
        yield made


def device_of(here: World, runtime: str):
    device = here.add_device("d", runtime)
    here.provision(device, here.make_release("1.0.0"))
    return device


def configure(device, **changes):
    file = device.folder / ("agent.toml" if device.runtime == "cpython" else "trueboot.json")
    text = file.read_text()
    if device.runtime == "cpython":
        values = {name.strip(): json.loads(value) for name, value in (line.split("=", 1) for line in text.splitlines())}
        text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in (values | changes).items())
    else:
        text = json.dumps(json.loads(text) | changes)
    file.write_text(text)


def heard(here, name, since=0, **fields):
    return here.until(lambda: here.seen("d", "device", name, since, **fields), WAIT_S)


def story(here):
    return "\n".join(json.dumps(e) for e in here.events if e["event"] not in ("telemetry", "update.progress"))[-4000:]


def test_wrong_product_secret(here, runtime):
    device = device_of(here, runtime)
    right = here.server_info["product_secret"]
    configure(device, product_secret="0" * len(right))
    device.power_on()
    assert heard(here, "error", code="mqtt_refused"), story(here)
    assert not here.seen("d", "device", "identity.registered")
    device.power_off()
    configure(device, product_secret=right)
    here.power_on_again(device)
    assert heard(here, "version.reported", version="1.0.0"), story(here)


def test_foreign_ca(here, runtime):
    device = device_of(here, runtime)
    name = "ca.pem" if runtime == "cpython" else "ca.der"
    right = (device.folder / name).read_bytes()
    (device.folder / name).write_bytes(foreign_ca(runtime))
    device.power_on()
    assert heard(here, "error", code="tls_untrusted"), story(here)
    assert not here.seen("d", "server", "device.activated")
    device.power_off()
    (device.folder / name).write_bytes(right)
    here.power_on_again(device)
    assert heard(here, "version.reported", version="1.0.0"), story(here)


def foreign_ca(runtime):
    import ssl
    import sys

    sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
    from test_cli import certificate

    pem = certificate()
    return pem if runtime == "cpython" else ssl.PEM_cert_to_DER_cert(pem.decode())


def test_unset_clock(here, runtime, monkeypatch):
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed (debian-packages.txt)")
    device = device_of(here, runtime)
    device._command[:0] = ["faketime", "-f", "@1970-01-02 00:00:00"]
    device.power_on()
    assert heard(here, "error", code="clock_unset"), story(here)
    assert not here.seen("d", "device", "identity.certificate_stored")
    device.power_off()
    del device._command[:3]
    here.power_on_again(device)
    assert heard(here, "version.reported", version="1.0.0"), story(here)


@pytest.mark.parametrize("damage", ["altered", "truncated"])
def test_image_that_is_not_the_signed_one(here, runtime, damage):
    device = device_of(here, runtime)
    device.power_on()
    assert heard(here, "version.reported", version="1.0.0"), story(here)
    release = here.make_release("1.1.0")
    here.publish(release)
    [stored] = (Path(here.server_info["state"]) / "repo" / "targets").rglob("*.app.img")
    data = bytearray(stored.read_bytes())
    data[-3] ^= 1
    stored.write_bytes(data if damage == "altered" else data[:-7])
    fleet.create_job(here.api, "1.1.0", ["d"], 0)
    if damage == "altered":
        assert here.until(lambda: here.seen("d", "server", "attempt.failed"), WAIT_S), story(here)
        assert here.seen("d", "device", "update.failed", version="1.1.0"), story(here)
        assert here.seen(None, "server", "job.halted"), story(here)
        reason = next(e["reason"] for e in here.events if e["event"] == "attempt.failed")
        assert "image" in reason
    else:
        assert here.until(lambda: here.seen("d", "device", "error"), WAIT_S), story(here)
    assert not here.seen("d", "device", "update.activated")
    device.pull_power()
    since = len(here.events)
    assert heard(here, "session.online", since), story(here)
    found = here.api.get(f"/api/v1/devices/{here.server_info['product_key']}/d")
    assert found["proven_version"] == "1.0.0"


def test_unknown_configuration_key(here, runtime):
    device = device_of(here, runtime)
    configure(device, verify_tls=False)
    device.power_on()
    here.until(lambda: "verify_tls" in device.log_file.read_text(), WAIT_S)
    words = device.log_file.read_text()
    assert "verify_tls" in words
    assert not here.seen("d", "server", "device.activated")
    if runtime == "cpython":  # a board has nobody to tell but its console, and starts again
        here.until(lambda: not device.running, WAIT_S)
        assert device.exit_code == 78
        assert "Traceback" not in words


def test_server_that_vanishes_and_comes_back(here, runtime):
    device = device_of(here, runtime)
    device.power_on()
    assert heard(here, "version.reported", version="1.0.0"), story(here)
    here.restart_server()
    since = len(here.events)
    assert heard(here, "session.online", since), story(here)
    here.publish(here.make_release("1.1.0"))
    fleet.create_job(here.api, "1.1.0", ["d"], 0)
    assert here.until(lambda: here.seen(None, "server", "job.done", since), WAIT_S), story(here)


def test_environment_never_weakens_tls(here, runtime, monkeypatch):
    """Proxies and CA bundles of the environment have no say."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setattr("trueboot.demo.supervisor.device_environment", lambda: dict(os.environ))
    device = device_of(here, runtime)
    device.power_on()
    assert heard(here, "version.reported", version="1.0.0"), story(here)
