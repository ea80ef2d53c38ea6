# SPDX-License-Identifier: MIT
"""`trueboot-agent install FILE`: a technician with a stick, a real agent and a real server that hears of it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rig import configuration, journal

from trueboot import bundles
from trueboot.demo.supervisor import device_environment

PROGRAM = Path(sys.executable).with_name("trueboot-agent")
TIMEOUT_S = 60
NOBODY = 65534


def bundle(rig, release, file, change=lambda data: data):
    """As `trueboot bundle make --repo` writes it; `change` spoils it."""
    now, image_of = bundles.from_folder(Path(rig.server_info["state"]) / "repo", None)
    data, _ = bundles.make(now, release.path, image_of)
    file.write_bytes(change(data))
    return file


def install(rig, device, file, *more, config=None):
    """(exit code, lines of standard output, the line of standard error); the world goes on meanwhile."""
    command = [PROGRAM, "install", file, "--config", config or configuration(device), *more]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=device_environment(), cwd="/")
    try:
        assert rig.until(lambda: process.poll() is not None, TIMEOUT_S, off=True), rig.told(device)
    finally:
        process.kill()
        said, error = process.communicate()
    assert error.count("\n") <= 1, error
    return process.returncode, said.splitlines(), error.removeprefix("trueboot-agent: ").rstrip()


def rollback(rig, device):
    command = [PROGRAM, "rollback", "--config", configuration(device), "--timeout", "50"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=device_environment(), cwd="/")
    try:
        assert rig.until(lambda: process.poll() is not None, TIMEOUT_S, off=True), rig.told(device)
    finally:
        process.kill()
        said, error = process.communicate()
    return process.returncode, said.splitlines(), error.removeprefix("trueboot-agent: ").rstrip()


def running(rig, **config):
    device = rig.device("cpython", config)
    device.power_on()
    rig.wait(device, "version.reported")
    return device


def test_from_the_stick_to_confirmed(rig, tmp_path):
    device = running(rig)
    release = rig.release(rig.next_version())
    code, said, error = install(rig, device, bundle(rig, release, tmp_path / "fw"), "--timeout", "50")
    assert (code, error) == (0, ""), rig.told(device)
    assert re.match(r"\S+, version %s, is trusted; handed to the agent \(PID \d+\)" % release.version, said[0])
    assert said[-1] == f"version {release.version} is confirmed"
    rig.wait(device, "version.reported", version=release.version)
    stored = rig.stored(device)
    assert (stored["proven_version"], stored["image"]) == (release.version, release.sha256)
    last = journal(device)["last"]
    assert (last["outcome"], last["version"]) == ("updated", release.version)
    found = subprocess.run(
        [PROGRAM, "status", "--config", configuration(device)], capture_output=True, text=True, env=device_environment()
    )
    assert re.search(r"^freshness +bundle$", found.stdout, re.M)
    code, said, error = install(rig, device, bundle(rig, release, tmp_path / "fw"))
    assert (code, said[-1]) == (0, f"{release.path}, version {release.version}, runs already"), error
    since = len(rig.events)
    code, said, error = rollback(rig, device)
    assert (code, said[-1]) == (0, "version 1.0.0 is confirmed"), error
    assert "version 1.0.0, ran before; handed to the agent" in said[0]
    assert rig.said(device, "update.progress", since) == [], "the image was downloaded"


def test_what_cannot_be_installed_is_told_at_once(rig, tmp_path):
    device = running(rig)
    release = rig.release(rig.next_version())
    wrong = rig.release(rig.next_version())
    swapped = wrong.image[: len(wrong.image) // 2] + b"?" + wrong.image[len(wrong.image) // 2 + 1 :]
    cases = (
        ("no_bundle", lambda data: release.image),
        ("bundle_length", lambda data: data[:-1]),
        ("bundle_length", lambda data: data + b"x"),
        ("bundle_length", lambda data: data[:1000]),
        ("bundle_format", lambda data: data.replace(b"timestamp.json", b"timestamp.txt_", 1)),
        ("image_hash", lambda data: data[: -len(wrong.image)] + swapped),
        ("metadata_", lambda data: data.replace(b'"sig":"30', b'"sig":"31', 1)),
    )
    for code, change in cases:
        status, said, error = install(rig, device, bundle(rig, wrong, tmp_path / "fw", change))
        assert (status, said) == (1, []) and error.startswith(code), (code, error)
    assert rollback(rig, device)[::2] == (1, "rollback_none: the spare slot holds no release that ran here before")
    status, said, error = install(rig, device, tmp_path / "nothing")
    assert (status, said) == (69, []) and error.startswith("bundle_gone: there is no file /")
    assert install(rig, device, tmp_path)[0] == 69
    assert "last" not in journal(device)
    assert not (device.folder / "state" / "store" / "install").exists()


def test_a_release_that_fails_its_trial(rig, tmp_path):
    device = running(rig, trial_timeout_ms=3000)
    release = rig.release(rig.next_version(), healthy=False)
    file = bundle(rig, release, tmp_path / "fw")
    code, said, error = install(rig, device, file, "--timeout", "50")
    assert (code, error) == (1, "rolled back: health check app"), said
    code, said, error = install(rig, device, file)
    assert (code, error) == (1, "release_refused: refused before: health check app")


def test_without_a_running_agent_it_waits_for_the_next_start_and_for_the_stick(rig, tmp_path):
    device = running(rig)
    device.power_off()
    release = rig.release(rig.next_version())
    file = bundle(rig, release, tmp_path / "fw")
    code, said, error = install(rig, device, file)
    assert (code, error) == (75, "not installed yet: start the agent") and "no agent runs" in said[0]
    file.rename(tmp_path / "pulled")
    device.power_on()
    assert "cannot read " + str(file) in rig.wait(device, "error", code="bundle_gone")["detail"]
    (tmp_path / "pulled").rename(file)
    rig.wait(device, "update.confirmed", version=release.version)
    assert not (device.folder / "state" / "store" / "install").exists()


def test_time_is_bounded_and_the_agent_goes_on(rig, tmp_path):
    device = running(rig, consent_download="ask")
    release = rig.release(rig.next_version())
    file = bundle(rig, release, tmp_path / "fw")
    code, said, error = install(rig, device, file, "--timeout", "4")
    assert (code, error.split(";")[0]) == (75, "not ended after 4 s"), said
    assert said[1:] == [f"version {release.version} waits for consent to take it"]
    code, said, error = install(rig, device, file, "--no-wait")
    assert code in (0, 75), error
    assert journal(device)["update"]["phase"] == "offered"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_root_becomes_the_owner_of_the_state(rig, tmp_path):
    device = running(rig)
    device.power_off()
    release = rig.release(rig.next_version())
    shared = Path("/var/tmp/trueboot-test-%d" % os.getpid())  # noqa: S108 - tmp_path is root's alone
    try:
        folder = shared / "device"
        shutil.copytree(device.folder, folder)
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        config = folder / configuration(device).name
        file = bundle(rig, release, shared / "fw")
        file.chmod(0o600)
        code, said, error = install(rig, device, file, config=config)
        assert code == 69 and error.startswith("bundle_gone: cannot read"), error
        file.chmod(0o644)
        code, said, error = install(rig, device, file, "--no-wait", config=config)
        assert code == 0, error
        record = (folder / "state" / "store" / "install").stat()
        assert (record.st_uid, record.st_gid) == (NOBODY, NOBODY)
    finally:
        shutil.rmtree(shared)
