# SPDX-License-Identifier: MIT
"""Each of examples/ lives at the real server: it enrols, tells its telemetry, and is updated over the air.

Those for boards run on the real MicroPython, with their own class of platform; played are `machine` and `network`
(stand_in/).  That of the TPM has one in software.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "faults"), str(TESTS / "server")]

from rig import Rig, configuration, configure  # noqa: E402

from trueboot import images, provision, releases  # noqa: E402
from trueboot.demo import swtpm  # noqa: E402
from trueboot.demo.story import micropython_lacks  # noqa: E402
from trueboot.demo.world import HARDWARE  # noqa: E402

EXAMPLES = TESTS.parent / "examples"
STAND_IN = Path(__file__).parent / "stand_in"


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    made = Rig(tmp_path_factory.mktemp("examples"))
    try:
        made.start_server()
        yield made
    finally:
        made.stop()


def files_of(name):
    return {
        path.relative_to(EXAMPLES / name).as_posix(): path.read_bytes()
        for path in sorted((EXAMPLES / name).rglob("*"))
        if path.is_file() and path.suffix == ".py"
    }


def place(rig, example, runtime, **config):
    """The example's device, provisioned and off."""
    if runtime == "micropython" and (lacking := micropython_lacks()):
        pytest.skip(f"no MicroPython for this machine: {lacking}")
    device = rig.add_device(f"{example}-{runtime}".replace("_", "-"), runtime)
    factory = releases.Release("app", HARDWARE, "1.0.0", images.build(files_of(example)))
    secret = {"device_secret": provision.register(rig.api, device.name)}
    provision.write(device.folder, rig.server_info, device.name, runtime, factory, secret)
    if config:
        configure(device, **config)
    if runtime == "micropython":
        lib = device.folder / "lib"
        shutil.copytree(STAND_IN, lib)
        for path, data in rig.agent_for_boards().items():
            (lib / path).parent.mkdir(parents=True, exist_ok=True)
            (lib / path).write_bytes(data)
        networks = {"networks": [{"ssid": "elsewhere", "password": "hush-hush"}, {"ssid": "bench"}]}
        (device.folder / "wifi.json").write_text(json.dumps(networks))
    return device


def update(rig, device, example, version):
    """Over the air, to an image that differs in a comment."""
    files = files_of(example)
    files["main.py"] += b"# %s\n" % version.encode()
    release = releases.Release("app", HARDWARE, version, images.build(files))
    since = len(rig.events)
    rig.publish(release)
    rig.deploy(release, device)
    rig.wait(device, "attempt.updated", "server", since)
    rig.wait(device, "version.reported", since=since, version=version)


def command(rig, device, name, **args):
    path = f"/api/v1/devices/{rig.server_info['product_key']}/{device.name}/commands"
    return rig.asked(path, {"service": name, "params": args, "timeout_s": 20})


@pytest.fixture(autouse=True)
def asked(rig, monkeypatch):
    """A request that is answered only while devices are looked after."""
    import threading

    def ask(path, body):
        found = []
        api = rig.new_api()
        thread = threading.Thread(target=lambda: found.append(api.post(path, body)["data"]), daemon=True)
        thread.start()
        assert rig.until(lambda: found, 30)
        api.close()
        return found[0]

    monkeypatch.setattr(rig, "asked", ask, raising=False)
    yield
    for device in list(rig.devices):
        device.power_off()
        rig.devices.remove(device)


def telemetry(rig, device, name, since=0):
    """The value of this measure point, once it has come."""

    def come():
        told = (e["points"] for e in rig.events[since:] if e["event"] == "telemetry" and e["device"] == device.name)
        return [points for points in told if name in points]

    assert rig.until(come, 30), rig.told(device)
    return come()[-1][name]


def test_esp32_sensor(rig):
    device = place(rig, "esp32_sensor", "micropython", trial_timeout_ms=3000)
    device.power_on()
    assert telemetry(rig, device, "temperature") == 121.5
    assert rig.seen(device.name, "demo", "device.said", text="wifi: bench: joined")
    assert command(rig, device, "relay", on=True) == {"on": True}
    update(rig, device, "esp32_sensor", "1.1.0")
    # One whose sensor is read from the wrong pin, or in the wrong unit, goes back by itself.
    files = files_of("esp32_sensor")
    files["main.py"] = files["main.py"].replace(b"// 1000", b"")
    release = releases.Release("app", HARDWARE, "1.1.1", images.build(files))
    since = len(rig.events)
    rig.publish(release)
    rig.deploy(release, device)
    ended = rig.wait(device, "attempt.rolled_back", "server", since)
    assert "temperature" in json.dumps(ended)


def test_pico_w(rig):
    device = place(rig, "pico_w", "micropython")
    device.power_on()
    assert round(telemetry(rig, device, "inside")) == 27
    assert command(rig, device, "blink") == {"led": 1}
    update(rig, device, "pico_w", "1.2.0")


def test_deep_sleep(rig):
    device = place(rig, "deep_sleep", "micropython")
    device.power_on()
    assert telemetry(rig, device, "volts") == 3.43
    rig.wait(device, "device.said", "demo", text="asleep for 900000 ms")
    since = len(rig.events)
    telemetry(rig, device, "volts", since)  # awake again, and not by a new enrolment
    assert not rig.seen(device.name, "device", "identity.key_made", since)
    update(rig, device, "deep_sleep", "1.3.0")
    since = len(rig.events)
    rig.wait(device, "device.said", "demo", since, text="asleep for 900000 ms")


@pytest.mark.parametrize("runtime", ["cpython", "micropython"])
def test_asyncio_app(rig, runtime):
    device = place(rig, "asyncio_app", runtime)
    device.power_on()
    telemetry(rig, device, "temperature")
    assert command(rig, device, "pump", seconds=3) == {"pumping": 3}
    if runtime == "micropython":  # an update is the same there, and others show it
        return
    update(rig, device, "asyncio_app", "1.4.0")
    assert telemetry(rig, device, "pumped") == 1
    told = [e for e in rig.events if e["device"] == device.name and e["source"] == "device"]
    assert any(e["event"] == "update.waiting" and "pumping" in e["for"] for e in told)


def test_raspberry_pi_tpm(rig, tmp_path):
    if lacking := swtpm.lacks():
        pytest.skip(f"no TPM in software: {lacking}")
    chip = swtpm.Swtpm(tmp_path / "chip").start()
    try:
        device = place(rig, "raspberry_pi_tpm", "cpython", keys="tpm", tpm=chip.tcti)
        device.power_on()
        assert telemetry(rig, device, "load") >= 0
        assert list((device.folder / "state/keys").glob("*.tpm")) and not list(device.folder.rglob("*.pem.key"))
        update(rig, device, "raspberry_pi_tpm", "1.5.0")
        assert configuration(device).read_text().count("tpm")
    finally:
        chip.stop()


def test_every_example_is_run_here():
    text = Path(__file__).read_text()
    for folder in EXAMPLES.iterdir():
        if folder.is_dir():
            assert f"def test_{folder.name}(" in text, folder.name
            main = (folder / "main.py").read_text()
            assert len(main.splitlines()) <= 70 and main.startswith("# SPDX"), "small and readable"


def test_every_event_that_was_logged_is_documented(rig):
    """The reference is made from the sources; this is what really came."""
    page = (TESTS.parent / "docs/reference/events.md").read_text("utf-8")
    agent, server = page.split("\n## The server\n")
    for event in rig.events:
        part = {"device": agent, "server": server}.get(event["source"])
        assert part is None or f"| `{event['event']}` |" in part, event
