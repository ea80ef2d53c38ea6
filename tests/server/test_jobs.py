# SPDX-License-Identifier: MIT
"""Upgrade jobs: claimed is not proven, a failure halts, what is pushed is pushed again, time runs out."""

import json

import pytest
from server_client import Device, Operator, ServerThread

from trueboot_server.limits import Limits

IMAGE = b"an image of 1.1.0"
PATH = "app/sim/1.1.0/app.img"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerThread(tmp_path_factory.mktemp("server") / "state", Limits(pushes_per_attempt=3))
    yield running
    running.stop()


@pytest.fixture
def released(operator):
    if not operator.get("/api/v1/releases")["releases"]:
        operator.publish(PATH, IMAGE)
    return operator


@pytest.fixture
def fleet(released, device, tmp_path):
    """Three devices, enrolled and not connected."""
    devices = [Device(device.first, f"{device.device_key}-{letter}", tmp_path) for letter in "abc"]
    for one in devices:
        assert one.activate() == 0
        one.enrol()
    return devices


def start(operator, devices, **more):
    return operator.post("/api/v1/jobs", {"target": PATH, "devices": [d.device_key for d in devices], **more})


def shown(operator, job):
    found = operator.get(f"/api/v1/jobs/{job['id']}")
    return found["state"], {a["device_key"][-1]: a["state"] for a in found["attempts"]}


def progress(session, device, step, **more):
    return session.request(device.sys + "ota/device/progress", {"step": step, "desc": "told", **more})["code"]


def inform(session, device, version, **more):
    return session.request(device.sys + "ota/device/inform", {"version": version, **more})["code"]


def upgrade(session, device):
    return session.get(device.sys + "ota/device/upgrade")


def quiet(session, device):
    """Nothing was pushed: whatever was would have come before this answer."""
    assert session.request(device.sys + "thing/measurepoint/post", {"measurepoints": {"x": 1}})["code"] == 200
    return session.queue(device.sys + "ota/device/upgrade").empty()


def test_an_inform_alone_is_a_claim_and_never_an_update(released, fleet):
    device = fleet[0]
    session = device.connect()
    job = start(released, [device])
    push = upgrade(session, device)
    assert inform(session, device, "1.1.0") == 200
    assert released.wait_for("attempt.claimed", job=job["id"])["version"] == "1.1.0"
    assert shown(released, job) == ("running", {"a": "claimed"})
    assert released.device(device.device_key)["proven_version"] is None
    assert inform(session, device, "1.1.0", report=device.proof(push, IMAGE, "1.1.0")) == 200
    assert shown(released, job) == ("done", {"a": "updated"})
    assert not [e for e in released.events() if e["event"] == "attempt.updated" and not e["proven"]]
    session.close()


def test_progress_100_is_no_update(released, fleet):
    device = fleet[0]
    session = device.connect()
    job = start(released, [device])
    upgrade(session, device)
    assert progress(session, device, "100") == 200
    assert shown(released, job) == ("running", {"a": "in_progress"})
    session.close()


@pytest.mark.parametrize("step", ["-1", "-5", -3])
def test_the_first_failure_halts_the_job_and_nothing_more_is_pushed(released, fleet, step):
    a, b, c = fleet
    session = a.connect()
    job = start(released, fleet)
    push = upgrade(session, a)
    assert progress(session, a, step, job=push["params"]["job"]) == 200
    released.wait_for("job.halted", job=job["id"])
    told = "refused" if step == "-5" else "failed"  # the one word that the SDKs have for it
    assert shown(released, job) == ("halted", {"a": told, "b": "cancelled", "c": "cancelled"})
    late = b.connect()
    assert inform(late, b, "1.0.0") == 200 and quiet(late, b)
    assert late.request(b.sys + "ota/device/getversion", {})["data"] == []
    # A device that was not reached is free for the next job.
    assert start(released, [b])["state"] == "running"
    session.close()
    late.close()


def test_max_failures_lets_a_job_go_on(released, fleet):
    a, b, c = fleet
    sessions = {d: d.connect() for d in fleet}
    job = start(released, fleet, max_failures=1)
    pushes = {d: upgrade(s, d) for d, s in sessions.items()}
    progress(sessions[a], a, "-2")
    assert shown(released, job)[0] == "running"
    assert inform(sessions[b], b, "1.1.0", report=b.proof(pushes[b], IMAGE, "1.1.0")) == 200
    progress(sessions[c], c, "-2")
    assert shown(released, job) == ("halted", {"a": "failed", "b": "updated", "c": "failed"})
    for session in sessions.values():
        session.close()


