# SPDX-License-Identifier: MIT
"""`trueboot-agent run --config FILE` and `trueboot-agent status --json`: what other tools rely on."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rig import configuration

from trueboot.demo.supervisor import device_environment

PROGRAM = Path(sys.executable).with_name("trueboot-agent")
KEYS = {"key", "running", "pid", "slot", "confirmed", "trial", "failure", "identity", "release", "freshness", "journal"}
TIMEOUT_S = 20


@pytest.fixture(scope="module", autouse=True)
def program():
    assert PROGRAM.exists(), "the console script is not installed: make install"


def status(device, *more, cwd="/", **environment):
    command = [PROGRAM, "status", "--json", *more]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=cwd, env=device_environment() | environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert set(found) == KEYS
    return found


def test_status_before_during_and_after(rig):
    device = rig.device("cpython")
    config = str(configuration(device))
    before = status(device, "--config", config)
    assert (before["running"], before["pid"], before["slot"], before["confirmed"]) == (False, None, "a", True)
    assert before["release"]["version"] == "1.0.0"
    assert before["journal"] == {}
    device.power_on()
    rig.wait(device, "version.reported")
    during = status(device, TRUEBOOT_CONFIG=config)
    assert (during["running"], during["pid"]) == (True, device._process.pid)
    assert during["journal"]["identity"]["phase"] == "enrolled"
    assert during["journal"]["update"]["version"] == "1.0.0"
    device.power_off()
    after = status(device, "--config", os.path.relpath(config, device.folder), cwd=device.folder)
    assert after["running"] is False
    assert after["journal"]["boot"] == 1


def test_status_tells_the_slot_after_an_update(rig):
    device = rig.device("cpython")
    device.power_on()
    rig.wait(device, "version.reported")
    release = rig.release(rig.next_version())
    rig.deploy(release, device)
    rig.wait(device, "attempt.updated", "server")
    found = status(device, "--config", str(configuration(device)))
    assert (found["slot"], found["confirmed"], found["trial"], found["failure"]) == ("b", True, None, "")
    assert (found["release"]["version"], found["release"]["sha256"]) == (release.version, release.sha256)


def test_run_tells_one_json_object_a_line(rig):
    device = rig.device("cpython")
    device._command[:] = [str(PROGRAM), "run", "--config", str(configuration(device))]
    device.power_on()
    rig.wait(device, "version.reported")
    said = [e for e in rig.events if e["device"] == device.name and e["source"] in ("device", "demo")]
    assert [e["event"] for e in said if e["source"] == "demo"] == ["power.on"]  # nothing that was no JSON
    assert all(isinstance(e["t"], int) for e in said if e["source"] == "device")
    assert [e["event"] for e in said[1:4]] == ["boot", "identity.registered", "identity.key_made"]


def test_without_exit_on_reset_it_is_the_same_process_after_an_update(rig):
    device = rig.device("cpython")
    device._command[:] = [str(PROGRAM), "run", "--config", str(configuration(device))]
    device.power_on()
    rig.wait(device, "version.reported")
    process = device._process
    release = rig.release(rig.next_version())
    rig.deploy(release, device)
    rig.wait(device, "attempt.updated", "server")
    assert device._process is process
    assert device.starts == 1
    assert [e["cause"] for e in rig.said(device, "boot")] == ["unknown", "reset"]


def test_a_supervisor_that_stops_it_gets_the_signal_and_no_trace_stays(rig):
    device = rig.device("cpython")
    device.power_on()
    rig.wait(device, "version.reported")
    device._wanted = False
    started = time.monotonic()
    device._process.terminate()
    assert rig.wait_off(device) == -15
    assert time.monotonic() - started < 5
    assert status(device, "--config", str(configuration(device)))["running"] is False
    assert device.log_file.read_text() == ""


def test_bare_words():
    for words, code in (([], 2), (["fly"], 2), (["run", "--nonsense"], 2), (["--version"], 0)):
        done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=TIMEOUT_S, env={"PATH": ""})
        assert done.returncode == code, words
    assert done.stdout.startswith("trueboot-agent ")
    done = subprocess.run([PROGRAM, "run"], capture_output=True, text=True, timeout=TIMEOUT_S, env={"PATH": ""})
    assert done.returncode == 78
    assert "--config FILE" in done.stderr
