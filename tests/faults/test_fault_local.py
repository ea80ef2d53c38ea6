# SPDX-License-Identifier: MIT
"""Faults of a machine's own: a misspelt key, a folder that is not writable, a port in use, a second agent.  One line, one code."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rig import configuration, configure, journal, without_privilege

from trueboot.demo.world import AGENT

CONFIG, LOCKED, UNAVAILABLE, CANNOT_CREATE = 78, 75, 69, 73
TIMEOUT_S = 20


def run(command, cwd, **more):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S, **more)
    return done.returncode, done.stdout, done.stderr


def agent(*arguments):
    return [sys.executable, "-c", AGENT, *map(str, arguments)]


def one_line(text):
    lines = text.splitlines()
    assert len(lines) == 1, text
    return lines[0]


# Configuration

WRONG = {
    "verify": (False, "unknown key verify"),
    "insecure": (True, "unknown key insecure"),
    "tls_verify": ("no", "unknown key tls_verify"),
    "conset_download": ("ask", "unknown key conset_download"),
    "keepalive_s": (5, "keepalive_s must be from 10 to 300"),
    "hardware": (7, "hardware must be a text"),
    "mqtt": ("mqtt://127.0.0.1:1883", "mqtt must begin with mqtts://"),
    "https": ("http://127.0.0.1:80", "https must begin with https://"),
    "product_key": (None, "product_key is missing"),
}


@pytest.mark.parametrize("key", WRONG)
def test_wrong_configuration_on_linux_is_one_line_and_78(rig, key):
    value, words = WRONG[key]
    device = rig.device("cpython")
    configure(device, **{key: value})
    code, said, line = run(agent("run", "--config", configuration(device)), device.folder)
    assert (code, said) == (CONFIG, "")
    assert words in one_line(line)


@pytest.mark.parametrize("key", ["verify", "mqtt", "product_key"])
def test_wrong_configuration_on_a_board_is_one_line(rig, key):
    """A board has no exit codes: it says what is wrong and starts again, slowly enough for a tool to get in."""
    value, words = WRONG[key]
    device = rig.device("micropython")
    configure(device, **{key: value})
    code, said, errors = run(device._command, device.folder)
    assert (code, said) == (3, "")
    assert words in one_line(errors)


def test_the_device_goes_on_when_its_configuration_is_right_again(rig, runtime):
    device = rig.device(runtime)
    device.power_on()
    rig.wait(device, "version.reported")
    before = journal(device)
    device.power_off()
    configure(device, verify=False)
    run(device._command, device.folder)
    configure(device, verify=None)
    since = len(rig.events)
    device.power_on()
    rig.wait(device, "version.reported", since=since)
    assert journal(device)["seq"] > before["seq"]
    assert rig.said(device, "identity.key_made", since) == []


def test_configuration_that_is_not_there_or_not_toml(tmp_path):
    code, _, errors = run(agent("run", "--config", tmp_path / "none.toml"), tmp_path)
    assert (code, "cannot read" in one_line(errors)) == (CONFIG, True)
    file = tmp_path / "agent.toml"
    file.write_text("this is = = not TOML\n")
    code, _, errors = run(agent("run", "--config", file), tmp_path)
    assert (code, "is not TOML" in one_line(errors)) == (CONFIG, True)


# State


def test_state_folder_that_is_not_writable(rig, runtime):
    device = rig.device(runtime)
    wrap = without_privilege()
    state = device.folder / "state"
    state.chmod(0o555)
    if runtime == "cpython":
        code, said, errors = run(wrap + agent("run", "--config", configuration(device)), device.folder)
        assert (code, said) == (UNAVAILABLE, "")
        line = one_line(errors)
        assert "Permission denied" in line
        assert "change its owner, or set `state`" in line
    else:
        device._command[:0] = wrap
        device.power_on()
        line = rig.wait(device, "error")["detail"]
        assert "cannot write" in line
        device.power_off()
        del device._command[: len(wrap)]
    assert str(state) in line
    state.chmod(0o700)
    device.power_on()
    rig.wait(device, "version.reported")


def test_a_file_in_the_place_of_the_state_folder(rig):
    device = rig.device("cpython")
    (device.folder / "elsewhere").write_text("")
    configure(device, state="elsewhere")
    code, said, errors = run(agent("run", "--config", configuration(device)), device.folder)
    assert (code, said) == (UNAVAILABLE, "")
    assert "elsewhere" in one_line(errors)


def test_second_agent_on_the_same_state(rig):
    device = rig.device("cpython")
    device.power_on()
    rig.wait(device, "version.reported")
    pid = device._process.pid
    code, said, errors = run(agent("run", "--config", configuration(device)), device.folder)
    assert (code, said) == (LOCKED, "")
    assert f"(PID {pid})" in one_line(errors)
    assert "stop it, or give this one its own `state`" in errors
    since = len(rig.events)
    assert rig.ask(device)["app"] == "1.0.0"  # the first one has not noticed
    assert rig.said(device, "session.offline", since) == []


# The server


def server(*arguments):
    return [sys.executable, "-m", "trueboot", "server", "--dev", "--json", *map(str, arguments)]


@pytest.mark.parametrize("flag", ["--port", "--mqtt-port", "--activate-port"])
def test_servers_port_is_in_use(tmp_path, flag):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"--port": 0, "--mqtt-port": 0, "--activate-port": 0} | {flag: port}
        flat = [part for pair in ports.items() for part in pair]
        code, said, errors = run(server("--state", tmp_path / "state", *flat), tmp_path)
    assert (code, said) == (UNAVAILABLE, "")
    line = one_line(errors)
    assert f"127.0.0.1:{port}" in line
    assert "the port is in use" in line
    assert flag in line


def test_servers_state_folder_is_a_file(tmp_path):
    (tmp_path / "state").write_text("")
    code, said, errors = run(server("--state", tmp_path / "state", "--port", 0, "--mqtt-port", 0), tmp_path)
    assert (code, said) == (CANNOT_CREATE, "")
    assert "--state" in one_line(errors)


def test_second_server_on_the_same_state(rig):
    state = rig.server_info["state"]
    code, said, errors = run(server("--state", state, "--port", 0, "--mqtt-port", 0), rig.folder)
    assert (code, said) == (LOCKED, "")
    assert state in one_line(errors)
    assert json.loads((Path(state) / "operator.json").read_text()) == rig.server_info


def test_leaving(rig, runtime):
    """A device that a supervisor stops ends at once, and goes on later as if nothing had been."""
    device = rig.device(runtime)
    device.power_on()
    rig.wait(device, "version.reported")
    process = device._process
    device._wanted = False
    process.send_signal(signal.SIGTERM)
    assert rig.wait_off(device) is not None
    since = len(rig.events)
    device.power_on()
    rig.wait(device, "version.reported", since=since)