@pytest.mark.parametrize("outcome", ["rolled_back", "failed", "refused"])
def test_a_verified_report_says_which_failure_it_was_with_the_step_or_after_it(released, fleet, outcome):
    a, b, _ = fleet
    first, second = a.connect(), b.connect()
    job = start(released, [a, b], max_failures=5)
    told = {
        "outcome": outcome,
        "version": "1.0.0",
        "image": "1" * 64,
        "target_version": "1.1.0",
        "reason": "ImportError main.py:3",
    }
    push = upgrade(first, a)
    report = a.proof(push, IMAGE, "1.1.0", **told)
    assert progress(first, a, "-1", job=push["params"]["job"], report=report) == 200
    push = upgrade(second, b)
    assert progress(second, b, "-1", job=push["params"]["job"]) == 200
    assert shown(released, job)[1]["b"] == "failed"
    assert inform(second, b, "1.0.0", report=b.proof(push, IMAGE, "1.1.0", **told)) == 200
    assert shown(released, job) == ("done", {"a": outcome, "b": outcome})
    attempts = released.get(f"/api/v1/jobs/{job['id']}")["attempts"]
    assert all(attempt["proven"] and attempt["reason"] == "ImportError main.py:3" for attempt in attempts)
    assert released.wait_for("attempt." + outcome, device_key=b.device_key, proven=True)
    first.close()
    second.close()


def test_what_is_proven_yields_to_nothing(released, fleet):
    device = fleet[0]
    session = device.connect()
    job = start(released, [device])
    push = upgrade(session, device)
    inform(session, device, "1.1.0", report=device.proof(push, IMAGE, "1.1.0"))
    assert progress(session, device, "-1", job=push["params"]["job"]) == 200
    released.call("POST", f"/api/v1/jobs/{job['id']}/cancel", {})
    assert shown(released, job) == ("done", {"a": "updated"})
    session.close()


def test_a_push_is_repeated_at_each_connect_but_not_without_end(released, fleet):
    device = fleet[0]
    job = start(released, [device])
    assert shown(released, job) == ("running", {"a": "queued"})
    seen = []
    for _ in range(3):
        session = device.connect()
        seen.append(upgrade(session, device)["params"])
        session.close()
    assert seen[0] == seen[1] == seen[2]
    session = device.connect()
    assert quiet(session, device)
    assert shown(released, job) == ("halted", {"a": "failed"})
    session.close()


def test_a_device_on_trial_is_not_pushed_at_and_one_that_rests_is(released, fleet):
    device = fleet[0]
    session = device.connect()
    start(released, [device])
    push = upgrade(session, device)
    progress(session, device, "50")
    session.close()
    on_trial = device.connect()
    assert quiet(on_trial, device)
    assert inform(on_trial, device, "1.0.0") == 200  # not on trial: it runs the old version
    assert upgrade(on_trial, device)["params"] == push["params"]
    on_trial.close()


@pytest.mark.parametrize("code, state", [(200, "pushed"), (0, "pushed"), ("1101", "failed"), (500, "failed")])
def test_the_answer_to_a_push_means_delivered_unless_it_is_an_error(released, fleet, code, state):
    device = fleet[0]
    session = device.connect()
    job = start(released, [device], max_failures=1)
    push = upgrade(session, device)
    answer = json.dumps({"id": push["id"], "code": code, "data": {}})
    session.client.publish(device.sys + "ota/device/upgrade_reply", answer, 1).wait_for_publish(10)
    assert shown(released, job)[1] == {"a": state}
    session.close()


def test_a_cancelled_job_pushes_nothing_and_believes_a_late_proof(released, fleet):
    a, b, _ = fleet
    session = a.connect()
    job = start(released, [a, b])
    push = upgrade(session, a)
    assert released.post(f"/api/v1/jobs/{job['id']}/cancel", {})["state"] == "cancelled"
    assert shown(released, job) == ("cancelled", {"a": "cancelled", "b": "cancelled"})
    late = b.connect()
    assert inform(late, b, "1.0.0") == 200 and quiet(late, b)
    assert inform(session, a, "1.1.0", report=a.proof(push, IMAGE, "1.1.0")) == 200
    assert shown(released, job) == ("cancelled", {"a": "updated", "b": "cancelled"})
    session.close()
    late.close()


