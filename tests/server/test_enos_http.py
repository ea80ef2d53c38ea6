# SPDX-License-Identifier: MIT
"""EnOS's HTTP device protocol: login, publish, commands in headers, download; and what strangers and liars get."""

import hashlib
import json
import re
import threading
import time

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from server_client import PATIENCE_S, ROOT, Device, Operator, ServerThread

from trueboot_server.enos_http import login
from trueboot_server.enos_http.sessions import HttpSession, Sessions
from trueboot_server.limits import Limits
from trueboot_server.names import Identity
from trueboot_server.tickets import Tickets

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70)
ANYTHING = SCALARS | st.lists(SCALARS, max_size=3)
IMAGE = bytes(range(256)) * 40
TARGET = "app/sim/2.0.0/app.img"
LIMITS = Limits(packet_bytes=20_000, commands_pending_per_device=3, http_sessions=40, failed_proofs=10_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerThread(tmp_path_factory.mktemp("server") / "state", LIMITS)
    operator = Operator(running.first)
    operator.publish(TARGET, IMAGE)
    allow(operator, True)
    yield running
    running.stop()


@pytest.fixture
def operator(server):
    return Operator(server.first)


def allow(operator, allowed):
    road = f"/api/v1/products/{operator.first['product_key']}/policy"
    operator.post(road, {"allow_password_login": allowed, "claims_count": True})


class HttpDevice:
    """What EnOS's Java SDK does, with requests."""

    def __init__(self, operator, device_key, identity=None):
        made = operator.post("/api/v1/devices", {"device_key": device_key})
        self.first, self.device_key, self.secret = operator.first, device_key, made["device_secret"]
        self.product_key = made["product_key"]
        self.sys = f"/sys/{self.product_key}/{device_key}/"
        self.web = requests.Session()
        self.web.trust_env, self.web.verify, self.web.cert = False, self.first["ca_file"], identity
        self.session_id, self.commands, self.number = None, [], 0

    def sign(self, lifetime, secret=None):
        text = f"deviceKey{self.device_key}lifetime{lifetime}productKey{self.product_key}signMethodsha256"
        return hashlib.sha256((text + (secret or self.secret)).encode()).hexdigest()

    def log_in(self, lifetime=300_000, secret=None, **more):
        body = {"signMethod": "sha256", "lifetime": lifetime, "sign": self.sign(lifetime, secret), **more}
        answer = self.send("POST", f"/auth/{self.product_key}/{self.device_key}", json.dumps(body))
        if answer.status_code == 200:
            self.session_id = answer.json()["data"]["sessionId"]
        return answer

    def post(self, path, params, number=None, **envelope):
        self.number += 1
        body = {"id": number or str(self.number), "version": "1.1", "method": "any", "params": params, **envelope}
        return self.raw(path, json.dumps(body))

    def raw(self, path, data):
        return self.send("POST", f"/topic{self.sys}{path}?sessionId={self.session_id}", data)

    def fetch(self, uri, road="file/download", **headers):
        query = {"sessionId": self.session_id, "fileUri": uri, "category": "ota"}
        return self.send("GET", f"/multipart{self.sys}{road}", params=query, headers=headers)

    def send(self, method, path, data=None, **more):
        answer = self.web.request(method, self.first["https"] + path, data=data, timeout=PATIENCE_S, **more)
        if "command-payload" in answer.headers:
            self.commands.append((answer.headers["topic"], json.loads(answer.headers["command-payload"])))
        return answer


@pytest.fixture
def device(operator):
    return HttpDevice(operator, f"web-{time.monotonic_ns()}")


def refused(answer):
    """(HTTP status, EnOS code) of an answer in this dialect's one error format."""
    body = answer.json()
    assert set(body) == {"code", "message", "data"} and body["data"] is None and answer.status_code >= 400, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status_code, body["code"]


def test_the_documented_signature():
    wanted = login.Login(Identity("pK11111", "dK987654"), "", "sha256", "300000", frozenset())
    expected = "49ac3d2598d2fb5592694b077eb073122ed128bae3ac4b9f059ccf5a832e2598"
    assert login.expected(wanted, "abcdefg") == expected


def test_a_whole_update_over_http(server, operator, device):
    assert device.log_in().json()["code"] == 200 and device.commands == []
    answer = device.post("ota/device/inform", {"version": "1.0.0"}, number="77")
    assert answer.json() == {"id": "77", "code": 200, "message": "", "data": {}}
    shown = operator.device(device.device_key)
    assert shown["claimed_version"] == "1.0.0" and shown["online"] is True

    job = operator.post("/api/v1/jobs", {"target": TARGET, "devices": [device.device_key]})
    assert device.post("thing/measurepoint/post", {"measurepoints": {"t": 1}}).json()["code"] == 200
    [(topic, command)] = device.commands  # on the headers of that answer
    assert topic == device.sys + "ota/device/upgrade" and command["method"] == "ota.device.upgrade"
    told = command["params"]
    assert device.raw("ota/device/upgrade_reply", json.dumps({"id": command["id"], "code": 200})).status_code == 200

    whole = device.fetch(told["fileUrl"])
    assert whole.status_code == 200 and whole.content == IMAGE and whole.headers["Accept-Ranges"] == "bytes"
    part = device.fetch("enos-connect://" + told["sign"], Range="bytes=100-199")
    assert part.status_code == 206 and part.content == IMAGE[100:200]
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(IMAGE)}"
    assert device.fetch(told["fileUrl"], "file/download/url").json()["data"] == told["fileUrl"]
    assert requests.get(told["fileUrl"], verify=server.first["ca_file"], timeout=9).content == IMAGE

    assert device.post("ota/device/progress", {"step": "100", "desc": "done"}).json()["code"] == 200
    assert device.post("ota/device/inform", {"version": "2.0.0"}).json()["code"] == 200
    done = operator.get(f"/api/v1/jobs/{job['id']}")
    assert (done["state"], done["attempts"][0]["state"]) == ("done", "claimed")
    assert refused(device.fetch(told["fileUrl"])) == (404, 460)  # its job is over


