# SPDX-License-Identifier: MIT
"""What a hostile peer can send to the MQTT endpoint besides the faults in test_mqtt_endpoint: nothing is stored, nobody else
notices, no memory is taken without a bound, and no fault of ours is told.

The store's digest before and after is the judge of "nothing is stored".
"""

import itertools
import json
import random
import socket
import ssl
import threading
import time
import urllib.parse

import pytest
from digest import digest
from server_client import PATIENCE_S, Device, Operator, Raw, ServerThread, connect_packet, field, packet
from test_mqtt_codec import MALFORMED, STREAM

from trueboot_server.limits import Limits

PING, PONG = b"\xc0\x00", b"\xd0\x00"
LIMITS = Limits(handshake_timeout_s=0.5, connect_timeout_s=0.5, messages_per_s=1_000_000, packet_bytes=256 * 1024)
BIG = 200 * 1024
HELD = 800 * 1024  # bytes that the server may hold for one who does not read


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerThread(tmp_path_factory.mktemp("server") / "state", LIMITS)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def a(server, tmp_path_factory):
    return enrolled(server, tmp_path_factory.mktemp("a"), "a")


@pytest.fixture(scope="module")
def b(server, tmp_path_factory):
    return enrolled(server, tmp_path_factory.mktemp("b"), "b")


@pytest.fixture(autouse=True)
def nothing_of_ours_fails(server):
    before = server.log().count('"fault"')
    yield
    assert server.log().count('"fault"') == before
    assert "Traceback" not in server.log()


@pytest.fixture
def unchanged(server, a, b):
    """Nothing is stored by what the test sends."""
    before = digest(server)
    yield
    assert digest(server) == before


def enrolled(server, folder, key):
    device = Device(server.first, key, folder)
    assert device.activate() == 0
    logged_in(device.enrol()).close()  # the first login is a fact of its own
    return device


def raw(device, identity=True):
    return Raw(device.first["mqtt"], device.ca_file, (identity if identity is not True else device.identity))


def logged_in(device, **more):
    connection = raw(device).send(connect_packet(device, **more))
    assert connection.packet()[:1] == b"\x20"
    return connection


def payload(publish):
    """(topic, payload) of a PUBLISH."""
    head = next(i for i in range(1, 5) if not publish[i] & 0x80) + 1
    end = head + 2 + int.from_bytes(publish[head : head + 2], "big")
    return publish[head + 2 : end].decode(), publish[end + (2 if publish[0] & 6 else 0) :]


def lives(connection):
    return connection.send(PING).packet() == PONG


def connections(server):
    return server.call(lambda s: len(s.desk.endpoint._connections))


def settles(server, count):
    """Waits until so many connections are left."""
    end = time.monotonic() + PATIENCE_S
    while connections(server) > count and time.monotonic() < end:
        threading.Event().wait(0.01)
    return connections(server) == count


# Who is who


def test_certificate_user_client_id_and_secret_must_all_be_of_one_device(server, a, b, unchanged):
    """Every mixture of two devices is refused, and costs neither of them its session."""
    held = [logged_in(one, clean=False) for one in (a, b)]
    for one in itertools.product((a, b), repeat=4):
        certificate, client, user, secret = one
        if len(set(one)) == 1:
            continue
        mixed = Raw(a.first["mqtt"], a.ca_file, certificate.identity).send(
            connect_packet(client, secret.device_secret, clean=False, user=f"{user.device_key}&{user.product_key}")
        )
        answer = mixed.packet()
        assert answer[:2] == b"\x20\x02" and answer[3] in (2, 4, 5) and mixed.closed()
    assert all(lives(one) for one in held)


@pytest.mark.parametrize(
    "client",
    [
        "",
        "a|securemode=9,signmethod=sha256,timestamp=1|",
        "a||",
        "|" * 50,
        "a" * 3000,
        "a|b=" + "c" * 3000 + "|",
        "\u202ea",
    ],
)
def test_client_ids_that_are_no_login(a, client, unchanged):
    body = field("MQTT") + b"\x04\xc2\x00\x3c" + field(client) + field(f"a&{a.product_key}") + field("x")
    connection = raw(a).send(packet(0x10, body))
    answer = connection.packet()
    assert answer[:2] == b"\x20\x02" and answer[3] != 0 and connection.closed()