def later(server, seconds):
    def shift(s):
        ahead = s.store._clock() + seconds * 1000
        real, s.store._clock = s.store._clock, lambda: ahead
        try:
            s.desk.expire()
        finally:
            s.store._clock = real

    server.call(shift)


def test_time_runs_out_for_what_was_begun(server, released, fleet):
    a, b, c = fleet
    sessions = {d: d.connect() for d in fleet}
    job = start(released, fleet, max_failures=9)
    for device, session in sessions.items():
        upgrade(session, device)
    progress(sessions[a], a, "10")
    inform(sessions[b], b, "1.1.0")
    later(server, 7100)
    assert shown(released, job)[1] == {"a": "in_progress", "b": "claimed", "c": "pushed"}
    later(server, 7300)
    assert shown(released, job) == ("running", {"a": "timed_out", "b": "claimed", "c": "pushed"})
    assert progress(sessions[c], c, "-1") == 200
    assert shown(released, job)[0] == "done"
    for session in sessions.values():
        session.close()


def test_a_claim_whose_proof_never_comes_counts_as_a_failure(server, released, fleet):
    device = fleet[0]
    session = device.connect()
    job = start(released, [device])
    upgrade(session, device)
    inform(session, device, "1.1.0")
    later(server, 7300)
    assert shown(released, job) == ("halted", {"a": "claimed"})
    session.close()


def test_where_claims_count_a_job_ends_with_them_and_still_says_claimed(server, released, fleet):
    from trueboot_server.store.schema import products

    def policy(counts):
        def inside(s):
            with s.store.transaction() as t:
                t.execute(products.update().values(claims_count=counts))

        server.call(inside)

    policy(True)
    device = fleet[0]
    session = device.connect()
    job = start(released, [device])
    upgrade(session, device)
    inform(session, device, "1.1.0")
    policy(False)
    assert shown(released, job) == ("done", {"a": "claimed"})
    session.close()


def test_getversion_lists_what_waits(released, fleet):
    device = fleet[0]
    session = device.connect()
    start(released, [device])
    push = upgrade(session, device)
    assert session.request(device.sys + "ota/device/getversion", {})["data"] == [push["params"]]
    session.close()


def test_a_busy_device_joins_no_second_job(released, fleet):
    job = start(released, [fleet[0]])
    answer = released.call("POST", "/api/v1/jobs", {"target": PATH, "devices": [fleet[0].device_key]})
    assert answer.status_code == 409 and answer.json()["error"]["code"] == "device_busy"
    assert f"/api/v1/jobs/{job['id']}/cancel" in answer.json()["error"]["hint"]
    assert start(released, [fleet[1], fleet[1]])["attempts"][0]["device_key"] == fleet[1].device_key


def test_another_devices_attempt_is_unknown(released, fleet):
    a, b, _ = fleet
    first, second = a.connect(), b.connect()
    job = start(released, [a])
    push = upgrade(first, a)
    assert progress(second, b, "-1", job=push["params"]["job"]) == 1262
    answer = json.dumps({"id": push["id"], "code": 500})
    second.client.publish(b.sys + "ota/device/upgrade_reply", answer, 1).wait_for_publish(10)
    assert shown(released, job) == ("running", {"a": "pushed"})
    first.close()
    second.close()


BAD = [
    ("ota/device/inform", {}, 460), ("ota/device/inform", {"version": None}, 460), ("ota/device/inform", [], 460),
    ("ota/device/inform", {"version": "1", "report": 7}, 1261), ("ota/device/progress", {"step": "many"}, 460),
    ("ota/device/progress", {"step": 101}, 460), ("ota/device/progress", {"step": "1", "job": "no"}, 1262),
    ("ota/device/unknown", {}, 1009), ("thing/measurepoint/post", {"measurepoints": {}}, 460),
    ("thing/measurepoint/post", {"measurepoints": {"x": None}}, 460), ("thing/measurepoint/post", {"measurepoints": {"x": "y" * 5000}}, 460),
    ("thing/measurepoint/post", {"measurepoints": {f"p{i}": 1 for i in range(300)}}, 460),
    ("thing/measurepoint/post", {"measurepoints": {"\x1b": 1}}, 460), ("thing/event/x/post", {"events": 1}, 460),
]  # fmt: skip


