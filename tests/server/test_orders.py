# SPDX-License-Identifier: MIT
"""What an operator orders: retry, downgrade, consent for a device that waits, and the way back."""

import hashlib
import json
import time

import pytest
from server_client import ServerThread

from trueboot_server.limits import Limits

OLD, NEW = b"the image of 1.0.0", b"the image of 1.1.0"
OLD_PATH, NEW_PATH = "app/sim/1.0.0/app.img", "app/sim/1.1.0/app.img"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerThread(tmp_path_factory.mktemp("server") / "state", Limits())
    yield running
    running.stop()


@pytest.fixture
def released(operator):
    if not operator.get("/api/v1/releases")["releases"]:
        operator.publish(OLD_PATH, OLD)
        operator.publish(NEW_PATH, NEW)
    return operator


@pytest.fixture
def session(released, device):
    session = device.ready()
    yield session
    session.close()


def start(operator, device, **more):
    return operator.post("/api/v1/jobs", {"target": NEW_PATH, "devices": [device.device_key], **more})


def order(operator, device, what, body):
    return operator.call("POST", f"/api/v1/devices/{device.product_key}/{device.device_key}/{what}", body)


def refused(answer):
    return answer.status_code, answer.json()["error"]["code"]


def sha256(image):
    return hashlib.sha256(image).hexdigest()


def test_pushes_carry_what_was_ordered_and_nothing_else(released, device, session):
    for orders in ({}, {"retry": True}, {"downgrade": True}, {"retry": True, "downgrade": True}, {"retry": False}):
        job = start(released, device, **orders)
        pushed = session.get(device.sys + "ota/device/upgrade")["params"]
        found = {name: pushed[name] for name in ("retry", "downgrade") if name in pushed}
        assert found == {name: value for name, value in orders.items() if value}
        assert (job["retry"], job["downgrade"]) == (bool(orders.get("retry")), bool(orders.get("downgrade")))
        released.post(f"/api/v1/jobs/{job['id']}/cancel", {})
    for wrong in (1, "true", None, [True]):
        for name in ("retry", "downgrade"):
            body = {"target": NEW_PATH, "devices": [device.device_key], name: wrong}
            assert refused(released.call("POST", "/api/v1/jobs", body)) == (400, "bad_parameter")


def answering(session, device, code, data):
    """The device answers consent so; what it was asked goes into the list."""
    asked = []

    def answer(_client, _userdata, message):
        asked.append(json.loads(message.payload))
        reply = {"id": asked[-1]["id"], "code": code, "message": "", "data": data}
        session.client.publish(message.topic + "_reply", json.dumps(reply), 1)

    session.client.message_callback_add(device.sys + "thing/service/trueboot.consent", answer)
    return asked


def test_consent_names_deployment_image_gate_and_its_end(released, device, session):
    asked = answering(session, device, 200, {})
    job = start(released, device)
    pushed = session.get(device.sys + "ota/device/upgrade")["params"]
    before = int(time.time())
    given = order(released, device, "consent", {"job": job["id"], "gate": "activate", "valid_s": 60})
    assert given.status_code == 200, given.text
    assert given.json()["answer"] == "yes" and given.json()["gate"] == "activate"
    params = asked[0]["params"]
    assert before + 60 <= params.pop("expires") <= int(time.time()) + 60
    assert params == {"job": pushed["job"], "sha256": sha256(NEW), "gate": "activate", "answer": "yes"}
    released.wait_for("consent.given", job=job["id"], gate="activate")
    assert order(released, device, "consent", {"job": job["id"], "gate": "download", "answer": "no"}).status_code == 200
    assert asked[1]["params"]["answer"] == "no"


def test_a_device_that_takes_no_consent_says_why(released, device, session):
    answering(session, device, 1263, {"reason": "consent_remote is not accept"})
    job = start(released, device)
    answer = order(released, device, "consent", {"job": job["id"], "gate": "activate"})
    assert refused(answer) == (409, "consent_declined") and "consent_remote is not accept" in answer.text
    for data in (None, [], {"reason": 5}, {"reason": "\x1b[2J"}):
        answering(session, device, 1101, data)
        answer = order(released, device, "consent", {"job": job["id"], "gate": "activate"})
        assert refused(answer) == (409, "consent_declined") and "nothing of consent" in answer.text


def test_consent_that_cannot_be(released, device, session):
    job = start(released, device)["id"]
    for body in (
        {"job": job, "gate": "both"},
        {"job": job, "gate": ["activate"]},
        {"job": job},
        {"job": job, "gate": "activate", "valid_s": 0},
        {"job": job, "gate": "activate", "valid_s": True},
        {"job": job, "gate": "activate", "valid_s": 31 * 86_400},
        {"job": job, "gate": "activate", "answer": "later"},
    ):
        assert refused(order(released, device, "consent", body)) == (400, "bad_parameter"), body
    for other in ("99999", "x", None, ["1"]):
        body = {"job": other, "gate": "activate"}
        assert refused(order(released, device, "consent", body)) == (404, "no_such_attempt")
    session.close()
    released.wait_for("device.offline", device_key=device.device_key)
    assert refused(order(released, device, "consent", {"job": job, "gate": "activate"})) == (409, "device_offline")


def test_the_way_back_is_a_job_for_what_was_proven_to_run_before(released, device, session):
    inform = device.sys + "ota/device/inform"
    assert refused(order(released, device, "rollback", {})) == (409, "no_earlier_release")
    report = device.report(version="1.0.0", image=sha256(OLD))
    assert session.request(inform, {"version": "1.0.0", "report": report})["code"] == 200
    assert refused(order(released, device, "rollback", {})) == (409, "no_earlier_release")
    start(released, device)
    push = session.get(device.sys + "ota/device/upgrade")
    busy = refused(order(released, device, "rollback", {}))
    assert busy == (409, "no_earlier_release"), "what runs is what would be gone back to"
    proof = device.proof(push, NEW, "1.1.0")
    assert session.request(inform, {"version": "1.1.0", "report": proof})["code"] == 200
    made = order(released, device, "rollback", {})
    assert made.status_code == 201, made.text
    assert (made.json()["target"], made.json()["downgrade"], made.json()["retry"]) == (OLD_PATH, True, False)
    pushed = session.get(device.sys + "ota/device/upgrade")["params"]
    assert (pushed["sign"], pushed["downgrade"]) == (sha256(OLD), True)
    assert refused(order(released, device, "rollback", {})) == (409, "device_busy")


def test_a_device_that_says_that_it_waits_is_not_late(server, released, device, session):
    job = start(released, device)
    push = session.get(device.sys + "ota/device/upgrade")["params"]

    def tell(desc):
        session.request(device.sys + "ota/device/progress", {"step": "80", "desc": desc, "job": push["job"]})

        def late(server):
            from trueboot_server.fleet import jobs

            with server.store.transaction() as t:
                t.now += 10 * 7200 * 1000
                jobs.expire(t, Limits())

        server.call(late)
        return released.get(f"/api/v1/jobs/{job['id']}")["attempts"][0]["state"]

    assert tell("waiting for the window 22:00-06:00") == "in_progress"
    assert tell("downloading") == "timed_out"
