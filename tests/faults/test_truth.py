# SPDX-License-Identifier: MIT
"""A device's whole life, heard by the server that it talks to: what it says, in which order, and what it never lets out.

First boot, a good release, a release whose app is not well: it runs on trial, speaks to the server, and is rolled back.
"""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)
from rig import configuration
from spy import Spied, claims, holds, number_shapes, shapes

from trueboot.demo.story import micropython_lacks
from trueboot.demo.world import AGENT

FACTORY, GOOD, ILL = "1.0.0", "1.1.0", "1.2.0"


class Life:
    def __init__(self, rig, device):
        self.rig, self.device = rig, device
        self.folder = device.folder
        self.state = Path(rig.server_info["state"])
        self.said = [e for e in rig.events if e["device"] == device.name and e["source"] == "device"]
        self.publishes = [one for one in rig.wire if one["what"] == "publish"]


@pytest.fixture(scope="module", params=["cpython", "micropython"])
def life(request, tmp_path_factory):
    lacking = micropython_lacks() if request.param == "micropython" else ""
    if lacking:
        pytest.skip(f"no MicroPython for this machine: {lacking}")
    with pytest.MonkeyPatch.context() as patch:
        rig = Spied(tmp_path_factory.mktemp("truth"), patch)
        try:
            rig.start_server()
            rig.factory = rig.release(FACTORY)
            device = rig.device(request.param, config={"trial_timeout_ms": 1500}, name="observed")
            device.power_on()
            rig.wait(device, "version.reported", version=FACTORY)
            rig.ask(device)
            rig.deploy(rig.release(GOOD), device)
            rig.wait(device, "version.reported", version=GOOD)
            since = len(rig.events)
            rig.deploy(rig.release(ILL, healthy=False), device)
            rig.wait(device, "attempt.rolled_back", "server", since)
            rig.wait(device, "version.reported", since=since, version=GOOD)
            device.power_off()
            rig.pump()
            yield Life(rig, device)
        finally:
            rig.stop()


# The order of things

QUIET = ("update.progress", "command", "identity.enrolled")
CHORES = ("identity.life", "crl.fetched")  # whenever there is room for them


def test_the_device_lived_in_exactly_this_order(life):
    found = [
        (e["event"], e.get("version") or e.get("gate") or e.get("tls"))
        for e in life.said
        if e["event"] not in QUIET + CHORES
    ]

    def update(version):
        return [
            ("update.offered", version),
            ("update.consented", "download"),
            ("update.staged", version),
            ("update.consented", "activate"),
            ("update.activated", None),
            ("boot", None),
            ("update.trial", version),
            ("session.online", "mutual"),
        ]

    assert found == [
        ("boot", None),
        ("identity.registered", None),
        ("identity.key_made", None),
        ("identity.csr_sent", None),
        ("identity.certificate_stored", None),
        ("session.online", "mutual"),
        ("version.reported", FACTORY),
        *update(GOOD),
        ("update.confirmed", GOOD),
        ("report.accepted", GOOD),
        ("version.reported", GOOD),
        *update(ILL),
        ("boot", None),
        ("update.rolled_back", ILL),
        ("session.online", "mutual"),
        ("report.accepted", ILL),
        ("version.reported", GOOD),
    ]
    assert [e["reason"] for e in life.said if e["event"] == "update.rolled_back"] == ["health check app"]
    assert [e["outcome"] for e in life.said if e["event"] == "report.accepted"] == ["updated", "rolled_back"]


def meaning(one):
    """A short word for what matters on the wire; None for the rest."""
    if one["what"] == "connect":
        return "activation session" if one["activation"] else "certified session" if one["certified"] else "SESSION"
    if one["what"] == "http":
        path = one["path"]
        if "/simpleenroll" in path:
            return "csr"
        return "image" if path.startswith(("/images/", "/repo/targets/")) else None
    if one["what"] == "push":
        return {"thing/activate/info": "secret handed out", "ota/device/upgrade": "offer"}.get(one["topic"])
    if one["topic"] == "thing/activate/info_reply":
        return "secret received"
    params = one["params"] or {}
    outcome = claims(params["report"])["outcome"] if params.get("report") else "no report"
    if one["topic"] == "ota/device/inform":
        return f"inform {params['version']}, {outcome}"
    if one["topic"] == "ota/device/progress" and int(params["step"]) < 0:
        return f"failure, {outcome}"
    if one["topic"] == "ota/device/progress" and params["desc"] == "on trial":
        return f"on trial, {outcome}"
    return None


def test_the_wire_tells_exactly_this(life):
    said = [meaning(one) for one in life.rig.wire]
    assert [one for one in said if one] == [
        "activation session",
        "secret handed out",
        "secret received",
        "csr",
        "certified session",
        f"inform {FACTORY}, running",
        "offer",
        "image",
        "certified session",
        "on trial, trial",
        f"inform {GOOD}, updated",
        "offer",
        "image",
        "certified session",
        "on trial, trial",
        "certified session",
        "failure, rolled_back",
        f"inform {GOOD}, no report",  # the rollback's own report was later, and says it all
    ]


