# SPDX-License-Identifier: MIT
"""What a hostile peer can say in esthesis's language: nothing is stored, each refusal has the dialect's one form, and of many
processes that race for one token exactly one comes to the end.  (Tokens, forged and replayed, are in test_provisioning.)
"""

import subprocess
import sys

import pytest
from digest import digest
from esthesis_client import EsthesisDevice
from hypothesis import given, settings
from hypothesis import strategies as st
from server_client import PATIENCE_S, Operator, Raw, ServerThread, field, packet
from test_provisioning import IMAGE, PATH, PRODUCT, ask, order

from trueboot_server.esthesis import elp, words
from trueboot_server.limits import Limits

PING, PONG = b"\xc0\x00", b"\xd0\x00"
RACERS = 16


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    limits = Limits(queries=1000, failed_proofs=10_000, registrations=10_000)
    running = ServerThread(tmp_path_factory.mktemp("server") / "state", limits)
    operator = Operator(running.first)
    operator.post("/api/v1/products", {"product_key": PRODUCT, "dialect": "esthesis"})
    operator.call("POST", f"/api/v1/products/{PRODUCT}/policy", {"registration": "OPEN", "pushed_tags": True})
    operator.publish(PATH, IMAGE)
    yield running
    running.stop()


def registered(server, folder, name):
    made = EsthesisDevice(server.first, name, folder)
    assert made.register() == 200
    logged_in(made).close()
    return made


@pytest.fixture(scope="module")
def a(server, tmp_path_factory):
    return registered(server, tmp_path_factory.mktemp("a"), "dev-a")


@pytest.fixture(scope="module")
def b(server, tmp_path_factory):
    return registered(server, tmp_path_factory.mktemp("b"), "dev-b")


@pytest.fixture
def unchanged(server, a, b):
    before, faults = digest(server), server.log().count('"event":"fault"')
    yield
    assert digest(server) == before
    assert server.log().count('"event":"fault"') == faults and "Traceback" not in server.log()


def logged_in(device):
    connection = Raw(device.first["mqtt"], device.first["ca_file"], (str(device.chain), str(device.key_file)))
    body = field("MQTT") + b"\x04\x02\x00\x3c" + field(device.hardware_id)
    assert connection.send(packet(0x10, body)).packet() == b"\x20\x02\x00\x00"
    return connection


# MQTT


@pytest.mark.parametrize(
    "topic",
    [
        "esthesis/telemetry/dev-b",
        "esthesis/command/request/dev-b",
        "esthesis/telemetry/dev-a/../dev-b",
        "esthesis/telemetry/dev-a/",
        "esthesis/telemetry/DEV-A",
        "esthesis/telemetry/",
        "esthesis/nothing/dev-a",
        "/esthesis/telemetry/dev-a",
        "$share/x/esthesis/telemetry/dev-a",
    ],
)
def test_topics_that_are_not_the_devices_own(a, b, topic, unchanged):
    assert logged_in(a).send(packet(0x30, field(topic) + b"x y=1i")).closed()
    connection = logged_in(a)
    assert connection.send(packet(0x82, b"\x00\x01" + field(topic) + b"\x00")).packet() == b"\x90\x03\x00\x01\x80"


@pytest.mark.parametrize(
    "name", ["#", "esthesis/#", "esthesis/+/dev-a", "esthesis/command/request/+", "esthesis/telemetry/#"]
)
def test_wildcards_are_refused(a, name, unchanged):
    connection = logged_in(a)
    assert connection.send(packet(0x82, b"\x00\x01" + field(name) + b"\x00")).packet() == b"\x90\x03\x00\x01\x80"


PAYLOADS = {
    "nothing": b"",
    "zeros": b"\x00" * 100,
    "not UTF-8": b"\xff\xfe x\xff=",
    "no measurements": b"x",
    "an open quote": b"x y='1",
    "no value": b"x y=",
    "infinite": b"x y=1e999",
    "a comment": b"# x y=1",
    "a report that is none": b"trueboot report='a.b.c'",
    "a job of nobody": b"trueboot job='999999',step=90i,desc='x'",
    "a job with an injection": b"trueboot job='1 OR 1=1',step=90i,desc='x'",
    "a reply to nothing": b"0" * 24 + b" s done",
    "a reply that is none": b"000 s",
    "many lines of nothing": b"\n" * 100_000,
    "many bad lines": b"x\n" * 20_000,
}


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_payloads_that_mean_nothing(a, payload, unchanged):
    connection = logged_in(a)
    for what in words.UP:
        if what != "ping" and not (
            what == "telemetry" and payload.startswith(b"trueboot")
        ):  # which is a point of that name
            connection.send(packet(0x32, field(words.topic(what, a.hardware_id)) + b"\x00\x05" + payload))
            assert connection.packet() == b"\x40\x02\x00\x05"
    assert connection.send(PING).packet() == PONG


