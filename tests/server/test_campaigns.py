# SPDX-License-Identifier: MIT
"""Campaigns as an operator makes them and devices live them: REST, command line, pushes, getversion, a killed server."""

import contextlib
import io
import sys

import jsonschema
import pytest
from server_client import Device, Operator, ServerProcess, ServerThread

from trueboot_server.limits import Limits

IMAGE, PATH = b"an image of 1.1.0", "app/sim/1.1.0/app.img"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerThread(tmp_path_factory.mktemp("server") / "state", Limits(campaigns_open=12, queries=50))
    Operator(running.first).publish(PATH, IMAGE)
    yield running
    running.stop()


@pytest.fixture
def fleet(server, device, tmp_path):
    """Four devices, connected; the order in which they get their turn is found out by being told."""
    devices = [Device(device.first, f"{device.device_key}-{letter}", tmp_path) for letter in "abcd"]
    sessions = {one: one.ready() for one in devices}
    yield sessions
    for session in sessions.values():
        session.close()


@pytest.fixture(autouse=True)
def nothing_left_open(server):
    yield
    operator = Operator(server.first)
    for campaign in operator.get("/api/v1/campaigns?limit=100")["campaigns"]:
        if campaign["state"] in ("created", "scheduled", "running", "paused", "halted"):
            operator.post(f"/api/v1/campaigns/{campaign['id']}/abort", {})


def keys(fleet):
    return [device.device_key for device in fleet]


def begin(operator, fleet, **body):
    return operator.post("/api/v1/campaigns", {"target": PATH, "scope": {"devices": keys(fleet)}, **body})


def told(operator, fleet, campaign, count):
    """The devices of the campaign that are told, with their pushes; waits for each."""
    found = {}
    while len(found) < count:
        event = operator.wait_for("attempt.pushed", job=campaign["id"])
        device = next(one for one in fleet if one.device_key == event["device_key"])
        found[device] = fleet[device].get(device.sys + "ota/device/upgrade")
    return found


def prove(fleet, device, push):
    report = device.proof(push, IMAGE, "1.1.0")
    params = {"version": "1.1.0", "report": report}
    assert fleet[device].request(device.sys + "ota/device/inform", params)["code"] == 200


def fail(fleet, device, push, step="-3"):
    params = {"step": step, "job": push["params"]["job"], "desc": "no"}
    assert fleet[device].request(device.sys + "ota/device/progress", params)["code"] == 200


def order(operator, campaign, verb):
    return operator.call("POST", f"/api/v1/campaigns/{campaign['id']}/{verb}", {})


def command(operator, *arguments):
    """(exit code, stdout, stderr) of `trueboot` for this server."""
    from trueboot.cli import main

    first, out, err, argv, code = operator.first, io.StringIO(), io.StringIO(), sys.argv, 0
    where = ["--server", first["https"], "--ca", first["ca_file"], "--token", first["admin_token"]]
    sys.argv = ["trueboot", *arguments, *where]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = argv
    return code, out.getvalue(), err.getvalue()


