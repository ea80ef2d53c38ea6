# SPDX-License-Identifier: MIT
"""The operator's REST interface: who may, what is refused, one error format, and nothing of our faults in it."""

import json

import pytest
import requests
from server_client import Operator, Raw, ServerThread

from trueboot_server.limits import Limits
from trueboot_server.proofs import FailedProofs

ROADS = [
    ("GET", "/api/v1/devices"), ("POST", "/api/v1/devices"), ("GET", "/api/v1/devices/pk/dk"), ("POST", "/api/v1/devices/pk/dk/revoke"),
    ("GET", "/api/v1/devices/pk/dk/attributes"), ("POST", "/api/v1/devices/pk/dk/attributes"),
    ("POST", "/api/v1/devices/pk/dk/consent"), ("POST", "/api/v1/devices/pk/dk/rollback"),
    ("POST", "/api/v1/devices/pk/dk/commands"), ("GET", "/api/v1/releases"), ("PUT", "/api/v1/repo/targets/app/sim/1.0.0/x"),
    ("POST", "/api/v1/repo/metadata"), ("GET", "/api/v1/repo"), ("POST", "/api/v1/repo/online-key"), ("GET", "/api/v1/jobs"), ("POST", "/api/v1/jobs"), ("GET", "/api/v1/jobs/1"),
    ("POST", "/api/v1/jobs/1/cancel"), ("GET", "/api/v1/events"),
    ("POST", "/api/v1/devices/pk/dk/replace"), ("POST", "/api/v1/devices/pk/dk/renew"),
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerThread(
        tmp_path_factory.mktemp("server") / "state", Limits(failed_proofs=10_000, devices_per_product=12)
    )
    yield running
    running.stop()


def error(answer):
    assert answer.headers["Content-Type"].startswith("application/json"), answer.text
    body = answer.json()
    assert set(body) == {"error"} and set(body["error"]) == {"code", "message", "hint"}
    return answer.status_code, body["error"]["code"]


def test_every_road_is_covered_here():
    from trueboot_server.https import attributes, devices, est, jobs, lifecycle, orders, repository, status

    roads = [
        route
        for part in (attributes, devices, est, jobs, lifecycle, orders, repository, status)
        for route in part.routes()
    ]
    operators = [route for route in roads if route.path.startswith("/api/v1") and route.path != "/api/v1/nonce"]
    assert len(operators) == len(ROADS)  # a nonce is for whoever asks


@pytest.mark.parametrize("method, path", ROADS)
def test_nothing_is_done_without_the_token(server, method, path):
    url = server.first["https"] + path
    for headers, code in (
        ({}, "token_required"),
        ({"Authorization": "Bearer "}, "token_required"),
        ({"Authorization": "Basic eDp5"}, "token_required"),
        ({"Authorization": "Bearer wrong"}, "token_wrong"),
        ({"Authorization": "Bearer " + server.first["registration_secret"]}, "token_wrong"),
        ({"Authorization": "Bearer ä".encode()}, "token_wrong"),
    ):
        answer = requests.request(method, url, headers=headers, data=b"{}", verify=server.first["ca_file"], timeout=9)
        assert error(answer) == (401, code)


def test_a_device_is_registered_once_and_its_secret_is_told_once(operator, server):
    made = operator.post("/api/v1/devices", {"device_key": "bench-1"})
    assert (
        made["state"] == "registered"
        and made["device_secret"]
        and made["certificate"] is None
        and made["online"] is False
    )
    assert error(operator.call("POST", "/api/v1/devices", {"device_key": "bench-1"})) == (409, "device_exists")
    assert "device_secret" not in operator.device("bench-1")
    assert "device_secret" not in operator.get("/api/v1/devices")["devices"][0]


@pytest.mark.parametrize(
    "body, expected",
    [
        ({}, (400, "bad_key")), ({"device_key": ""}, (400, "bad_key")), ({"device_key": "a/b"}, (400, "bad_key")),
        ({"device_key": "x" * 64}, (400, "bad_key")), ({"device_key": 7}, (400, "bad_key")), ({"device_key": ".."}, (400, "bad_key")),
        ({"device_key": "x", "product_key": "pk-other"}, (404, "no_such_product")), ({"device_key": "x", "product_key": ["a"]}, (400, "bad_key")),
        ({"device_key": "x", "secret": "y"}, (400, "unknown_member")), ([], (400, "not_json")), ("x", (400, "not_json")),
    ],
)  # fmt: skip
def test_registrations_that_cannot_be(operator, body, expected):
    assert error(operator.call("POST", "/api/v1/devices", body)) == expected


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b'{"device_key":NaN}', b'{"device_key":"\\ud800"}', b"[" * 50_000]
)
def test_bodies_that_are_not_json(operator, data):
    assert error(operator.call("POST", "/api/v1/devices", data=data)) == (400, "not_json")