def test_no_inform_of_a_version_that_the_boot_record_has_not_confirmed(life):
    informs = [one for one in life.publishes if one["topic"] == "ota/device/inform"]
    assert [one["params"]["version"] for one in informs] == [FACTORY, GOOD, GOOD]
    for one in informs:
        assert one["disk"] == {"confirmed": one["params"]["version"], "trial": None}
        if "report" in one["params"]:
            assert claims(one["params"]["report"])["version"] == one["params"]["version"]


def test_on_trial_the_cloud_hears_of_no_version(life):
    on_trial = [one for one in life.publishes if one["disk"]["trial"]]
    assert {one["disk"]["trial"] for one in on_trial} == {GOOD, ILL}
    for one in on_trial:
        assert one["topic"] in ("ota/device/progress", "thing/measurepoint/post", "ota/device/upgrade_reply")
        if "report" in (one["params"] or {}):
            told = claims(one["params"]["report"])
            assert (told["outcome"], told["version"], one["params"]["step"]) == ("trial", one["disk"]["trial"], "90")
        assert one["disk"]["trial"] not in json.dumps(one["message"])


def test_the_server_says_updated_once_and_after_the_device_confirmed(life):
    events = [(e["source"], e["event"]) for e in life.rig.events if e["device"] == life.device.name]
    assert events.count(("server", "attempt.updated")) == 1
    assert events.index(("server", "attempt.updated")) > events.index(("device", "update.confirmed"))
    assert ("server", "report.rejected") not in events
    stored = [e for e in life.rig.events if e["event"] == "attempt.rolled_back"]
    assert [(e["reason"], e["proven"]) for e in stored] == [("health check app", True)]


def test_counters_in_reports_rise(life):
    told = [claims(one["params"]["report"]) for one in life.publishes if (one["params"] or {}).get("report")]
    assert [one["outcome"] for one in told] == ["running", "trial", "updated", "trial", "rolled_back"]
    assert [one["seq"] for one in told] == sorted({one["seq"] for one in told})
    assert [one["boot"] for one in told] == sorted(one["boot"] for one in told)
    assert all(len(one["image"]) == 64 for one in told)


def test_the_server_knew_of_each_trial_and_settled_nothing_by_it(life):
    mine = [e for e in life.rig.events if e["source"] == "server" and e["device"] == life.device.name]
    ends = ("attempt.on_trial", "attempt.updated", "attempt.rolled_back", "device.fell_back")
    assert [e["event"] for e in mine if e["event"] in ends] == [
        "attempt.on_trial",
        "attempt.updated",
        "attempt.on_trial",
        "attempt.rolled_back",
    ]
    assert [e["version"] for e in mine if e["event"] == "attempt.on_trial"] == [GOOD, ILL]


def test_a_silent_fallback_is_told_at_the_next_boot_and_shown(rig, runtime):
    """The boot loader loses its record, both copies, and boots the first slot: the factory's version."""
    device = rig.device(runtime)
    device.power_on()
    rig.wait(device, "version.reported")
    release = rig.release(rig.next_version())
    rig.deploy(release, device)
    rig.wait(device, "version.reported", version=release.version)
    device.power_off()
    for copy in ("boot.0", "boot.1"):
        (device.folder / "state" / copy).unlink(missing_ok=True)
    since = len(rig.events)
    device.power_on()
    told = rig.wait(device, "device.fell_back", "server", since)
    why = "fell back from " + release.version
    assert (told["version"], told["before"], told["reason"]) == (FACTORY, release.version, why)
    rig.wait(device, "version.reported", since=since, version=FACTORY)
    stored = rig.stored(device)
    now = stored["running"]
    assert (stored["proven_version"], stored["claimed_version"], now["version"]) == (FACTORY,) * 3
    assert (now["image"], now["slot"], now["outcome"]) == (rig.factory.sha256, "a", "fell_back")
    assert now["fell_back"]["version"] == release.version and now["signed"]
    job = next(job for job in rig.api.get("/api/v1/jobs")["jobs"] if job["version"] == release.version)
    attempt = job["attempts"][0]
    assert (attempt["state"], attempt["proven"], attempt["runs_it"]) == ("updated", True, False)
    assert attempt["now"] == f"was updated, now runs {FACTORY}: {why}"
    # What lies in the spare slot is taken up again.
    since = len(rig.events)
    rig.deploy(release, device)
    rig.wait(device, "attempt.updated", "server", since)
    assert rig.stored(device)["running"]["fell_back"] is None


# What never leaves


def private_numbers(folder):
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            for load in (load_pem_private_key, load_der_private_key):
                try:
                    number = load(path.read_bytes(), None).private_numbers().private_value
                except (ValueError, TypeError, AttributeError):
                    continue
                found[path.name] = number.to_bytes(32, "big")
    return found