def test_the_next_phase_is_told_when_the_first_has_proven_it(operator, fleet):
    campaign = begin(operator, fleet, phases=[1], success=100, name="spring")
    assert [p["devices"] for p in campaign["phases"]] == [1, 3] and campaign["version"] == "1.1.0"
    [(first, push)] = told(operator, fleet, campaign, 1).items()
    shown = operator.get(f"/api/v1/campaigns/{campaign['id']}")
    assert shown["counts"] == {
        "devices": 4, "waiting": 3, "queued": 0, "begun": 1, "proven": 0, "claimed": 0, "failed": 0, "cancelled": 0,
    }  # fmt: skip
    assert fleet[first].request(first.sys + "ota/device/inform", {"version": "1.1.0"})["code"] == 200
    assert operator.get(f"/api/v1/campaigns/{campaign['id']}")["counts"]["proven"] == 0  # claimed is not proven
    prove(fleet, first, push)
    for device, push in told(operator, fleet, campaign, 3).items():
        prove(fleet, device, push)
    ended = operator.wait_for("job.done", job=campaign["id"])
    assert (ended["updated"], ended["failures"]) == (4, 0)
    shown = operator.get(f"/api/v1/campaigns/{campaign['id']}")
    assert [entry["event"] for entry in shown["history"]] == [
        "created",
        "started",
        "reached",
        "phase",
        "reached",
        "done",
    ]
    assert [p["state"] for p in shown["phases"]] == ["passed", "passed"]
    listed = operator.get(f"/api/v1/campaigns/{campaign['id']}/devices?limit=3")
    rest = operator.get(f"/api/v1/campaigns/{campaign['id']}/devices?after={listed['next']}")
    assert sorted(d["device_key"] for d in listed["devices"] + rest["devices"]) == keys(fleet) and rest["next"] is None
    assert {d["state"] for d in listed["devices"]} == {"updated"} and listed["devices"][0]["phase"] == 1


def test_a_bad_release_reaches_one_device_and_the_others_are_told_nothing(operator, fleet):
    campaign = begin(operator, fleet, phases=["25%"], max_failures=0)
    [(first, push)] = told(operator, fleet, campaign, 1).items()
    fail(fleet, first, push)
    operator.wait_for("job.halted", job=campaign["id"])
    shown = operator.get(f"/api/v1/campaigns/{campaign['id']}")
    assert (shown["state"], shown["reason"]) == ("halted", "phase 1: 1 of 1 failed, and 0 may")
    assert [(d["device_key"], d["state"], d["reason"]) for d in shown["failures"]] == [
        (first.device_key, "failed", "no")
    ]
    for device, session in fleet.items():
        assert session.request(device.sys + "ota/device/getversion", {})["data"] == []
        assert session.queue(device.sys + "ota/device/upgrade").empty()
    assert order(operator, campaign, "retry").json()["state"] == "running"
    [(again, push)] = told(operator, fleet, campaign, 1).items()
    assert again is first and push["params"]["retry"] is True


def test_paused_nobody_is_told_and_resumed_they_are(operator, fleet):
    campaign = begin(operator, fleet, start="later")
    assert campaign["state"] == "created"
    assert order(operator, campaign, "pause").status_code == 409
    two = list(fleet)[:2]
    for device in two:
        fleet[device].close()
        operator.wait_for("device.offline", device_key=device.device_key)
    assert order(operator, campaign, "start").json()["state"] == "running"
    told(operator, fleet, campaign, 2)
    assert order(operator, campaign, "pause").json()["state"] == "paused"
    for device in two:
        fleet[device] = device.connect()
        assert fleet[device].request(device.sys + "ota/device/inform", {"version": "1.0.0"})["code"] == 200
        assert fleet[device].queue(device.sys + "ota/device/upgrade").empty()
    assert order(operator, campaign, "resume").json()["state"] == "running"
    assert set(told(operator, fleet, campaign, 2)) == set(two)
    assert order(operator, campaign, "abort").json()["counts"]["cancelled"] == 4
    assert order(operator, campaign, "abort").status_code == 409


def test_devices_that_ask_are_handed_what_is_not_pushed(operator, fleet):
    campaign = begin(operator, fleet, on_request=True)
    for device, session in fleet.items():
        [offer] = session.request(device.sys + "ota/device/getversion", {"version": "1.0.0", "more": [1]})["data"]
        assert offer["version"] == "1.1.0"
        assert session.queue(device.sys + "ota/device/upgrade").empty()
        prove(fleet, device, {"params": offer})
    operator.wait_for("job.done", job=campaign["id"])