def test_the_list_that_a_device_asks_for(operator, device):
    device.log_in(acceptCommandTypes=["CMD_PENDING_INVOKE"])
    assert device.post("ota/device/getversion", {}).json()["data"] == []
    job = operator.post("/api/v1/jobs", {"target": TARGET, "devices": [device.device_key]})
    assert attempt_of(operator, job)["state"] == "queued"  # it takes no pushes
    [firmware] = device.post("ota/device/getversion", {}).json()["data"]
    assert (attempt_of(operator, job)["state"], attempt_of(operator, job)["pushes"]) == ("pushed", 0)
    assert firmware["version"] == "2.0.0" and firmware["fileSize"] == len(IMAGE)
    device.log_in(acceptCommandTypes=["CMD_PENDING_INVOKE"])
    assert attempt_of(operator, job)["pushes"] == 0
    device.post("ota/device/inform", {"version": "1.0.0"})
    assert device.commands == [] and attempt_of(operator, job)["pushes"] == 0
    device.post("ota/device/inform", {"version": "2.0.0"})
    assert attempt_of(operator, job)["state"] == "claimed"


def attempt_of(operator, job):
    return operator.get(f"/api/v1/jobs/{job['id']}")["attempts"][0]


@pytest.mark.parametrize("code", ["200", 0, None, 200])
def test_a_command_waits_for_the_next_answer_and_its_reply_comes_back(operator, device, code):
    device.log_in()
    road = f"/api/v1/devices/{device.product_key}/{device.device_key}/commands"
    answers = []
    body = {"service": "reboot", "params": {"in": 5}, "timeout_s": 20}
    asker = threading.Thread(target=lambda: answers.append(operator.post(road, body)))
    asker.start()
    deadline = time.monotonic() + PATIENCE_S
    while not device.commands and time.monotonic() < deadline:
        device.post("ota/device/getversion", {})
    [(topic, command)] = device.commands
    assert topic == device.sys + "thing/service/reboot" and command["params"] == {"in": 5}
    device.raw("thing/service/reboot_reply", json.dumps({"id": command["id"], "code": code, "data": {"ok": 1}}))
    asker.join(PATIENCE_S)
    assert answers == [{"code": 200, "data": {"ok": 1}, "message": ""}]


def test_a_command_that_no_header_holds_is_refused_to_the_operator(operator, device):
    device.log_in()
    road = f"/api/v1/devices/{device.product_key}/{device.device_key}/commands"
    answer = operator.call("POST", road, {"service": "x", "params": "y" * LIMITS.http_command_bytes})
    assert answer.status_code == 409 and answer.json()["error"]["code"] == "device_offline"


def test_bytes_without_an_envelope(operator, device):
    device.log_in()
    answer = device.raw("thing/model/up_raw", b"\x01\x00\xff")
    assert (answer.status_code, answer.content) == (200, b"")
    assert operator.wait_for("device.raw", device_key=device.device_key)["base64"] == "AQD/"