def test_a_takeover_storm_leaves_one_and_disturbs_nobody(server, a, b, unchanged):
    other = logged_in(b)
    found, lock = [], threading.Lock()

    def come():
        connection = raw(a).send(connect_packet(a))
        answer = connection.packet()
        with lock:
            found.append((connection, answer))

    threads = [threading.Thread(target=come) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert settles(server, 2)
    # Over TLS 1.3 the first answer may be lost with the connection that it was written to.
    alive = [connection for connection, answer in found if answer == b"\x20\x02\x00\x00" and _answers(connection)]
    assert len(found) == 24 and len(alive) == 1
    assert lives(other)
    assert Operator(server.first).device("a")["online"]


def _answers(connection):
    try:
        return lives(connection)
    except OSError:
        return False


# What is no MQTT


@pytest.mark.parametrize("moment", ["before CONNECT", "after it"])
def test_malformed_packets_change_nothing(server, a, b, moment, unchanged):
    other = logged_in(b)
    for name, data in MALFORMED.items():
        connection = logged_in(a) if moment == "after it" else raw(a)
        try:
            ended = connection.send(data).closed()
        except OSError:
            ended = True
        assert ended or name == "connect of another protocol", name
    assert lives(other) and settles(server, 1)


def test_noise_changes_nothing(server, a, b, unchanged):
    """Damaged streams of all packets, cut at any byte; a seed, so that it is the same noise each time."""
    chance, other = random.Random(6), logged_in(b)
    whole = connect_packet(a) + b"".join(data for data, _ in STREAM[2:])
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        connection = raw(a)
        try:
            cut = chance.randrange(len(damaged))
            connection.send(bytes(damaged[:cut])).send(bytes(damaged[cut:]))
        except OSError:
            pass
        connection.close()
    assert lives(other) and settles(server, 1)


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x00" * 64, b"\xff" * 64])
def test_what_is_no_tls_ends_at_once(server, a, first, unchanged):
    at = urllib.parse.urlsplit(a.first["mqtt"])
    with socket.create_connection((at.hostname, at.port), PATIENCE_S) as connection:
        connection.sendall(first)
        while connection.recv(4096):
            pass  # an alert, perhaps


def test_half_open_connections_are_given_up_and_hold_nobody_up(server, a, unchanged):
    at = urllib.parse.urlsplit(a.first["mqtt"])
    open_ones = [socket.create_connection((at.hostname, at.port), PATIENCE_S) for _ in range(100)]
    assert lives(logged_in(a))
    for connection in open_ones:
        assert connection.recv(1) == b""  # within the handshake's time
        connection.close()


# Topics

TRICKS = [
    "/sys/{pk}/b/ota/device/inform",
    "/sys/{pk}/a",
    "/sys/{pk}/aa/ota/device/inform",
    "/sys/{pk}//a/ota/device/inform",
    "//sys/{pk}/a/ota/device/inform",
    "sys/{pk}/a/ota/device/inform",
    "/SYS/{pk}/a/ota/device/inform",
    "/sys/{pk}/A/ota/device/inform",
    "/sys/{pk}/\uff41/ota/device/inform",
    "/sys/{pk}/%61/ota/device/inform",
    "/ext/session/{pk}/b/thing/activate/info_reply",
    "$SYS/broker/version",
    "$share/group/sys/{pk}/a/x",
    "/",
    " ",
    "x" * 60_000,
]


@pytest.mark.parametrize("topic", TRICKS)
def test_topics_that_are_not_the_devices_own(server, a, b, topic, unchanged):
    topic = topic.format(pk=a.product_key)
    told = b'{"id":"1","params":{"version":"6.6.6"}}'
    assert logged_in(a).send(packet(0x32, field(topic) + b"\x00\x01" + told)).closed()
    connection = logged_in(a)
    assert connection.send(packet(0x82, b"\x00\x01" + field(topic) + b"\x01")).packet() == b"\x90\x03\x00\x01\x80"
    assert lives(connection)


@pytest.mark.parametrize(
    "name", ["#", "+/+/+/#", "/sys/+/+/#", "/sys/{pk}/+/ota/#", "/ext/session/{pk}/+/#", "$share/g/#"]
)
def test_wildcards_never_leave_the_own_tree(server, a, b, name, unchanged):
    connection = logged_in(a)
    wanted = packet(0x82, b"\x00\x01" + field(name.format(pk=a.product_key)) + b"\x01")
    assert connection.send(wanted).packet() == b"\x90\x03\x00\x01\x80"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "ota",
        "ota/device/inform/",
        "../b/ota/device/inform",
        "ota/device/../device/inform",
        "thing/service/x",
        "x/" * 2000,
        "thing/event//post",
        "\x7f",
    ],
)
def test_own_topics_on_which_nothing_is_done(server, a, path, unchanged):
    connection = logged_in(a)
    connection.send(packet(0x32, field(a.sys + path) + b"\x00\x01" + b'{"id":"1","params":{"version":"6.6.6"}}'))
    assert connection.packet() == b"\x40\x02\x00\x01"
    assert lives(connection)


