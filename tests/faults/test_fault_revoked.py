# SPDX-License-Identifier: MIT
"""A device that its operator revokes, on real interpreters: it learns it, rests over resets, and can be made a new one."""

import json
import subprocess
import sys

from trueboot.demo.world import AGENT


def verb(device, *words):
    command = [sys.executable, "-c", AGENT, *words, "--config", str(device.folder / "agent.toml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_revoked(rig, runtime):
    device = rig.device(runtime)
    device.power_on()
    rig.wait(device, "version.reported", version="1.0.0")
    if runtime == "cpython":  # which looks at its server's certificate, too
        assert rig.wait(device, "crl.fetched")["until"] > 0
    since = len(rig.events)
    rig.api.post(f"/api/v1/devices/{rig.server_info['product_key']}/{device.name}/revoke", {})
    assert rig.wait(device, "identity.revoked", since=since)["reason"] == "unspecified"
    [standing] = rig.said(device, "identity.standing", since)
    assert standing["status"] == "revoked"
    # A reset changes nothing: it knows, and calls nobody.
    device.pull_power()
    doors = rig.doors[device.name]
    visits = [door.visits for door in doors.values()]
    since = len(rig.events)
    rig.wait(device, "identity.revoked", since=since)
    assert not rig.said(device, "session.offline", since)
    device.power_off()
    assert [door.visits for door in doors.values()] == visits
    if runtime == "cpython":
        found = json.loads(verb(device, "status", "--json").stdout)
        assert found["identity"] == "revoked (unspecified)"
        assert verb(device, "forget-identity").returncode == 1
        assert verb(device, "forget-identity", "--yes").returncode == 0
        assert not list((device.folder / "state" / "keys").iterdir())
        # It begins anew, and the server waits for its operator's word.
        since = len(rig.events)
        device.power_on()
        assert rig.wait(device, "error", since=since)["code"] == "mqtt_refused"
        device.power_off()