def test_the_pages_example(operator, device, capsys, monkeypatch):
    page = (ROOT / "docs" / "enos-devices.md").read_text()
    [example] = [block for block in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S) if "requests" in block]
    names = {"PRODUCT_KEY": device.product_key, "DEVICE_KEY": device.device_key, "DEVICE_SECRET": device.secret}
    exec(example, names | {"HTTPS": device.first["https"], "CA_FILE": device.first["ca_file"]})
    assert capsys.readouterr().out == "200 None\n"


# Who is let in


def test_who_is_not_let_in_learns_nothing(operator, device):
    answers = [device.log_in(secret="wrong")]
    unknown = HttpDevice(operator, f"x-{time.monotonic_ns()}")
    unknown.device_key = "nobody"
    answers.append(unknown.log_in())
    unknown.product_key = "pk-other"
    answers.append(unknown.log_in())
    operator.post(f"/api/v1/devices/{device.product_key}/{device.device_key}/revoke", {})
    answers.append(device.log_in())
    assert [refused(answer) for answer in answers] == [(401, 401)] * 4
    assert len({answer.text for answer in answers}) == 1


def test_the_policy_holds_at_login_and_at_every_request(operator, device):
    device.log_in()
    allow(operator, False)
    assert operator.device(device.device_key)["online"] is False
    try:
        assert refused(device.post("ota/device/inform", {"version": "9"})) == (401, 401)
        assert refused(device.log_in()) == (401, 401)
    finally:
        allow(operator, True)
    assert refused(device.post("ota/device/inform", {"version": "9"})) == (401, 401)  # the session is over for good
    assert operator.device(device.device_key)["claimed_version"] is None


def test_a_revoked_device_has_no_session_any_more(operator, device):
    device.log_in()
    operator.post(f"/api/v1/devices/{device.product_key}/{device.device_key}/revoke", {})
    operator.wait_for("device.offline", device_key=device.device_key, reason="revoked")
    assert refused(device.post("ota/device/inform", {"version": "9"})) == (401, 401)


def test_a_silent_session_is_found_by_the_housekeeping(server, operator, device):
    device.log_in()
    server.call(lambda s: setattr(s.desk.http.find(device.session_id), "heard", -1e9))
    server.call(lambda s: s.desk.expire())
    operator.wait_for("device.offline", device_key=device.device_key, reason="silent")


def test_another_secret_ends_the_session(server, operator, device):
    from trueboot_server.fleet import registry

    def change(s):
        with s.store.transaction() as t:
            registry.update(t, Identity(device.product_key, device.device_key), device_secret="another")

    device.log_in()
    server.call(change)
    assert refused(device.post("ota/device/inform", {"version": "9"})) == (401, 401)
    assert device.log_in(secret="another").status_code == 200


def test_a_certificate_lets_in_where_passwords_do_not_and_only_its_own_device(server, operator, tmp_path):
    other = Device(server.first, f"certified-{time.monotonic_ns()}", tmp_path)
    assert other.activate() == 0
    other.enrol()
    stranger = HttpDevice(operator, f"web-{time.monotonic_ns()}", other.identity)
    allow(operator, False)
    try:
        assert refused(stranger.log_in()) == (401, 401)
        mine = HttpDevice(operator, f"web-{time.monotonic_ns()}", other.identity)
        mine.device_key, mine.secret = other.device_key, other.device_secret
        mine.sys = other.sys
        assert mine.log_in().status_code == 200
        assert mine.post("ota/device/inform", {"version": "3.0"}).json()["code"] == 200
        mine.web.close()
        mine.web.cert = None  # the session id alone, on another connection
        assert refused(mine.post("ota/device/inform", {"version": "4.0"})) == (401, 401)
    finally:
        allow(operator, True)


def test_a_session_is_one_devices_and_ends_with_the_next_login(operator, device):
    device.log_in()
    first = device.session_id
    device.log_in()
    assert device.session_id != first
    stale = device.send("POST", f"/topic{device.sys}ota/device/inform?sessionId={first}", "{}")
    assert refused(stale) == (401, 401)
    victim = HttpDevice(operator, f"web-{time.monotonic_ns()}")
    for path in (victim.sys + "ota/device/inform", "/sys/x", f"{device.sys}../{victim.device_key}/ota/device/inform"):
        answer = device.send(
            "POST", f"/topic{path}?sessionId={device.session_id}", '{"id":"1","params":{"version":"9"}}'
        )
        assert refused(answer)[0] in (401, 403) or answer.status_code == 404
    assert operator.device(victim.device_key)["claimed_version"] is None


