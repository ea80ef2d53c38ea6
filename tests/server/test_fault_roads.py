# SPDX-License-Identifier: MIT
"""A server that misbehaves on command, seen from outside: each kind does what it says, to whom it says, and ends."""

import json
import time

import pytest
import requests
from server_client import PATIENCE_S, Device, Operator, Raw, ServerThread, connect_packet, field, packet

from trueboot_server import jws
from trueboot_server.faults.kinds import KINDS, parse
from trueboot_server.faults.stand import SkewedClock
from trueboot_server.nonces import Nonces

IMAGE = bytes(range(256)) * 400
PATH = "app/sim/1.0.0/app.img"
ROAD = "/api/v1/faults"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerThread(tmp_path_factory.mktemp("server") / "state", faults=True)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def published(server):
    operator = Operator(server.first)
    operator.publish(PATH, IMAGE)
    return operator.get("/api/v1/releases")["releases"][0]["sha256"]


@pytest.fixture
def operator(server):
    found = Operator(server.first)
    yield found
    found.call("DELETE", ROAD)


@pytest.fixture(scope="module")
def device(server, tmp_path_factory):
    made = Device(server.first, "a", tmp_path_factory.mktemp("device"))
    assert made.activate() == 0
    return made.enrol()


class Visitor:
    """A device's HTTPS client: its certificate, and no token."""

    def __init__(self, device):
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = device.ca_file
        self.session.cert = device.identity
        self.base = device.first["https"]

    def get(self, path, **headers):
        return self.session.get(self.base + path, headers=headers, timeout=PATIENCE_S)

    def post(self, path):
        return self.session.post(self.base + path, timeout=PATIENCE_S)


@pytest.fixture
def visitor(device):
    return Visitor(device)


@pytest.fixture
def image(published):
    folder, _, name = PATH.rpartition("/")
    return f"/repo/targets/{folder}/{published}.{name}"


def begin(operator, kind, **arguments):
    answer = operator.call("POST", ROAD, {"kind": kind, **arguments})
    assert answer.status_code == 201, answer.text
    return answer.json()


def state(operator, fault):
    return next(one for one in operator.get(ROAD)["faults"] if one["id"] == fault["id"])


# The road


def test_without_the_flag_there_is_no_such_road(tmp_path):
    well = ServerThread(tmp_path / "state")
    try:
        operator = Operator(well.first)
        for method in ("GET", "POST", "DELETE"):
            answer = operator.call(method, ROAD, {"kind": "drop"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert well.first["faults"] is False
        assert "faults" not in well.log()
    finally:
        well.stop()


def test_the_log_says_what_kind_of_server_this_is(server):
    assert '"event":"server.faults"' in server.log()
    assert server.first["faults"] is True


def test_only_the_operator_may(server, visitor):
    for method in ("GET", "POST", "DELETE"):
        assert visitor.session.request(method, visitor.base + ROAD, data="{}").status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "nonsense"},
        {"kind": ["drop"]},
        {"kind": "latency", "ms": 0},
        {"kind": "latency", "ms": "soon"},
        {"kind": "latency", "ms": 1.5},
        {"kind": "latency", "ms": True},
        {"kind": "latency", "ms": float("nan")},
        {"kind": "latency", "s": 1},
        {"kind": "drop", "percent": 101},
        {"kind": "drop", "for": 3601},
        {"kind": "drop", "for": 0},
        {"kind": "drop", "times": -1},
        {"kind": "drop", "path": "x" * 201},
        {"kind": "drop", "path": 7},
        {"kind": "wrong-range", "as": "whatever"},
        {"kind": "broker-restart", "device": "a"},
    ],
)
def test_what_cannot_be_begun_is_refused(operator, body):
    answer = operator.call("POST", ROAD, data=json.dumps(body).encode())
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in ("bad_fault", "not_json")
    assert not [one for one in operator.get(ROAD)["faults"] if one["state"] == "in_force"]


