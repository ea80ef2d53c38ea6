# SPDX-License-Identifier: MIT
"""The server is killed (-9) in the middle of updates, and started again on other ports: nobody loses anything.

And what `trueboot server --dev --state DIR --port 0 --mqtt-port 0 --json` promises in its first line.
"""

import json
import os
import stat
from pathlib import Path

import pytest
from rig import RUNTIMES, Rig

from trueboot.demo import expect
from trueboot.demo.story import micropython_lacks

PROMISED = "https mqtt mqtt_activate ca_file org_id product_key product_secret access_key secret_key".split()
PROMISED += "registration_secret admin_token root_file keys_dir state pid".split()
LASTING = [name for name in PROMISED if name not in ("https", "mqtt", "mqtt_activate", "pid")]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A server of this file's own, to be killed."""
    made = Rig(tmp_path_factory.mktemp("killed"))
    try:
        made.start_server()
        made.factory = made.release("1.0.0")
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize("moment", ["update.offered", "update.progress", "update.activated", "update.trial"])
def test_server_killed_in_the_middle_of_an_update(own, moment):
    """All devices at once; the server dies when the first of them comes to this moment."""
    runtimes = [one for one in RUNTIMES if one == "cpython" or not micropython_lacks()]
    devices = [own.device(one) for one in runtimes]
    before = dict(own.server_info)
    for device in devices:
        device.power_on()
    for device in devices:
        own.wait(device, "version.reported")
    release = own.release(own.next_version())
    since = len(own.events)
    own.deploy(release, *devices)
    assert own.until(lambda: any(own.said(device, moment, since) for device in devices), 30)
    own.kill_server()
    own.until(lambda: all(own.said(d, "session.offline", since) or not d.running for d in devices), 3)
    own.start_server_again()
    for device in devices:
        own.wait(device, "report.accepted", since=since, timeout_s=60, outcome="updated")
        stored = own.stored(device)
        assert (stored["proven_version"], stored["image"]) == (release.version, release.sha256)
        assert expect.lies(own.events[since:], device.name, (release.version,)) == []
    job = next(one for one in own.api.get("/api/v1/jobs")["jobs"] if one["version"] == release.version)
    assert job["state"] == "done"
    assert {name: before[name] for name in LASTING} == {name: own.server_info[name] for name in LASTING}
    own.retire(*devices)


def test_acknowledged_report_survives_the_kill(own, runtime):
    device = own.device(runtime)
    device.power_on()
    own.wait(device, "version.reported")
    release = own.release(own.next_version())
    own.deploy(release, device)
    own.wait(device, "report.accepted", outcome="updated")
    own.kill_server()
    own.start_server_again()
    stored = own.stored(device)
    assert (stored["proven_version"], stored["image"]) == (release.version, release.sha256)
    assert stored["last_report"]["outcome"] == "updated"
    own.retire(device)


def test_first_line_of_the_server(own):
    info = own.server_info
    assert set(PROMISED) <= set(info)
    for name, scheme in (("https", "https://"), ("mqtt", "mqtts://"), ("mqtt_activate", "mqtts://")):
        assert info[name].startswith(scheme + "127.0.0.1:")
    assert len({info[name].rpartition(":")[2] for name in ("https", "mqtt", "mqtt_activate")}) == 3
    assert Path(info["ca_file"]).read_text().startswith("-----BEGIN CERTIFICATE-----")
    assert json.loads(Path(info["root_file"]).read_text())["signed"]["_type"] == "root"
    operator = Path(info["state"]) / "operator.json"
    assert json.loads(operator.read_text()) == info
    assert info["pid"] == own._server.pid
    assert all(isinstance(info[name], str) and info[name] for name in PROMISED if name != "pid")


def test_what_the_server_keeps_is_its_own(own):
    state = Path(own.server_info["state"])
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    for path in state.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o077 == 0 or path.suffix == ".pem", f"{path} {mode:o}"
    for path in [*(state / "private").glob("*key*"), *(state / "dev-keys").glob("*.pem"), state / "operator.json"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_sigterm_ends_the_server_well_and_nothing_is_left_broken(own):
    process, own._server = own._server, None
    process.terminate()
    assert process.wait(20) == 0
    own._end_listener()
    assert not list(Path(own.server_info["state"]).rglob("*.tmp"))
    own.start_server_again()
    assert own.api.get("/healthz")
    assert os.path.exists(own.server_info["ca_file"])