def test_nothing_is_retained(server, a, b, unchanged):
    connection = logged_in(a)
    connection.send(packet(0x33, field(a.sys + "thing/service/x_reply") + b"\x00\x01{}"))
    assert connection.packet() == b"\x40\x02\x00\x01"
    again = logged_in(a)
    again.send(packet(0x82, b"\x00\x01" + field(a.sys + "#") + b"\x01"))
    assert again.packet() == b"\x90\x03\x00\x01\x01"
    assert lives(again)  # and nothing came before


# Floods, sizes, slow readers


def test_acknowledgements_of_nothing(a, unchanged):
    connection = logged_in(a)
    connection.send(b"".join(b"\x40\x02" + number.to_bytes(2, "big") for number in range(1, 2000)))
    assert lives(connection)


def test_one_packet_id_for_everything(server, a, unchanged):
    connection = logged_in(a)
    one = packet(0x32, field(a.sys + "nothing") + b"\x00\x07{}")
    connection.send(one * 50)
    assert connection.read(4 * 50) == b"\x40\x02\x00\x07" * 50


def deaf(device):
    """Logged in over a socket with room for little: what it does not read stays at the server."""
    at = urllib.parse.urlsplit(device.first["mqtt"])
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.settimeout(PATIENCE_S)
    plain.connect((at.hostname, at.port))
    connection = raw(device)
    connection.socket.close()
    context = ssl.create_default_context(cafile=device.ca_file)
    context.load_cert_chain(*device.identity)
    connection.socket = context.wrap_socket(plain, server_hostname=at.hostname)
    assert connection.send(connect_packet(device)).packet()[:1] == b"\x20"
    return connection


def held(server, device):
    """Bytes written for it that are neither sent nor given up."""

    def of(s):
        its = transport(s, device)
        return its.get_write_buffer_size() + its._ssl_protocol._transport.get_write_buffer_size()

    return server.call(of)


def transport(running, device):
    [one] = [c for c in running.desk.endpoint._connections if c.admitted.identity.device_key == device.device_key]
    return one._transport


def test_who_does_not_read_is_read_no_more(server, a, b, unchanged):
    """A ping of two bytes costs an answer of some thirty in TLS; nobody else notices, and who reads again is served again."""
    other, slow = logged_in(b), deaf(a)
    small = socket.SOL_SOCKET, socket.SO_SNDBUF, 4096
    server.call(lambda s: transport(s, a).get_extra_info("socket").setsockopt(*small))
    count = 40_000
    sender = threading.Thread(target=slow.send, args=(PING * count,))
    sender.start()
    sender.join(1)
    most = 0
    for _ in range(20):
        assert lives(other)
        most = max(most, held(server, a))
    assert most < HELD
    assert slow.read(2 * count) == PONG * count
    sender.join(PATIENCE_S)
    assert lives(slow)


# Payloads