def test_auto_update_is_a_products_policy(operator, fleet):
    device = next(iter(fleet))
    session, path = fleet[device], device.sys + "ota/device/getversion"
    policy = f"/api/v1/products/{device.product_key}/policy"
    session.request(device.sys + "ota/device/inform", {"version": "1.0.0", "report": device.report()})
    asked = {"version": "1.0.0", "wanted": "latest"}
    assert session.request(path, asked)["data"] == []
    assert command(operator, "product", "set", "--auto-update", "latest")[0] == 0
    try:
        [offer] = session.request(path, asked)["data"]
        assert session.request(path, asked)["data"] == [offer]
        for odd in (None, [], {"version": 1.0, "wanted": 7}, {"version": "x" * 5000, "wanted": "\x1b"}):
            assert session.request(path, odd)["data"] == [offer]
        prove(fleet, device, {"params": offer})
        assert session.request(path, {"version": "1.1.0", "wanted": "latest"})["data"] == []
    finally:
        operator.post(policy, {"auto_update": "off"})
    assert operator.call("POST", policy, {"auto_update": "always"}).status_code == 400
    [auto] = [one for one in operator.get("/api/v1/campaigns")["campaigns"] if one["kind"] == "auto"]
    assert (auto["state"], auto["counts"]["proven"], auto["version"]) == ("running", 1, "1.1.0")


