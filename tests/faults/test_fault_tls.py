# SPDX-License-Identifier: MIT
"""TLS is verified whatever the environment says, on both interpreters and by the host's tools, and no proxy is asked."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from door import DAY, Authority, Impostor
from rig import environment

ROOT = Path(__file__).resolve().parents[2]
WEAKER = re.compile(
    r"CERT_NONE|CERT_OPTIONAL|check_hostname\s*=\s*False|verify\s*=\s*False|_create_unverified|"
    r"verify_mode\s*=\s*(?!.*CERT_REQUIRED)|disable_warnings|trust_env\s*=\s*True|VERIFY_NONE"
)


class Proxy(Impostor):
    """A proxy that somebody put into the environment: nobody may come."""

    def __init__(self):
        self.heard = bytearray()

    def __call__(self, connection):
        self.heard += connection.recv(65536)


@pytest.fixture
def trap(rig, tmp_path):
    """(a foreign CA's impostor, an environment that would have it believed and everything sent through a proxy)."""
    from door import Door

    foreign = Authority()
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(foreign.pem())
    proxy, door = Proxy(), Door(rig.server_info["https"])
    door.behave(proxy)
    at = door.url.replace("https", "http")
    names = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
    hostile = dict.fromkeys(("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE"), str(bundle))
    hostile |= dict.fromkeys(names, at)
    hostile |= {
        "SSL_CERT_DIR": str(tmp_path),
        "PYTHONHTTPSVERIFY": "0",
        "NODE_TLS_REJECT_UNAUTHORIZED": "0",
        "NO_PROXY": "",
        "no_proxy": "",
        "NETRC": str(tmp_path / "netrc"),
        "TRUEBOOT_INSECURE": "1",
        "TRUEBOOT_VERIFY": "0",
        "MICROPYPATH": str(tmp_path),
        "HOME": str(tmp_path),
    }
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login thief password thief\n")
    yield Impostor(foreign.server(tmp_path, start=-DAY, end=DAY)), hostile, proxy, door
    door.close()


@pytest.mark.parametrize("way", ["mqtt_activate", "https", "mqtt"])
def test_a_device_believes_its_own_ca_only(rig, runtime, trap, way):
    impostor, hostile, proxy, proxy_door = trap
    device = rig.device(runtime, wrap=environment(**hostile))
    door = rig.doors[device.name][way]
    door.behave(impostor)
    device.power_on()
    refused = rig.wait(device, "session.offline" if way == "mqtt" else "error")
    assert refused["code"] == "tls_untrusted", refused
    assert bytes(impostor.heard) == b""
    door.behave(None)
    device.pull_power()
    rig.wait(device, "version.reported")
    assert proxy_door.visits == 0
    assert bytes(proxy.heard) == b""


def test_an_update_goes_past_bundle_and_proxy(rig, runtime, trap):
    _, hostile, _, proxy_door = trap
    device = rig.device(runtime, wrap=environment(**hostile))
    release = rig.release(rig.next_version())
    device.power_on()
    rig.wait(device, "version.reported")
    rig.deploy(release, device)
    rig.wait(device, "attempt.updated", "server")
    assert proxy_door.visits == 0


def test_the_hosts_tool_believes_its_own_ca_only(rig, trap):
    impostor, hostile, _, proxy_door = trap
    command = [sys.executable, "-m", "trueboot", "device", "ls", "--state", rig.server_info["state"]]
    more = {
        "env": {**os.environ, **hostile, "HOME": os.environ.get("HOME", "/")},
        "capture_output": True,
        "timeout": 30,
    }
    assert subprocess.run(command, **more).returncode == 0
    device = rig.device("cpython")
    door = rig.doors[device.name]["https"]
    door.behave(impostor)
    done = subprocess.run([*command, "--server", door.url], **more)
    assert done.returncode == 69, done
    assert rig.server_info["admin_token"].encode() not in bytes(impostor.heard)
    assert bytes(impostor.heard) == b""
    assert proxy_door.visits == 0


def test_no_source_weakens_tls():
    """Server contexts ask devices for certificates or do not; whoever dials, verifies."""
    allowed = {"tools/trueboot_server/tls.py", "tools/trueboot_server/app.py"}
    found = []
    for folder in ("agent", "platform_adapters", "micropython", "tools"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
                code = line.split("#")[0]
                if WEAKER.search(code) and name not in allowed and '"""' not in code and "module `ssl`" not in code:
                    found.append(f"{name}:{number}: {line.strip()}")
    assert [line for line in found if "would begin with CERT_NONE" not in line] == []


def test_no_configuration_key_speaks_of_verification():
    from agent.config import KEYS

    words = ("verify", "insecure", "tls", "ssl", "trust", "check", "plain", "skip")
    assert [key for key in KEYS if any(word in key for word in words)] == []
    assert json.dumps(sorted(KEYS))