PAYLOADS = {
    "nothing": b"",
    "no JSON": b"{",
    "no object": b"[]",
    "null": b"null",
    "not UTF-8": b'{"id":"\xff"}',
    "a surrogate": b'{"id":"\\ud800","params":{"version":"\\ud800"}}',
    "deep": b'{"id":' + b"[" * 60_000,
    "deep and whole": b'{"id":"1","params":' + b"[" * 900 + b"]" * 900 + b"}",
    "not a number": b'{"id":"1","params":{"version":NaN,"step":NaN,"measurepoints":{"t":NaN}}}',
    "infinite": b'{"id":"1","params":{"step":1e999,"measurepoints":{"t":-1e999}}}',
    "a huge number": b'{"id":"1","params":{"step":' + b"9" * 4000 + b"}}",
    "too huge a number": b'{"id":' + b"9" * 5000 + b"}",
    "an id that is an object": b'{"id":{"$ne":null},"params":{"version":"6.6.6"}}',
    "an id that is long": b'{"id":"' + b"1" * 65 + b'","params":{"version":"6.6.6"}}',
    "params that are a list": b'{"id":"1","params":[1]}',
    "params that are a text": b'{"id":"1","params":"x"}',
    "params that are missing": b'{"id":"1"}',
    "members of wrong types": b'{"id":"1","params":{"version":{},"step":[],"measurepoints":"x","events":1,"attributes":7,"tags":"x","logs":1,"time":"now"}}',
    "null members": b'{"id":"1","params":{"version":null,"step":null,"measurepoints":null,"events":null,"attributes":null,"tags":null,"logs":null}}',
    "members twice": b'{"id":"1","params":{"version":1,"version":{}}}',
    "a report that is none": b'{"id":"1","params":{"version":"6.6.6","step":90,"report":"a.b.c"}}',
    "a report of a wrong type": b'{"id":"1","params":{"version":"6.6.6","step":90,"report":{"x":1}}}',
    "an unknown job": b'{"id":"1","params":{"step":90,"job":"999999","desc":"x"}}',
    "a job with an injection": b'{"id":"1","params":{"step":90,"job":"1 OR 1=1"}}',
    "too large": b'{"id":"1","params":{"x":"' + b"x" * BIG + b'"}}',
}  # fmt: skip
TOPICS = [
    "ota/device/inform",
    "ota/device/progress",
    "ota/device/getversion",
    "ota/device/upgrade_reply",
    "thing/measurepoint/post",
    "thing/measurepoint/post/batch",
    "thing/measurepoint/resume",
    "thing/event/x/post",
    "thing/attribute/update",
    "thing/attribute/delete",
    "thing/tag/update",
    "thing/tag/delete",
    "thing/log/post",
    "thing/service/x_reply",
    "network/status/report",
]


@pytest.mark.parametrize("body", PAYLOADS.values(), ids=PAYLOADS)
def test_payloads_that_mean_nothing(server, a, body, unchanged):
    """On every topic: acknowledged, answered in one format or not at all, and nothing comes of it."""
    connection = logged_in(a)
    connection.send(packet(0x82, b"\x00\x01" + field(a.sys + "#") + b"\x00")).packet()
    for path in TOPICS:
        connection.send(packet(0x32, field(a.sys + path) + b"\x00\x05" + body))
    connection.send(PING)
    acknowledged, answers = 0, []
    while (found := connection.packet()) != PONG:
        assert found, "it ended the connection"
        if found[0] == 0x40:
            acknowledged += 1
        else:
            answers.append(json.loads(payload(found)[1]))
    assert acknowledged == len(TOPICS)
    for answer in answers:
        assert set(answer) == {"id", "code", "message", "data"} and len(answer["message"]) < 300
        assert b"Error" not in json.dumps(answer).encode()


def test_another_devices_job_and_command(server, a, b):
    """B knows A's numbers, and it is of no use."""
    operator = Operator(server.first)
    operator.publish("app/sim/1.0.0/app.img", b"image" * 100)
    held, thief = logged_in(a), logged_in(b)
    job = operator.post("/api/v1/jobs", {"target": "app/sim/1.0.0/app.img", "devices": ["a"]})
    push = json.loads(payload(held.packet())[1])
    before = digest(server)
    thief.send(packet(0x82, b"\x00\x01" + field(b.sys + "#") + b"\x00")).packet()
    told = {"step": 100, "desc": "done", "job": push["params"]["job"]}
    thief.send(packet(0x30, field(b.sys + "ota/device/progress") + json.dumps({"id": "1", "params": told}).encode()))
    assert b'"code":1262' in thief.packet()
    failed = json.dumps({"id": push["id"], "code": 500}).encode()
    thief.send(packet(0x30, field(b.sys + "ota/device/upgrade_reply") + failed))
    thief.send(packet(0x30, field(b.sys + "ota/device/getversion") + b'{"id":"2","params":{}}'))
    assert b'"data":[]' in thief.packet()
    assert lives(thief) and digest(server) == before
    assert operator.get(f"/api/v1/jobs/{job['id']}")["attempts"][0]["state"] == "pushed"

    answered = []
    road = f"/api/v1/devices/{a.product_key}/a/commands"
    asking = threading.Thread(target=lambda: answered.append(operator.post(road, {"service": "x", "params": {}})))
    asking.start()
    number = json.loads(payload(held.packet())[1])["id"]
    lie, truth = (json.dumps({"id": number, "code": 200, "data": who}).encode() for who in ("b", "a"))
    thief.send(packet(0x30, field(b.sys + "thing/service/x_reply") + lie))
    assert lives(thief)
    held.send(packet(0x30, field(a.sys + "thing/service/x_reply") + truth))
    asking.join(PATIENCE_S)
    assert answered[0]["data"] == "a"
