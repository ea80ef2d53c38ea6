# SPDX-License-Identifier: MIT
"""The demo as a user runs it, on both interpreters; and what its events say, checked without the demo's own checks."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trueboot.demo.story import micropython_lacks

FIRST_BOOT = [
    "identity.key_made",
    "identity.csr_sent",
    "identity.certificate_stored",
    "session.online",
    "version.reported",
]
UPDATE = ["update.offered", "update.consented", "update.staged", "update.consented", "update.activated", "update.trial"]
UPDATE += ["update.confirmed", "report.accepted", "version.reported"]
ROLLBACK = ["update.offered", "update.consented", "update.staged", "update.consented", "update.activated"]
ROLLBACK += ["update.rolled_back", "report.accepted"]
ATTACK = ["update.failed", "report.accepted"]
RUNTIMES = ["cpython", "micropython"]


def demo(*arguments, **environment):
    command = [sys.executable, "-m", "trueboot", "demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=170, env=os.environ | environment)


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    """(events, the kept folder) of one whole run."""
    lacking = micropython_lacks()
    if lacking:
        pytest.skip(f"no MicroPython for this machine: {lacking}")
    place = tmp_path_factory.mktemp("demo")
    done = demo("--script", "all", "--json", "--keep", TMPDIR=str(place))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()], next(place.glob("trueboot-demo-*"))


def of(events, runtime, source="device"):
    return [event for event in events if event["runtime"] == runtime and event["source"] == source]


def in_order(events, names):
    """The events that match `names` one after the other."""
    found, rest = [], iter(events)
    for name in names:
        for event in rest:
            if event["event"] == name:
                found.append(event)
                break
        else:
            raise AssertionError(f"{name} does not follow {[event['event'] for event in found]}")
    return found


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_whole_life_in_order(life, runtime):
    found = in_order(of(life[0], runtime), FIRST_BOOT + UPDATE + ROLLBACK + ATTACK)
    first, update, rollback, attack = found[:5], found[5:14], found[14:21], found[21:]
    assert first[3]["tls"] == "mutual"
    assert first[4]["version"] == "1.0.0"
    assert [update[index]["version"] for index in (0, 2, 5, 6)] == ["1.1.0"] * 4
    assert [update[1]["gate"], update[3]["gate"]] == ["download", "activate"]
    assert update[7]["outcome"] == "updated"
    assert update[8]["version"] == "1.1.0"
    assert rollback[0]["version"] == "1.2.0"
    assert re.fullmatch(r"exception: (ImportError|ModuleNotFoundError) main\.py:\d+", rollback[5]["reason"])
    assert rollback[6]["outcome"] == "rolled_back"
    assert attack[0]["version"] == "1.3.0"
    assert re.fullmatch(r"signature: metadata_signature: bin-.. version \d+: 0 of 1 signatures", attack[0]["reason"])
    assert attack[1]["outcome"] == "failed"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_server_proves_then_hears_the_reason(life, runtime):
    found = in_order(
        of(life[0], runtime, "server"),
        ["certificate.issued", "device.online", "attempt.updated", "attempt.rolled_back", "attempt.failed"],
    )
    assert "main.py" in found[3]["reason"]
    assert "0 of 1 signatures" in found[4]["reason"]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_thief_of_the_server_gets_nothing_onto_a_device(life, runtime):
    events, folder = life
    stolen = next(event for event in events if event["event"] == "server.stolen")
    after = events[events.index(stolen) :]
    assert not [e for e in of(after, runtime) if e["event"] in UPDATE[:7]]
    answer = next(e for e in after if e["runtime"] == runtime and e["event"] == "command.answered")
    assert answer["data"]["app"] == "1.1.0"
    slots = folder / "devices" / f"{runtime}-1" / "slots"
    assert list(slots.rglob("app_version.py"))
    assert not [path for path in slots.rglob("app_version.py") if "thief" in path.read_text()]
    # And he had done his work well: all but the one signature is as it should be.
    image = list((folder / "server" / "repo" / "targets").rglob(f"{stolen['sha256']}.app.img"))
    assert len(image) == 1 and b"the thief's" in image[0].read_bytes()


def test_first_failure_halts_the_job(life):
    assert [e["event"] for e in life[0] if e["event"] in ("job.done", "job.halted")] == [
        "job.done",
        "job.halted",
        "job.done",
    ]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_no_word_of_a_version_before_it_is_confirmed(life, runtime):
    confirmed = {"1.0.0"}
    for event in life[0]:
        if event["runtime"] != runtime:
            continue
        if event["event"] == "update.confirmed":
            confirmed.add(event["version"])
        if event["event"] in ("version.reported", "attempt.claimed"):
            assert event["version"] in confirmed
    assert confirmed == {"1.0.0", "1.1.0"}


def test_ends_within_a_minute(life):
    assert life[0][-1]["event"] == "demo.finished"
    assert life[0][-1]["ok"] is True
    assert life[0][-1]["at"] < 60


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_private_key_never_left_the_device(life, runtime):
    events, folder = life
    secrets = private_scalars(folder / "devices" / f"{runtime}-1" / "state")
    assert secrets
    said = json.dumps(events).encode()
    places = [path for path in sorted((folder / "server").rglob("*")) if path.is_file()] + [folder / "server.log"]
    places += [folder / "devices" / f"{runtime}-1" / "stderr.log"]
    for secret in secrets:
        for shape in shapes(secret):
            assert shape not in said
            for path in places:
                assert shape not in path.read_bytes(), path


def private_scalars(state: Path) -> set[bytes]:
    """The secret numbers of every key that lies in the device's state folder, PEM or DER or bare."""
    from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

    found = set()
    for path in sorted(state.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        for load in (load_pem_private_key, load_der_private_key):
            try:
                found.add(load(data, None).private_numbers().private_value.to_bytes(32, "big"))
            except (ValueError, TypeError):
                continue
    return found


def shapes(secret: bytes) -> list[bytes]:
    import base64

    plain = [base64.b64encode(secret[start : start + 30]).rstrip(b"=") for start in range(3)]
    return [
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        base64.urlsafe_b64encode(secret).rstrip(b"="),
        *plain,
    ]


def test_one_runtime_plain_lines():
    done = demo("--script", "happy", "--runtime", "cpython")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "UPDATED: proven" in done.stdout
    assert "\x1b" not in done.stdout
    assert "All expectations held" in done.stdout


def test_a_device_that_speaks_esthesis_lives_the_same_life():
    done = demo("--cloud", "esthesis", "--runtime", "cpython", "--json")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    device = of([json.loads(line) for line in done.stdout.splitlines()], "cpython")
    assert len(in_order(device, [*FIRST_BOOT, "command", *UPDATE, *ROLLBACK, *ATTACK])) > len(FIRST_BOOT + UPDATE)


def test_the_power_is_cut_and_nobody_lies():
    """On both interpreters, at every moment but the last ones; the seed is printed."""
    done = demo("--script", "happy", "--cut-power", "6", "--seed", "4", "--json")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    events = [json.loads(line) for line in done.stdout.splitlines()]
    last = events[-1]
    assert last["ok"] is True and last["seed"] == 4
    assert len(last["cuts"]) == len([e for e in events if e["event"] == "power.cut"]) >= 6
    assert len({moment for _, moment in last["cuts"]}) > 2, last["cuts"]


def test_more_cuts_than_sense():
    done = demo("--cut-power", "1000")
    assert done.returncode == 2 and "--cut-power 1000" in done.stderr and "Traceback" not in done.stderr


def test_interrupt_leaves_nothing_behind(tmp_path):
    command = [sys.executable, "-m", "trueboot", "demo", "--runtime", "cpython", "--json"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)}
    )
    assert process.stdout
    for line in process.stdout:
        if json.loads(line)["event"] == "session.online":
            break
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert list(tmp_path.glob("trueboot-demo-*")) == []
    time.sleep(0.2)
    assert not [line for line in processes() if str(tmp_path) in line]


def processes() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return found