def test_a_product_has_a_bounded_number_of_devices(operator, server):
    answers = [operator.call("POST", "/api/v1/devices", {"device_key": f"many-{i}"}).status_code for i in range(14)]
    assert 409 in answers and answers.count(201) <= 12
    assert error(operator.call("POST", "/api/v1/devices", {"device_key": "one-more"})) == (409, "product_full")


def test_a_body_over_the_limit_is_refused_with_and_without_a_length(operator):
    assert error(operator.call("POST", "/api/v1/devices", data=b"x" * 70_000)) == (413, "body_too_long")
    assert error(operator.call("POST", "/api/v1/devices", data=iter([b"x" * 40_000] * 3))) == (413, "body_too_long")


def test_a_target_over_the_limit_is_refused(tmp_path):
    server = ServerThread(tmp_path / "state", Limits(target_bytes=1000))
    try:
        operator = Operator(server.first)
        road = "/api/v1/repo/targets/app/sim/1.0.0/x"
        assert operator.call("PUT", road, data=b"x" * 1000).status_code == 201
        assert error(operator.call("PUT", road, data=b"x" * 1001)) == (413, "body_too_long")
        assert error(operator.call("PUT", road, data=iter([b"x" * 600] * 2))) == (413, "body_too_long")
        assert list((tmp_path / "state/repo/incoming").iterdir()) == []
    finally:
        server.stop()


def test_a_body_that_does_not_come_is_given_up(tmp_path):
    server = ServerThread(tmp_path / "state", Limits(body_timeout_s=0.2, upload_idle_s=0.2))
    try:
        for request in ("POST /api/v1/devices", "PUT /api/v1/repo/targets/app/sim/1.0.0/x"):
            caller = Raw(server.first["https"], server.first["ca_file"])
            caller.send(
                f"{request} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.first['admin_token']}\r\n"
                "Content-Length: 100\r\n\r\n{".encode()
            )
            assert caller.read(12) == b"HTTP/1.1 408"
    finally:
        server.stop()


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTT", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /heal"])
def test_a_connection_that_asks_nothing_is_ended(tmp_path, said):
    server = ServerThread(tmp_path / "state", Limits(https_idle_s=0.3))
    try:
        caller = Raw(server.first["https"], server.first["ca_file"]).send(said)
        while caller.socket.recv(4096):
            pass
    finally:
        server.stop()


def test_connections_are_bounded(tmp_path):
    server = ServerThread(tmp_path / "state", Limits(https_connections=1))
    try:
        held = Raw(server.first["https"], server.first["ca_file"])
        assert Raw(server.first["https"], server.first["ca_file"]).closed()
        held.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert held.read(12) == b"HTTP/1.1 200"
    finally:
        server.stop()


JOBS = [
    ({}, (404, "no_such_release")), ({"target": "app/sim/9.9.9/x", "devices": "all"}, (404, "no_such_release")),
    ({"target": {"a": 1}, "devices": "all"}, (404, "no_such_release")), ({"target": "T", "devices": []}, (400, "no_devices")),
    ({"target": "T", "devices": "some"}, (400, "bad_devices")), ({"target": "T", "devices": [1]}, (400, "bad_devices")),
    ({"target": "T"}, (400, "bad_devices")), ({"target": "T", "devices": ["nobody"]}, (404, "no_such_device")),
    ({"target": "T", "devices": "all", "product_key": "pk-other"}, (400, "no_devices")),
    ({"target": "T", "devices": ["bench-1"], "product_key": "pk-other"}, (404, "no_such_device")),
    ({"target": "T", "devices": "all", "max_failures": -1}, (400, "bad_max_failures")),
    ({"target": "T", "devices": "all", "max_failures": True}, (400, "bad_max_failures")),
    ({"target": "T", "devices": "all", "max_failure": 1}, (400, "unknown_member")),
]  # fmt: skip


def test_jobs_that_cannot_be(operator):
    operator.publish("app/sim/1.1.0/x", b"x")
    before = operator.get("/api/v1/jobs")
    for body, expected in JOBS:
        body = {**body, **({"target": "app/sim/1.1.0/x"} if body.get("target") == "T" else {})}
        assert error(operator.call("POST", "/api/v1/jobs", body)) == expected, body
    assert operator.get("/api/v1/jobs") == before


@pytest.mark.parametrize("number", ["0", "999", "-1", "x", "1e3", "9" * 30, "%00", "1%2f2", "٣"])
def test_unknown_jobs(operator, number):
    assert error(operator.call("GET", f"/api/v1/jobs/{number}"))[0] == 404
    assert error(operator.call("POST", f"/api/v1/jobs/{number}/cancel"))[0] == 404


def test_unknown_devices_and_those_of_other_products(operator, server):
    operator.call("POST", "/api/v1/devices", {"device_key": "known"})
    pk = server.first["product_key"]
    for path in (f"{pk}/nobody", "pk-other/known", f"{pk}/%2e%2e", "%00/x", "a%2fb/c", f"{pk}/" + "x" * 300):
        assert error(operator.call("GET", f"/api/v1/devices/{path}"))[0] == 404
        assert error(operator.call("POST", f"/api/v1/devices/{path}/commands", {"service": "x"}))[0] == 404
        assert error(operator.call("POST", f"/api/v1/devices/{path}/revoke"))[0] == 404


