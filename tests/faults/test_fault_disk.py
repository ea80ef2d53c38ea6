# SPDX-License-Identifier: MIT
"""A disk that fails now and then, under a real agent and under the server (libfiu): it ends well or says why, nothing is
lost, and all is well when the fault has gone."""

import shutil
import time

import pytest
from rig import PATIENCE_S, Rig

from trueboot.problem import Problem

ONCE_IN = 0.15
FAULTS = {
    "fsync EIO": ("posix/io/sync/fsync", ONCE_IN, 5),
    "rename EIO": ("posix/io/dir/rename", ONCE_IN, 5),
    "pwrite ENOSPC": ("posix/io/rw/pwrite", ONCE_IN, 28),
}


@pytest.fixture(autouse=True)
def fiu():
    if shutil.which("fiu-run") is None:
        pytest.skip("fiu-run is not installed (debian-packages.txt)")


def failing(name):
    point, probability, errno = FAULTS[name]
    said = "enable_random name=%s,probability=%s,failinfo=%d" % (point, probability, errno)
    return ["fiu-run", "-x", "-f", "", "-c", said]


@pytest.mark.parametrize("fault", FAULTS)
def test_an_update_on_a_failing_disk(rig, fault):
    device = rig.device("cpython")
    device.power_on()
    rig.wait(device, "version.reported")
    device.power_off()
    plain = list(device._command)
    device._command[:0] = failing(fault)
    since = len(rig.events)
    device._wanted = True
    device.power_on()
    release = rig.release(rig.next_version())
    rig.deploy(release, device)
    ends = ("attempt.updated", "attempt.failed", "attempt.rolled_back", "attempt.refused")
    rig.until(lambda: any(rig.seen(device.name, "server", end, since) for end in ends), 12)
    told = [e for e in rig.events[since:] if e["device"] == device.name and e["event"] in ends[1:]]
    assert all(event["reason"] for event in told), told
    device.power_off()
    device._command[:] = plain
    since = len(rig.events)
    device.power_on()
    rig.wait(device, "session.online", since=since)
    if not told:  # it goes on where it was
        assert rig.until(lambda: any(rig.seen(device.name, "server", end) for end in ends), PATIENCE_S), rig.told(
            device
        )
    last = rig.release(rig.next_version())
    rig.deploy(last, device)
    rig.wait(device, "version.reported", version=last.version)
    assert rig.stored(device)["proven_version"] == last.version
    assert "Traceback" not in device.log_file.read_text(), rig.told(device)


@pytest.mark.parametrize("fault", ["fsync EIO", "rename EIO", "pwrite ENOSPC"])
def test_a_server_on_a_failing_disk(tmp_path, fault, monkeypatch):
    """What it acknowledged it has, after the fault and a restart; what it could not keep it refused with a reason."""
    from trueboot.demo import world

    here = Rig(tmp_path)
    try:
        here.start_server()
        here.factory = here.release("1.0.0")
        here.kill_server()
        popen = world.subprocess.Popen
        with monkeypatch.context() as patch:
            patch.setattr(world.subprocess, "Popen", lambda command, **how: popen(failing(fault) + command, **how))
            started = attempt(here.start_server_again)
        acknowledged = []
        if started:
            for number in range(1, 6):
                version = f"1.{number}.0"
                if attempt(lambda version=version: here.release(version)):
                    acknowledged.append(version)
            here.kill_server()
        here.start_server_again()
        known = {one["version"] for one in here.api.get("/api/v1/releases")["releases"]}
        assert {"1.0.0", *acknowledged} <= known
        here.release("2.0.0")
        log = (here.folder / "server.log").read_text()
        assert "Traceback" not in log, log[-3000:]
    finally:
        here.stop()


def attempt(act):
    """True when it was acknowledged; a refusal must say why."""
    try:
        act()
    except Problem as problem:
        assert problem.lines()[0]
        time.sleep(0.05)
        return False
    return True