def test_the_private_key_never_left_the_device(life):
    keys = private_numbers(life.folder / "state")
    assert len(keys) == 1
    forms = number_shapes(*keys.values())
    assert len(life.rig.received) > 5000
    assert b"BEGIN" in life.rig.received or b"MII" in life.rig.received  # the CSR went this way
    assert not holds(bytes(life.rig.received), forms)
    for door in life.rig.doors[life.device.name].values():
        assert door.raw
        assert not holds(bytes(door.raw), forms)
    for path in life.state.rglob("*"):
        if path.is_file():
            assert not holds(path.read_bytes(), forms), path


def test_the_search_would_find_it():
    key = ec.generate_private_key(ec.SECP256R1())
    number = key.private_numbers().private_value
    forms = number_shapes(number.to_bytes(32, "big"))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    samples = [pem, json.dumps({"key": pem.decode()}).encode(), str(number).encode(), b"%064x" % number]
    samples += [
        key.private_bytes(Encoding.DER, one, NoEncryption())
        for one in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL)
    ]
    samples.append(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    openssl = subprocess.run(["openssl", "ec", "-text", "-noout"], input=pem, capture_output=True)
    if openssl.returncode == 0:
        samples.append(openssl.stdout)
    for sample in samples:
        assert holds(b"before" + sample + b"after", forms), sample


@pytest.fixture
def canaries(life):
    """name -> (how it may look, the files that may hold it)."""
    info = life.rig.server_info
    device_secret = (life.folder / "state" / "store" / "secret").read_bytes()
    config = configuration(life.device)
    database = {life.state / ("server.db" + end) for end in ("", "-wal", "-shm")}
    operator = life.state / "operator.json"
    found = {
        "device secret": (shapes(device_secret), {life.folder / "state" / "store" / "secret", *database}),
        "product secret": (shapes(info["product_secret"].encode()), {config, operator, *database}),
        "secret key": (shapes(info["secret_key"].encode()), {operator, *database}),
        "admin token": (shapes(info["admin_token"].encode()), {operator}),
        "registration secret": (shapes(info["registration_secret"].encode()), {operator}),
    }
    for folder in (life.state / "private", life.state / "dev-keys", life.folder / "state" / "keys"):
        for name, number in private_numbers(folder).items():
            found[name] = (number_shapes(number), {folder / name})
    assert len(found) >= 10, sorted(found)
    return found


def test_secrets_lie_where_they_belong_and_nowhere_else(life, canaries):
    files = [path for path in life.rig.folder.rglob("*") if path.is_file()]
    assert {"stderr.log", "journal.0", "boot.0", "server.db"} <= {path.name for path in files}
    for name, (forms, allowed) in canaries.items():
        found = {path for path in files if holds(path.read_bytes(), forms)}
        assert found <= allowed, (name, found - allowed)
        assert found, name


def test_no_secret_in_anything_that_is_said(life, canaries):
    rig = life.rig
    said = {"device's log": json.dumps(rig.events).encode(), "server's log": rig.thread.log().encode()}
    job = rig.api.get("/api/v1/jobs")["jobs"][0]["id"]
    product = rig.server_info["product_key"]
    for path in (
        "/healthz",
        "/api/v1/devices",
        f"/api/v1/devices/{product}/{life.device.name}",
        "/api/v1/releases",
        "/api/v1/jobs",
        f"/api/v1/jobs/{job}",
        "/api/v1/events?after=0",
    ):
        said[path] = rig.api.request("GET", path)
    if life.device.runtime == "cpython":
        command = [sys.executable, "-c", AGENT, "status", "--json", "--config", str(configuration(life.device))]
        said["status"] = subprocess.run(command, capture_output=True, check=True).stdout
    for place, data in said.items():
        assert len(data) > 2, place
        for name, (forms, _) in canaries.items():
            assert not holds(data, forms), f"{name} in {place}"


def test_the_device_secret_was_received_in_digests_only(life, canaries):
    """But for the one place that has to have it: HTTP Basic of the certificate request (RFC 7030, 3.2.3)."""
    import base64

    secret = (life.folder / "state" / "store" / "secret").read_bytes()
    basic = base64.b64encode(life.device.name.encode() + b":" + secret)
    received = bytes(life.rig.received)
    assert received.count(basic) == 1
    assert not holds(received.replace(basic, b""), shapes(secret))
    assert not holds(received, canaries["product secret"][0])


def test_what_the_device_keeps_is_its_own(life):
    state = life.folder / "state"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE(configuration(life.device).stat().st_mode) == 0o600
    for path in state.rglob("*"):
        mode, wanted = stat.S_IMODE(path.stat().st_mode), 0o700 if path.is_dir() else 0o600
        assert mode == wanted, f"{path} {mode:o}"
    for slot in ("a", "b"):
        assert stat.S_IMODE((life.folder / "slots" / slot).stat().st_mode) & 0o022 == 0
    assert os.listdir(state / "keys")