def test_unknown_roads_and_methods_have_the_same_error_format(operator):
    assert error(operator.call("GET", "/nowhere")) == (404, "not_found")
    answer = operator.call("DELETE", "/api/v1/devices")
    assert error(answer) == (405, "method_not_allowed") and "GET" in answer.headers["Allow"]


@pytest.fixture
def session(server, device):
    server.call(lambda s: setattr(s.desk.decada, "_limits", Limits()))
    session = device.ready()
    yield session
    session.close()


def test_a_silent_device_and_an_absent_one(operator, session, device):
    path = f"/api/v1/devices/{device.product_key}/{device.device_key}/commands"
    assert error(operator.call("POST", path, {"service": "x", "timeout_s": 0.1})) == (504, "device_silent")
    session.close()
    operator.wait_for("device.offline", device_key=device.device_key)
    assert error(operator.call("POST", path, {"service": "x"})) == (409, "device_offline")


@pytest.mark.parametrize(
    "body, code",
    [
        ({}, "bad_service"), ({"service": "a/b"}, "bad_service"), ({"service": "x_reply"}, "bad_service"), ({"service": "#"}, "bad_service"),
        ({"service": "measurepoint/set_reply"}, "bad_service"), ({"service": ["x"]}, "bad_service"), ({"service": "x", "timeout_s": 0}, "bad_timeout"),
        ({"service": "x", "timeout_s": 1e9}, "bad_timeout"), ({"service": "x", "timeout_s": "5"}, "bad_timeout"), ({"service": "x", "wait": 5}, "unknown_member"),
    ],
)  # fmt: skip
def test_commands_that_cannot_be(operator, session, device, body, code):
    path = f"/api/v1/devices/{device.product_key}/{device.device_key}/commands"
    assert error(operator.call("POST", path, body)) == (400, code)


def test_a_command_is_answered_by_its_own_device_and_its_own_number_only(operator, server, session, device, tmp_path):
    from server_client import Device

    other = Device(device.first, device.device_key + "-b", tmp_path)
    intruder = other.ready()
    path = f"/api/v1/devices/{device.product_key}/{device.device_key}/commands"

    def answer(_client, _userdata, message):
        asked = json.loads(message.payload)
        reply = {"code": 200, "data": "forged"}
        intruder.client.publish(other.sys + "thing/service/x_reply", json.dumps({**reply, "id": asked["id"]}), 1)
        session.client.publish(device.sys + "thing/service/x_reply", json.dumps({**reply, "id": "12345"}), 1)
        session.client.publish(
            device.sys + "thing/service/x_reply", json.dumps({"id": asked["id"], "code": "1102", "message": "no"}), 1
        )

    session.client.message_callback_add(device.sys + "thing/service/x", answer)
    assert operator.post(path, {"service": "x"}) == {"code": 1102, "data": None, "message": "no"}
    intruder.close()


def test_pages_of_events(operator):
    everything = operator.get("/api/v1/events")
    first = operator.get("/api/v1/events?limit=2")
    assert [e["seq"] for e in first["events"]] == [1, 2] and first["last"] == 2
    assert operator.get("/api/v1/events?after=2&limit=1")["events"] == everything["events"][2:3]
    assert set(everything["events"][0]) >= {"seq", "time", "event"} and everything["events"][0]["time"].endswith("Z")
    for bad in ("after=x", "after=-1", "wait=nan", "limit=inf", "after="):
        assert error(operator.call("GET", f"/api/v1/events?{bad}")) == (400, "bad_parameter")


def test_a_fault_of_ours_is_told_to_the_log_and_not_to_the_caller(operator, server, monkeypatch):
    def broken(*_):
        raise RuntimeError("canary-of-a-fault")

    monkeypatch.setattr("trueboot_server.https.devices.telemetry.latest", broken)
    operator.call("POST", "/api/v1/devices", {"device_key": "known"})
    answer = operator.call("GET", f"/api/v1/devices/{server.first['product_key']}/bench-1")
    assert error(answer) == (500, "internal") and "canary" not in answer.text
    line = [line for line in server.log().splitlines() if '"fault"' in line][-1]
    assert "RuntimeError" in line and "canary" not in line


def test_failed_proofs_are_counted_in_a_moving_window():
    now = [0.0]
    proofs = FailedProofs(2, 10, 3, clock=lambda: now[0])
    proofs.failed("a")
    assert proofs.wait_s("a") == 0
    now[0] = 4
    proofs.failed("a")
    assert (proofs.wait_s("a"), proofs.wait_s("b")) == (6, 0)
    now[0] = 10
    assert proofs.wait_s("a") == 0
    proofs.failed("a")
    assert proofs.wait_s("a") == 4
    for address in "bcd":
        proofs.failed(address)
    assert "a" not in proofs._failures and len(proofs._failures) == 3