def test_messages_that_cannot_be_used_are_declined_and_change_nothing(released, fleet):
    device = fleet[0]
    session = device.connect()
    for path, params, code in BAD:
        assert session.request(device.sys + path, params)["code"] == code, (path, params)
    for payload, code in ((b"", 1251), (b"{", 1220), (b"[]", 1220), (b'{"id":{}}', 1220), (b"[" * 100000, 1220)):
        session.client.publish(device.sys + "ota/device/inform", payload, 1)
        reply = session.get(device.sys + "ota/device/inform_reply")
        assert (reply["id"], reply["code"]) == ("", code)
    found = released.device(device.device_key)
    assert (found["claimed_version"], found["telemetry"]) == (None, {})
    session.close()


def test_a_number_as_version_and_text_that_steers_terminals_are_tamed(released, fleet):
    device = fleet[0]
    session = device.connect()
    assert inform(session, device, 1.0) == 200
    assert released.device(device.device_key)["claimed_version"] == "1.0"
    assert inform(session, device, "1.0\x1b[2J\n" + "x" * 1000) == 200
    version = released.device(device.device_key)["claimed_version"]
    assert version.startswith("1.0?[2J?x") and len(version) == 256
    session.close()


# A release that is withdrawn


def test_a_job_whose_release_is_withdrawn_is_halted_with_its_reason_and_offered_to_nobody(released, fleet):
    a, b, c = fleet
    path, reason = "app/sim/1.7.0/app.img", "the release was withdrawn"
    released.publish(path, IMAGE)
    other = start(released, [c])
    session = a.connect()
    job = released.post("/api/v1/jobs", {"target": path, "devices": [a.device_key, b.device_key]})
    push = upgrade(session, a)
    assert progress(session, a, "10", job=push["params"]["job"]) == 200
    released.withdraw(path)
    assert released.wait_for("job.halted", job=job["id"])["reason"] == reason
    assert shown(released, job) == ("halted", {"a": "in_progress", "b": "cancelled"})
    found = released.get(f"/api/v1/jobs/{job['id']}")
    assert found["reason"] == reason and found["attempts"][1]["reason"] == reason
    assert shown(released, other)[0] == "running"  # of another release
    # Neither pushed to, nor answered when it asks.
    late = b.connect()
    assert inform(late, b, "1.0.0") == 200 and quiet(late, b)
    for one, its in ((b, late), (a, session)):
        assert its.request(one.sys + "ota/device/getversion", {})["data"] == []
    assert inform(session, a, "1.0.0") == 200 and quiet(session, a)
    refused = released.call("POST", "/api/v1/jobs", {"target": path, "devices": [b.device_key]})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "no_such_release")
    # What had begun ends by the device's own word.
    assert progress(session, a, "-2", job=push["params"]["job"]) == 200
    assert shown(released, job) == ("halted", {"a": "failed", "b": "cancelled"})
    session.close()
    late.close()
    released.post(f"/api/v1/jobs/{other['id']}/cancel", {})


def test_a_release_that_becomes_another_image_halts_the_jobs_of_the_first(released, fleet):
    path = "app/sim/1.8.0/app.img"
    released.publish(path, IMAGE)
    job = released.post("/api/v1/jobs", {"target": path, "devices": [fleet[0].device_key]})
    released.publish(path, b"another image of the same version")
    assert shown(released, job) == ("halted", {"a": "cancelled"})


def test_a_cut_between_publication_and_database_is_made_good_at_the_next_start(tmp_path):
    from repository_rig import named

    from trueboot_server.repo import signing

    path = "app/sim/1.1.0/app.img"
    own = ServerThread(tmp_path / "state")
    operator = Operator(own.first)
    operator.publish(path, IMAGE)
    device = Device(own.first, "cut", tmp_path)
    assert device.activate() == 0
    job = operator.post("/api/v1/jobs", {"target": path, "devices": ["cut"]})
    role = signing.role_for(operator.metadata("targets"), path)
    files = named({role: signing.remove_target(operator.metadata(role), path, [operator.signer("release")])})
    own.call(lambda server: server.repository.publish(files))  # and the rest of the request never happened
    assert shown(operator, job)[0] == "running"
    own.stop()
    again = ServerThread(tmp_path / "state")
    operator = Operator(again.first)
    assert shown(operator, job) == ("halted", {"t": "cancelled"})
    assert operator.get("/api/v1/releases")["releases"] == []
    again.stop()