def test_answers_are_as_the_description_says(operator, fleet):
    campaign = begin(operator, fleet, phases=["50%"], window="00:00-23:59")
    document = operator.get("/api/openapi.json")
    for path in ("", "/{id}", "/{id}/devices"):
        answer = operator.get("/api/v1/campaigns" + path.format(id=campaign["id"]))
        described = document["paths"]["/api/v1/campaigns" + path]["get"]["responses"]["200"]
        schema = {**described["content"]["application/json"]["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer)
    known = document["components"]["schemas"]
    assert set(campaign) == {*known["Campaign"]["properties"], "failures", "history"}
    assert set(campaign["phases"][0]) == set(known["Phase"]["properties"])
    assert set(answer["devices"][0]) == set(known["Turn"]["properties"])


BAD = [
    ({}, "bad_campaign"), ({"target": PATH}, "bad_campaign"), ({"target": PATH, "scope": {}}, "bad_campaign"),
    ({"target": PATH, "version": "1.1.0", "scope": {"devices": "all"}}, "bad_campaign"), ({"target": 7, "scope": {"devices": "all"}}, "bad_campaign"),
    ({"newest": "sim", "scope": {"devices": "all"}}, "bad_campaign"), ({"target": PATH, "scope": {"devices": ["nobody"]}}, "no_such_device"),
    ({"target": "app/sim/9.9.9/app.img", "scope": {"devices": "all"}}, "no_such_release"), ({"version": "9.9.9", "scope": {"devices": "all"}}, "no_such_release"),
    ({"target": PATH, "scope": {"devices": "all"}, "product_key": "other"}, "no_such_product"), ({"target": PATH, "scope": {"devices": "all"}, "product_key": 7}, "no_such_product"),
    ({"target": PATH, "scope": {"devices": "all"}, "start": "soon"}, "bad_campaign"), ({"target": PATH, "scope": {"devices": "all"}, "start": "2026-13-01T00:00:00Z"}, "bad_campaign"),
    ({"target": PATH, "scope": {"devices": "all"}, "speed": 1}, "unknown_member"), ({"target": PATH, "scope": {"devices": "all"}, "retry": 1}, "bad_campaign"),
    ({"target": PATH, "scope": {"devices": "all"}, "name": "\x1b[2J"}, "bad_campaign"), ({"target": PATH, "scope": {"devices": "all"}, "timeout_s": 0}, "bad_campaign"),
    ({"target": PATH, "scope": {"tags": {"site": "mars"}}}, "no_devices"),
]  # fmt: skip


@pytest.mark.parametrize("body, code", BAD)
def test_what_cannot_be_meant_is_refused_and_makes_nothing(operator, body, code):
    before = operator.get("/api/v1/campaigns?limit=100")["campaigns"]
    answer = operator.call("POST", "/api/v1/campaigns", body)
    assert answer.status_code in (400, 404) and answer.json()["error"]["code"] == code
    assert operator.get("/api/v1/campaigns?limit=100")["campaigns"] == before


def test_only_an_operator_and_only_so_many(server, operator, fleet):
    for method, path in (("GET", ""), ("POST", ""), ("GET", "/1"), ("POST", "/1/pause"), ("GET", "/1/devices")):
        answer = Operator(server.first, token="x").call(method, "/api/v1/campaigns" + path, {})
        assert answer.status_code == 401
    for number in ("0", "x", "9" * 30, "%00"):
        assert operator.call("GET", f"/api/v1/campaigns/{number}").status_code == 404
    for _ in range(12):
        begin(operator, fleet, start="later")
    answer = operator.call("POST", "/api/v1/campaigns", {"target": PATH, "scope": {"devices": "all"}, "start": "later"})
    assert answer.json()["error"]["code"] == "too_many_campaigns"


def test_the_command_line_stages_watches_and_says_why_it_ended(operator, fleet):
    devices = [part for key in keys(fleet) for part in ("--device", key)]
    code, out, err = command(
        operator, "campaign", "create", "1.1.0", *devices, "--phase", "1", "--max-failures", "0", "--name", "try"
    )
    assert code == 0, err
    number = out.split()[1]
    assert "app/sim/1.1.0/app.img" in out and "phase 1" not in err
    campaign = {"id": number}
    [(first, push)] = told(operator, fleet, campaign, 1).items()
    code, out, err = command(operator, "campaign", "watch", number, "--timeout", "1")
    assert (code, err.splitlines()[0]) == (75, "phase 1 of 2 running: 0 proven of 4") and "[job_timeout]" in err
    fail(fleet, first, push)
    code, out, err = command(operator, "campaign", "watch", number)
    assert code == 1 and "[campaign_ended_early]" in err and "phase 1: 1 of 1 failed, and 0 may" in err
    assert f"{first.device_key} failed: no" in out
    code, out, _ = command(operator, "campaign", "list")
    assert next(line for line in out.splitlines() if line.startswith(number)).split()[1:6] == [
        "try",
        "halted",
        "1.1.0",
        "1",
        "of",
    ]
    assert command(operator, "campaign", "abort", number)[0] == 1  # nobody said yes
    assert "cancelled" in command(operator, "campaign", "abort", number, "--yes")[1]
    code, _, err = command(operator, "campaign", "resume", number)
    assert code == 1 and "a campaign that is cancelled cannot be resumed (wrong_state)" in err
    for wrong in (["show", "x"], ["create", "1.1.0", "--tag", "site"], ["create", "1.1.0", "--soak", "long"]):
        code, _, err = command(operator, "campaign", *wrong)
        assert (code, "[usage]" in err) == (2, True), err
    assert command(operator, "campaign", "show", "999999")[0] == 1


def test_a_server_that_is_killed_goes_on_with_its_campaigns(tmp_path):
    import signal

    server = ServerProcess(tmp_path / "state")
    operator = Operator(server.first)
    operator.publish(PATH, IMAGE)
    devices = [Device(server.first, f"k-{letter}", tmp_path) for letter in "ab"]
    fleet = {device: device.ready() for device in devices}
    campaign = begin(operator, fleet, phases=[1], success=100)
    [(first, push)] = told(operator, fleet, campaign, 1).items()
    prove(fleet, first, push)
    server.stop(signal.SIGKILL)
    server = ServerProcess(tmp_path / "state")
    try:
        operator = Operator(server.first)
        for device in devices:
            device.first = server.first
            fleet[device].close()
            fleet[device] = device.connect()
        [other] = [device for device in devices if device is not first]
        push = fleet[other].get(other.sys + "ota/device/upgrade")
        prove(fleet, other, push)
        while (state := operator.get(f"/api/v1/campaigns/{campaign['id']}")["state"]) != "done":
            assert state == "running"
            operator.wait_for("job.done", job=campaign["id"])
        for session in fleet.values():
            session.close()
    finally:
        server.stop()