@pytest.mark.parametrize("session_id", ["", "x", "\x00", "00000000-0000-0000-0000-000000000000", "ä" * 500])
def test_no_session_no_answer(device, session_id):
    for method, path in (
        ("POST", f"/topic{device.sys}ota/device/inform"),
        ("GET", f"/multipart{device.sys}file/download"),
    ):
        answer = device.send(method, path, params={"sessionId": session_id})
        assert refused(answer) == (401, 401)


@pytest.mark.parametrize(
    "change, status",
    [
        ({"signMethod": "md5"}, 400), ({"signMethod": 5}, 400), ({"sign": None}, 400), ({"sign": "x"}, 400), ({"sign": "ä" * 64}, 401),
        ({"lifetime": "soon"}, 400), ({"lifetime": -1}, 400), ({"lifetime": True}, 400), ({"lifetime": 10**13}, 400), ({"lifetime": 1.5}, 400),
        ({"acceptCommandTypes": "all"}, 400), ({"acceptCommandTypes": [1]}, 400), ({"acceptCommandTypes": ["x"] * 17}, 400),
    ],
)  # fmt: skip
def test_logins_that_break_the_form(device, change, status):
    assert refused(device.log_in(**change))[0] == status


def test_lifetimes_come_as_texts_too(device):
    assert device.log_in(lifetime="60000").status_code == 200


@pytest.mark.parametrize("data, code", [(b"", 1251), (b"{", 1220), (b"[]", 1220), (b'{"id":"1","params":7}', 460)])
def test_a_message_that_cannot_be_used_is_answered_as_over_mqtt(device, data, code):
    device.log_in()
    answer = device.raw("ota/device/inform", data)
    assert answer.status_code == 200 and answer.json()["code"] == code


def test_limits_of_the_road(server, device):
    assert refused(device.send("POST", f"/auth/{device.product_key}/{device.device_key}", b"x" * 70_000)) == (413, 1008)
    assert refused(device.send("POST", f"/auth/{device.product_key}/{device.device_key}", b"{")) == (400, 1220)
    device.log_in()
    assert refused(device.raw("ota/device/inform", b"x" * 20_001)) == (413, 1008)
    server.call(lambda s: setattr(s.desk.http.find(device.session_id), "allowance", -1000.0))
    limited = device.post("ota/device/inform", {"version": "1"})
    assert refused(limited) == (429, 429) and limited.headers["Retry-After"] == "1"


def test_guessing_is_slow(tmp_path):
    server = ServerThread(tmp_path / "state", Limits(failed_proofs=3))
    try:
        operator = Operator(server.first)
        device = HttpDevice(operator, "guessed")
        assert [refused(device.log_in(secret=str(i)))[0] for i in range(3)] == [401] * 3
        slowed = device.log_in()
        assert refused(slowed) == (429, 429) and int(slowed.headers["Retry-After"]) > 0
    finally:
        server.stop()


def test_only_the_image_of_the_open_job_is_to_be_had(operator, device):
    other = HttpDevice(operator, f"web-{time.monotonic_ns()}")
    operator.post("/api/v1/jobs", {"target": TARGET, "devices": [device.device_key]})
    device.log_in()
    [(_, command)] = device.commands  # of its login
    other.log_in()
    sha256 = hashlib.sha256(IMAGE).hexdigest()
    for uri in (
        command["params"]["fileUrl"],
        sha256,
        "enos-connect://" + sha256,
        "../../server.db",
        "",
        "file:///etc/passwd",
    ):
        assert refused(other.fetch(uri)) == (404, 460)
    assert refused(device.fetch("0" * 64)) == (404, 460)
    assert refused(device.fetch(sha256, "file/delete")) == (403, 1009)
    assert device.fetch(sha256, Range="bytes=999999-").status_code == 416


def test_a_ticket_is_for_one_download_that_may_go_on(server, operator, device):
    operator.post("/api/v1/jobs", {"target": TARGET, "devices": [device.device_key]})
    device.log_in()
    url = device.commands[0][1]["params"]["fileUrl"]
    get = {"verify": server.first["ca_file"], "timeout": 9}
    head = requests.head(url, **get)
    assert head.status_code == 200 and int(head.headers["Content-Length"]) == len(IMAGE)
    assert requests.get(url, headers={"Range": "bytes=0-99"}, **get).content == IMAGE[:100]
    assert requests.get(url, headers={"Range": "bytes=100-"}, **get).content == IMAGE[100:]
    over = requests.get(url, **get)
    assert over.status_code == 404 and over.json()["error"]["code"] == "no_such_download"
    assert requests.get(url.replace("/download/", "/download/x"), **get).status_code == 404
    device.log_in()
    fresh = device.commands[1][1]["params"]["fileUrl"]
    assert fresh != url
    operator.post(f"/api/v1/devices/{device.product_key}/{device.device_key}/revoke", {})
    assert requests.get(fresh, **get).status_code == 404