def test_another_devices_job(server, a, b):
    job = order(Operator(server.first), a)
    before = digest(server)
    for attempt in (job["attempts"][0]["id"], job["id"]):
        told = f"trueboot job='{attempt}',step=-3i,desc='no'".encode()
        connection = logged_in(b)
        connection.send(packet(0x32, field(words.topic("metadata", b.hardware_id)) + b"\x00\x05" + told))
        assert connection.packet() == b"\x40\x02\x00\x05"
    assert digest(server) == before


# HTTPS

BODIES = [b"", b"{", b"[]", b"null", b'"x"', b"[" * 50_000, b'{"hardwareId":' + b"9" * 5000 + b"}", b"x" * 200_000]
BODIES += [
    b'{"hardwareId":"../../etc"}',
    b'{"hardwareId":"a b c"}',
    b'{"hardwareId":{}}',
    b'{"hardwareId":"' + b"x" * 513 + b'"}',
]
BODIES += [
    b'{"hardwareId":"new-one","csr":7}',
    b'{"hardwareId":"new-one","csr":"-----BEGIN CERTIFICATE REQUEST-----\\nAA==\\n-----END CERTIFICATE REQUEST-----"}',
]


@pytest.mark.parametrize("number", range(len(BODIES)))
def test_registrations_that_are_none(server, number, unchanged):
    operator = Operator(server.first)
    answer = operator.session.post(
        server.first["https"] + "/api/v1/register",
        data=BODIES[number],
        headers={"Authorization": ""},
        timeout=PATIENCE_S,
    )
    assert 400 <= answer.status_code <= 500 and set(answer.json()) == {"errorMessage", "traceId"}
    assert len(answer.content) < 500 and b"Error:" not in answer.content


RACER = """
import http.client, ssl, sys
host, port, path, ca = sys.argv[1:]
connection = http.client.HTTPSConnection(host, int(port), context=ssl.create_default_context(cafile=ca), timeout=20)
connection.connect()
print("ready", flush=True)
sys.stdin.readline()
connection.request("GET", path)
answer = connection.getresponse()
try:
    print(answer.status, len(answer.read()), flush=True)
except (http.client.IncompleteRead, OSError):
    print("cut", flush=True)
"""


def test_of_sixteen_processes_that_race_for_one_token_exactly_one_wins(server, tmp_path):
    racing = registered(server, tmp_path, "racing")
    order(Operator(server.first), racing)
    found = ask(racing).json()
    host, _, port = server.first["https"].removeprefix("https://").partition(":")
    path = "/api/v1/provisioning/download?token=" + found["downloadToken"]
    command = [sys.executable, "-S", "-c", RACER, host, port, path, server.first["ca_file"]]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(RACERS)
    ]
    try:
        assert all(racer.stdout.readline() == "ready\n" for racer in racers)
        for racer in racers:
            racer.stdin.write("\n")
            racer.stdin.flush()
        told = [racer.stdout.readline().split() for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
            racer.stdin.close()
            racer.stdout.close()
    assert sum(words == ["200", str(len(IMAGE))] for words in told) == 1, told
    assert all(words[0] in ("200", "410", "cut") for words in told)
    state = server.call(lambda s: _tokens(s, racing.hardware_id))
    assert state and all(used for used in state)


def _tokens(running, hardware_id):
    from trueboot_server.store.schema import download_tokens as table

    with running.store.transaction() as t:
        return [row.used_at for row in t.rows(table.select().where(table.c.device_key == hardware_id))]


# Line protocol


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=80) | st.text("abx=,' \n#.1eEi+-Tt", max_size=60))
def test_any_lines(text):
    lines, wrong = elp.parse(text)
    assert len(lines) + len(wrong) <= text.count("\n") + 1
    for line in lines:
        assert line.category and line.values
        for value in line.values.values():
            assert isinstance(value, str | bool | int | float) and value == value


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=60))
def test_any_reply(payload):
    found = words.parse_reply(payload)
    assert found is None or len(found.id) == 24
