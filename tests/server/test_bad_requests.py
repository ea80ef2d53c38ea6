# SPDX-License-Identifier: MIT
"""Every road over HTTPS, by every method, asked by a stranger, by a device and by an operator who types nonsense.

Nothing is stored, no fault of ours is told, nobody else's secret or file comes back, and each dialect has one form of error.
"""

import json
import re
import socket
import ssl
import urllib.parse

import pytest
import requests
from digest import digest
from server_client import PATIENCE_S, Device, ServerThread

from trueboot_server.https import front
from trueboot_server.page import app as page

LONG = "x" * 5000
NAMES = [
    "..",
    "%2e%2e%2f%2e%2e",
    "%00",
    "%0d%0aX:%20y",
    "'%20OR%201=1--",
    "\u202e".encode().hex("%"),
    "%ff",
    "x" * 300,
    "*",
]
BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "a text": b'"x"',
    "deep": b"[" * 50_000,
    "unknown members": b'{"nonsense":{"x":[1,2,{}]}}',
    "a huge number": b'{"devices":' + b"9" * 5000 + b"}",
    "not UTF-8": b'{"devices":"\xff"}',
    "too long": b'{"x":"' + b"x" * 300_000 + b'"}',
}
# What these do is meant, whatever the body is; and what is streamed for as long as it comes.
DO_SOMETHING = ("/api/v1/repo/online-key", "/api/device/v1/nonce", "/api/v1/nonce")


def all_roads():
    found = set()
    for module in {one for one in [*vars(front).values(), page] if hasattr(one, "routes")}:
        found |= {(route.method, route.path) for route in module.routes()}
    assert len(found) > 100
    return sorted(found)


ROADS = all_roads()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from trueboot_server.limits import Limits

    # The failed proofs are counted per address; here one address does all of them.
    limits = Limits(failed_proofs=1_000_000, nonce_asks=1_000_000, status_questions=1_000_000)
    running = ServerThread(tmp_path_factory.mktemp("server") / "state", limits)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def device(server, tmp_path_factory):
    made = Device(server.first, "a", tmp_path_factory.mktemp("a"))
    assert made.activate() == 0
    return made.enrol()


@pytest.fixture(scope="module")
def caller(server, device):
    return {
        "a stranger": session(server),
        "a device": session(server, cert=device.identity),
        "the operator": session(server, token=server.first["admin_token"]),
    }


def session(server, cert=None, token=""):
    made = requests.Session()
    made.trust_env = False
    made.verify = server.first["ca_file"]
    made.cert = cert
    if token:
        made.headers["Authorization"] = f"Bearer {token}"
    return made


@pytest.fixture(autouse=True)
def nothing_happens(server, device):
    faults, before = server.log().count('"fault"'), digest(server)
    yield
    assert digest(server) == before
    assert server.log().count('"fault"') == faults and "Traceback" not in server.log()


def check(server, answer, told):
    """One form of error for each dialect, and nothing revealed."""
    assert answer.status_code < 500, (told, answer.text)
    for name in ("admin_token", "secret_key", "product_secret", "registration_secret"):
        assert server.first[name] not in answer.text, told
    assert "Traceback" not in answer.text and ".py" not in answer.text, told
    if answer.status_code < 400:
        return
    if told[1].startswith("/ui"):
        assert answer.headers["Content-Type"].startswith("text/html") or set(answer.json()) == {"error"}, told
        return
    if not answer.content:  # esthesis: find says no more than its status
        assert "/provisioning/" in told[1], told
        return
    body = answer.json()
    assert len(answer.content) < 2000, told
    if set(body) == {"error"}:
        assert set(body["error"]) == {"code", "message", "hint"}, told
        assert re.fullmatch(r"[a-z0-9_]+", body["error"]["code"]), told
    elif "errorMessage" in body:  # esthesis
        assert set(body) == {"errorMessage", "traceId"}, told
    else:  # EnOS
        assert {"code", "status"} & set(body) and {"message", "msg"} & set(body), told


def paths(road):
    """The road with names that nobody has, and that are none."""
    names = re.findall(r"\{[^}]+\}", road)
    if not names:
        return [road]
    return [re.sub(r"\{[^}]+\}", lambda _, name=name: name, road) for name in NAMES]


def one_path(road):
    return re.sub(r"\{[^}]+\}", "x" * 300, road)


def ask(session, server, method, path, **more):
    url = server.first["https"] + path
    prepared = session.prepare_request(requests.Request(method if method != "*" else "GET", url, **more))
    prepared.url = url  # as it is typed: nothing is tidied up
    return session.send(prepared, timeout=PATIENCE_S, verify=session.verify, cert=session.cert)