def test_no_session_id_ticket_or_secret_is_in_the_log(server, operator, device):
    operator.post("/api/v1/jobs", {"target": TARGET, "devices": [device.device_key]})
    device.log_in()
    device.post("nothing", {})
    ticket = device.commands[0][1]["params"]["fileUrl"].split("/")[-2]
    told = (
        server.log()
        + json.dumps(operator.get("/api/v1/events?after=0"))
        + json.dumps(operator.device(device.device_key))
    )
    assert not [word for word in (device.session_id, device.secret, ticket) if word in told]


@given(
    st.dictionaries(st.sampled_from(["signMethod", "sign", "lifetime", "acceptCommandTypes"]), ANYTHING),
    st.text(max_size=9),
)
@settings(max_examples=100, deadline=None)
def test_any_login_is_read_or_refused(body, key):
    for chosen in (body, {"signMethod": "sha256", "sign": "0" * 64, **body}):
        try:
            found = login.parse(Identity("pk", key), chosen)
        except login.BadLogin:
            continue
        assert len(login.expected(found, "s")) == 64 and int(found.lifetime) >= 0


# Sessions and tickets by themselves


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def a_session(name, lifetime_s=300.0):
    return HttpSession(
        Identity("pk", name), lifetime_s, frozenset(["CMD_OTA_UPGRADE", "CMD_PENDING_INVOKE"]), "s", False
    )


def test_silence_ends_a_session_and_words_prolong_it():
    clock = Clock()
    sessions = Sessions(Limits(), clock)
    session_id = sessions.open(a_session("a"))
    clock.now = 299
    assert sessions.heard(sessions.find(session_id)) and sessions.over() == []
    clock.now = 599
    assert sessions.find(session_id)
    clock.now = 600
    assert sessions.find(session_id) is None and not sessions.online(Identity("pk", "a"))
    assert not sessions.push(Identity("pk", "a"), "/sys/pk/a/thing/service/x", b"{}")
    assert sessions.over() == [Identity("pk", "a")]
    assert sessions.close(Identity("pk", "a")) and not sessions.close(Identity("pk", "a")) and sessions.over() == []


def test_sessions_and_what_waits_in_them_are_bounded():
    sessions = Sessions(Limits(http_sessions=2, commands_pending_per_device=2))
    assert sessions.open(a_session("a")) and sessions.open(a_session("b")) and sessions.open(a_session("c")) is None
    assert sessions.open(a_session("a"))  # its own place is its own
    pushed = [sessions.push(Identity("pk", "a"), "/sys/pk/a/thing/service/x", b"{}") for _ in range(3)]
    assert pushed == [True, True, False]


def test_tokens_of_downloads_are_bounded_and_end(tmp_path):
    from trueboot_server.fleet import registry
    from trueboot_server.store import Store
    from trueboot_server.store.schema import download_tokens, products

    now = [1000]
    store = Store(tmp_path / "db", lambda: now[0])
    tickets = Tickets(Limits(tickets=4, ticket_life_s=60))
    a, b = Identity("pk", "a"), Identity("pk", "b")
    policy = {"allow_password_login": False, "claims_count": False, "created_at": 0}
    with store.transaction() as t:
        t.execute(products.insert().values(product_key="pk", product_secret="s", **policy))
        registry.register(t, a), registry.register(t, b)
        of_one = [tickets.give(t, a, "1") for _ in range(4)]
        assert [tickets.find(t, text) is not None for text in of_one] == [False, True, True, True]
        assert tickets.find(t, "") is None and tickets.find(t, "\ud800") is None
        more = [tickets.give(t, a, "2"), tickets.give(t, b, "1")]
        assert tickets.find(t, of_one[1]) is None and tickets.find(t, more[1]).identity == b
        first = tickets.find(t, of_one[2])
        assert tickets.use_up(t, first) and not tickets.use_up(t, first)
        assert tickets.find(t, of_one[3]) is None and tickets.find(t, more[0])
        tickets.forget(t, a)
        assert tickets.find(t, more[0]) is None and tickets.find(t, more[1])
    now[0] += 60_000
    with store.transaction() as t:
        assert tickets.find(t, more[1]) is None
        tickets.collect(t)
        assert t.rows(download_tokens.select()) == []
    store.close()