def test_their_number_is_limited(operator):
    for _ in range(64):
        begin(operator, "latency", path="/nowhere")
    answer = operator.call("POST", ROAD, {"kind": "latency"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "too_many_faults")


def test_it_ends_after_its_times_after_its_time_or_when_cleared(operator, visitor):
    spent = begin(operator, "latency", ms=1, times=2, path="/healthz")
    for _ in range(3):
        visitor.get("/healthz")
    over = begin(operator, "latency", **{"ms": 1, "for": 0.1})
    assert operator.wait_for("fault.ended", fault=over["id"])["why"] == "time_over"
    third = begin(operator, "drop")
    assert operator.call("DELETE", f"{ROAD}/{third['id']}").json()["cleared"][0]["id"] == third["id"]
    assert [state(operator, one)["state"] for one in (spent, over, third)] == ["used_up", "time_over", "cleared"]
    assert [state(operator, one)["applied"] for one in (spent, over, third)] == [2, 0, 0]
    assert operator.call("DELETE", f"{ROAD}/{third['id']}").status_code == 404


def test_the_operator_is_never_hit(operator):
    begin(operator, "drop", percent=100, times=0)
    assert operator.get("/api/v1/devices")


def test_one_device_one_place(operator, visitor, image):
    begin(operator, "429-storm", device="b", times=0)
    begin(operator, "429-storm", device="a", path="/images/*", times=0)
    assert visitor.get(image).content == IMAGE
    begin(operator, "429-storm", device="a", path="/repo/*", times=1)
    assert visitor.get(image).status_code == 429
    assert visitor.get(image).content == IMAGE


def test_chance_repeats_itself(operator, visitor):
    def struck():
        begin(operator, "429-storm", percent=50, seed=7, times=0, path="/healthz")
        found = [visitor.get("/healthz").status_code for _ in range(12)]
        operator.call("DELETE", ROAD)
        return found

    first = struck()
    assert set(first) == {200, 429} and struck() == first


# The kinds


def test_latency(operator, visitor):
    begin(operator, "latency", ms=300)
    start = time.monotonic()
    assert visitor.get("/healthz").status_code == 200
    assert time.monotonic() - start >= 0.3


def test_drop(operator, visitor, device):
    begin(operator, "drop", percent=100, times=1)
    with pytest.raises(requests.ConnectionError):
        visitor.get("/healthz")
    connection = Raw(device.first["mqtt"], device.ca_file, device.identity).send(connect_packet(device, clean=False))
    assert connection.packet()[3] == 0
    begin(operator, "drop", percent=100, times=1, path="*/ota/*")
    inform = json.dumps({"id": "1", "params": {"version": "6.6.6"}}).encode()
    told = packet(0x32, field(device.sys + "ota/device/inform") + b"\x00\x09" + inform)
    assert connection.send(told).closed()
    assert operator.device("a")["claimed_version"] is None  # neither acknowledged nor taken
    again = Raw(device.first["mqtt"], device.ca_file, device.identity).send(connect_packet(device, clean=False))
    assert again.packet() == b"\x20\x02\x01\x00"  # the session is still there
    assert again.send(told).packet() == b"\x40\x02\x00\x09"
    again.close()


def test_truncate(operator, visitor, image):
    begin(operator, "truncate", at=1, times=1)
    answer = visitor.session.get(visitor.base + image, stream=True, timeout=PATIENCE_S)
    assert answer.headers["Content-Length"] == str(len(IMAGE))
    got = b""
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        for piece in answer.iter_content(64):
            got += piece
    assert got == IMAGE[: len(IMAGE) // 100]
    assert visitor.get(image).content == IMAGE


def test_truncate_and_wrong_digest_of_what_is_sent_in_one_piece(operator, visitor, published):
    right = visitor.get("/repo/metadata/timestamp.json").content
    begin(operator, "wrong-digest", path="/repo/metadata/*", times=1)
    wrong = visitor.get("/repo/metadata/timestamp.json").content
    assert len(wrong) == len(right) and sum(a != b for a, b in zip(wrong, right, strict=True)) == 1
    begin(operator, "truncate", path="/repo/metadata/*")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        visitor.get("/repo/metadata/timestamp.json")


@pytest.mark.parametrize("road", ["target", "image"])
def test_wrong_digest(operator, visitor, image, published, road):
    path = image if road == "target" else f"/images/{published}?offset=0"
    begin(operator, "wrong-digest", times=1)
    wrong = visitor.get(path).content
    assert len(wrong) == len(IMAGE) and sum(a != b for a, b in zip(wrong, IMAGE, strict=True)) == 1
    assert visitor.get(path).content == IMAGE


def test_wrong_range(operator, visitor, image):
    begin(operator, "wrong-range")
    assert visitor.get(image).content == IMAGE  # which asked for no part
    answer = visitor.get(image, Range="bytes=100-199")
    assert (answer.status_code, answer.headers["Content-Range"]) == (206, f"bytes 99-198/{len(IMAGE)}")
    begin(operator, "wrong-range", **{"as": "whole"})
    answer = visitor.get(image, Range="bytes=100-199")
    assert (answer.status_code, answer.content) == (200, IMAGE)
    assert visitor.get(image, Range="bytes=100-199").content == IMAGE[100:200]


def test_expired_token(operator, visitor, image):
    for status in (401, 404, 410):
        begin(operator, "expired-token", status=status)
        answer = visitor.get(image)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, "fault_injected")
    begin(operator, "expired-token")
    answer = visitor.get("/connect-service/v2.1/devices?action=get", **{"apim-accesstoken": "x"})
    assert (answer.status_code, answer.json()["code"]) == (200, 1203)


def test_429_storm(operator, visitor, image):
    begin(operator, "429-storm", after=7, times=2)
    for path in (image, "/repo/metadata/timestamp.json"):
        answer = visitor.get(path)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    assert visitor.get(image).status_code == 200


def test_clock_skew(operator, visitor):
    def day():
        return visitor.get("/healthz").headers["Date"][5:16]

    def nonce():
        """The moment that a nonce says it was made at."""
        return int.from_bytes(jws.decode(visitor.post("/api/device/v1/nonce").json()["nonce"])[:8], "big")

    right, before = day(), nonce()
    fault = begin(operator, "clock-skew", s=86400 * 400)
    assert day() != right and nonce() > before + 86400_000 * 400
    operator.call("DELETE", f"{ROAD}/{fault['id']}")
    assert day() == right and nonce() < before + 60_000


def test_a_nonce_of_before_the_skew_is_over():
    clock = SkewedClock()
    nonces = Nonces(300, 10, clock.monotonic)
    before = nonces.make()
    undo = clock.skew(301)
    assert not nonces.take(before) and nonces.take(nonces.make())
    undo()
    assert nonces.take(before)


def test_broker_restart(operator, device):
    held = Raw(device.first["mqtt"], device.ca_file, device.identity).send(connect_packet(device, clean=False))
    assert held.packet()[3] == 0
    fault = begin(operator, "broker-restart")
    assert held.closed()
    waiting = Raw(device.first["mqtt"], device.ca_file, device.identity)
    assert waiting.closed()
    assert operator.wait_for("fault.ended", fault=fault["id"])["applied"] == 1
    again = Raw(device.first["mqtt"], device.ca_file, device.identity).send(connect_packet(device, clean=False))
    assert again.packet() == b"\x20\x02\x00\x00"  # it remembers no session
    again.close()


def stamp(visitor):
    return json.loads(visitor.get("/repo/metadata/timestamp.json").content)["signed"]


def test_stale_metadata(operator, visitor, published):
    now = stamp(visitor)
    begin(operator, "stale-metadata")
    operator.publish("app/sim/1.0.1/app.img", IMAGE + b"!")
    assert stamp(visitor) == now
    operator.call("DELETE", ROAD)
    assert stamp(visitor)["version"] > now["version"]
    begin(operator, "stale-metadata", **{"as": "rollback"})
    assert stamp(visitor)["version"] == 1
    begin(operator, "stale-metadata", **{"as": "expired"})  # takes the place of the other
    assert stamp(visitor)["expires"] < now["expires"]
    operator.withdraw("app/sim/1.0.1/app.img")


@pytest.mark.parametrize(
    "how, words",
    [("untrusted", "self-signed|unable to get|verify failed"), ("name", "mismatch"), ("expired", "expired")],
)
def test_bad_certificate(operator, device, how, words):
    held = Raw(device.first["mqtt"], device.ca_file, device.identity).send(connect_packet(device))
    assert held.packet()[3] == 0
    fault = begin(operator, "bad-certificate", **{"as": how, "for": 60})
    assert held.closed()
    with pytest.raises(requests.exceptions.SSLError, match=words):
        Visitor(device).get("/healthz")
    operator.call("DELETE", f"{ROAD}/{fault['id']}")  # over the connection that the operator has
    assert Visitor(device).get("/healthz").status_code == 200


def test_every_kind_is_tried_here():
    tried = {name.removeprefix("test_").replace("_", "-") for name in globals() if name.startswith("test_")}
    assert set(KINDS) <= tried


def test_a_spec_in_one_word():
    assert parse("drop") == {"kind": "drop"}
    assert parse("latency:ms=800,path=/a*") == {"kind": "latency", "ms": "800", "path": "/a*"}
    for spec in ("drop:", "drop:x", "drop:=1", "drop:a=1,a=2", "drop:kind=latency"):
        if spec == "drop:":
            assert parse(spec) == {"kind": "drop"}
            continue
        with pytest.raises(ValueError):
            parse(spec)