@pytest.mark.parametrize("who", ["a device", "the operator"])
def test_names_that_are_none(server, caller, who):
    for method, road in ROADS:
        if road in DO_SOMETHING or "{" not in road:
            continue
        for path in paths(road):
            check(server, ask(caller[who], server, method, path), (method, path))


@pytest.mark.parametrize("who", ["a stranger", "a device"])
def test_the_operators_roads_are_closed_to_others(server, caller, who):
    """What a device may use of /api/v1 says so itself, by another answer than 401."""
    for method, road in ROADS:
        if not road.startswith("/api/v1/") or road.startswith(front_doors()):
            continue
        answer = ask(caller[who], server, method, one_path(road), data=b"{}")
        assert answer.status_code == 401, (method, road, answer.status_code)
        if method != "HEAD":
            assert answer.json()["error"]["code"] == "token_required"


def front_doors():
    """Roads below /api/v1 that are for devices."""
    return ("/api/v1/register", "/api/v1/provisioning", "/api/v1/nonce", "/api/v1/openapi", "/api/v1/attest")


@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_are_none(server, caller, name):
    for method, road in ROADS:
        if method not in ("POST", "PUT", "DELETE", "PATCH") or road in DO_SOMETHING:
            continue
        if method == "PUT" and len(BODIES[name]) > 1000:
            continue  # an upload may be that long
        for who in ("the operator", "a device"):
            path = one_path(road)
            try:
                answer = ask(caller[who], server, method, path, data=BODIES[name])
            except requests.ConnectionError:
                assert name == "too long"  # it was answered before the body was there, and closed
                continue
            check(server, answer, (method, path, name))


def test_queries_that_are_none(server, caller):
    queries = [
        "after=-1",
        "after=x",
        "limit=1e999",
        "wait=NaN",
        "orgId=x",
        "action=x",
        "a=1&a=2",
        "%ff=%00",
        "x=" + LONG,
    ]
    for method, road in ROADS:
        if method == "GET":
            for query in queries:
                path = f"{one_path(road)}?{query}"
                check(server, ask(caller["the operator"], server, method, path), (method, path))


TRICKS = [
    "/repo/metadata/../../operator.json",
    "/repo/metadata/..%2f..%2foperator.json",
    "/repo/metadata/%2e%2e/%2e%2e/operator.json",
    "/repo/metadata/1.root.json%00.png",
    "/repo/metadata/1.%2e%2e%2froot.json",
    "/repo/targets/../../private/ca-key.pem",
    "/repo/targets/..%2f..%2fprivate%2fca-key.pem",
    "/repo/targets//etc/passwd",
    "/repo/targets/%2fetc%2fpasswd",
    "/repo/targets/....//....//operator.json",
    "/repo/targets/app\\..\\..\\operator.json",
    "/images/../operator.json",
    "/images/" + "A" * 64,
    "/download/../../operator.json/x",
    "/download/%2e%2e/operator.json",
    "/multipart/sys/../../operator.json",
    "/static/../operator.json",
    "/static/..%2foperator.json",
    "//operator.json",
    "/.well-known/../operator.json",
    "/api/v1/devices/../../operator.json",
    "https://elsewhere.invalid/operator.json",
    "*",
    "/" + "a/" * 3000,
]


@pytest.mark.parametrize("trick", TRICKS)
def test_path_tricks(server, device, trick):
    """Byte by byte as it is typed, by a device that may read targets."""
    at = urllib.parse.urlsplit(server.first["https"])
    context = ssl.create_default_context(cafile=device.ca_file)
    context.load_cert_chain(*device.identity)
    with (
        socket.create_connection((at.hostname, at.port), PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname=at.hostname) as connection,
    ):
        request = f"GET {trick} HTTP/1.1\r\nHost: {at.netloc}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        got = b""
        while piece := connection.recv(65536):
            got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.split()[1] in (b"400", b"401", b"404", b"405", b"414"), head
    for secret in (server.first["admin_token"].encode(), b"PRIVATE KEY", b"root:"):
        assert secret not in got
    if head.split()[1] != b"400":
        assert set(json.loads(body)) <= {"error", "code", "message", "data"}


@pytest.mark.parametrize(
    "bad",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00",
        b"\x00" * 100,
    ],
    ids=["smuggling", "negative length", "no chunk", "long header", "no version", "MQTT", "zeros"],
)
def test_what_is_no_request(server, device, bad):
    at = urllib.parse.urlsplit(server.first["https"])
    context = ssl.create_default_context(cafile=device.ca_file)
    with (
        socket.create_connection((at.hostname, at.port), PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname=at.hostname) as connection,
    ):
        connection.sendall(bad)
        connection.settimeout(3)
        got = connection.recv(65536)
        assert got == b"" or got.split()[1][:1] == b"4", got
        assert b".py" not in got and b"Traceback" not in got
