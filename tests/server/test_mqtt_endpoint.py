# SPDX-License-Identifier: MIT
"""The MQTT endpoint over TLS: faults seen in other embedded brokers, and what a hostile peer can do.

The server runs in this process, on asyncio's own loop, with limits small enough to be reached.
"""

import json
import threading
import time

import pytest
from server_client import PATIENCE_S, Device, Operator, Raw, ServerThread, connect_packet, field, packet

from trueboot_server.limits import Limits
from trueboot_server.names import Identity

ACCEPTED, NOT_AUTHORISED = b"\x20\x02\x00\x00", b"\x20\x02\x00\x05"
LIMITS = Limits(
    connect_timeout_s=0.3, packet_bytes=5000, subscriptions=3, inflight_messages=2, queue_messages=3, messages_per_s=100
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerThread(tmp_path_factory.mktemp("server") / "state", LIMITS, plain_mqtt_port=0)
    yield running
    running.stop()


@pytest.fixture
def a(server, tmp_path):
    return enrolled(server, tmp_path, "a")


@pytest.fixture
def b(server, tmp_path):
    return enrolled(server, tmp_path, "b")


def enrolled(server, folder, letter):
    device = Device(server.first, f"{letter}-{time.monotonic_ns()}", folder)
    assert device.activate() == 0
    return device.enrol()


def raw(device):
    return Raw(device.first["mqtt"], device.ca_file, device.identity)


def logged_in(device, **more):
    connection = raw(device).send(connect_packet(device, **more))
    assert connection.packet()[:1] == b"\x20"
    return connection


def push(server, device, payload=b"{}", path="thing/service/x"):
    identity = Identity(device.product_key, device.device_key)
    return server.call(lambda s: s.desk.endpoint.push(identity, device.sys + path, payload))


# Faults that amqtt 0.12.1 was seen to have


def test_a_valid_certificate_does_not_open_another_devices_persistent_session(server, a, b):
    held = logged_in(a, clean=False)
    held.send(packet(0x82, b"\x00\x01" + field(a.sys + "ota/device/inform_reply") + b"\x01"))
    assert held.packet() == b"\x90\x03\x00\x01\x01"
    thief = Raw(a.first["mqtt"], a.ca_file, b.identity)
    # Everything right for A, secret included, but the certificate is B's.
    assert thief.send(connect_packet(a, clean=False)).packet() == NOT_AUTHORISED
    assert thief.closed()
    held.send(b"\xc0\x00")
    assert held.packet() == b"\xd0\x00"
    held.close()
    assert raw(a).send(connect_packet(a, clean=False)).packet() == b"\x20\x02\x01\x00"


def test_a_refused_connect_leaves_the_session_as_it_was(server, a, b):
    held = logged_in(a, clean=False)
    held.send(packet(0x82, b"\x00\x01" + field(a.sys + "x_reply") + b"\x01")).packet()
    for identity, secret in ((b.identity, a.device_secret), (a.identity, "wrong")):
        refused = Raw(a.first["mqtt"], a.ca_file, identity).send(connect_packet(a, secret=secret, clean=True))
        assert refused.packet()[3] in (4, 5) and refused.closed()
    held.close()
    again = raw(a).send(connect_packet(a, clean=False))
    assert again.packet() == b"\x20\x02\x01\x00"
    assert push(server, a, b"{}", "x_reply")
    assert again.packet().startswith(b"\x32")  # the subscription is still there


def test_silence_ends_a_connection_after_one_and_a_half_keep_alives(a):
    connection = logged_in(a, keepalive=1)
    start = time.monotonic()
    assert connection.closed()
    assert 1.4 < time.monotonic() - start < 3


def test_who_pings_stays(a):
    connection = logged_in(a, keepalive=1)
    start = time.monotonic()
    connection.socket.settimeout(1.0)
    while time.monotonic() - start < 2.2:
        with pytest.raises(TimeoutError):
            connection.socket.recv(1)
        connection.send(b"\xc0\x00")
        assert connection.packet() == b"\xd0\x00"


@pytest.mark.parametrize("begin", [b"", b"\x10", b"\x10\x7f\x00\x04MQ"])
def test_a_connect_that_does_not_come_in_time_ends_the_connection(a, begin):
    start = time.monotonic()
    assert raw(a).send(begin).closed()
    assert time.monotonic() - start < 5


def test_qos_2_is_granted_as_1_and_qos_3_ends_the_connection(a):
    connection = logged_in(a)
    assert connection.send(packet(0x82, b"\x00\x01" + field(a.sys + "#") + b"\x02")).packet() == b"\x90\x03\x00\x01\x01"
    assert connection.send(packet(0x82, b"\x00\x01" + field(a.sys + "#") + b"\x03")).closed()


def test_a_message_is_acknowledged_only_when_it_is_stored(server, a):
    operator = Operator(server.first)
    connection = logged_in(a)
    body = json.dumps({"id": "1", "params": {"version": "1.2.3"}}).encode()
    connection.send(packet(0x32, field(a.sys + "ota/device/inform") + b"\x00\x09" + body))
    assert connection.packet() == b"\x40\x02\x00\x09"
    assert operator.device(a.device_key)["claimed_version"] == "1.2.3"


def test_a_message_that_cannot_be_stored_is_not_acknowledged(server, a, monkeypatch):
    from trueboot_server.decada import uplink

    def broken(*_):
        raise RuntimeError("secret text of an internal fault")

    monkeypatch.setattr(uplink, "carry_out", broken)
    connection = logged_in(a)
    assert connection.send(packet(0x32, field(a.sys + "ota/device/inform") + b"\x00\x09" + b'{"id":"1"}')).closed()
    monkeypatch.undo()
    line = [line for line in server.log().splitlines() if '"fault"' in line][-1]
    assert "RuntimeError" in line and "secret text" not in line
    assert logged_in(a)


# Identity and topics


def test_a_new_connection_takes_over(server, a):
    operator = Operator(server.first)
    first = logged_in(a)
    second = logged_in(a)
    assert first.closed()
    assert second.send(b"\xc0\x00").packet() == b"\xd0\x00"
    assert operator.device(a.device_key)["online"]
    offline = [e for e in operator.events() if e["event"] == "device.offline" and e["device_key"] == a.device_key]
    assert offline == []


def test_an_activation_takes_nothing_over(server, tmp_path):
    device = Device(server.first, "sitting", tmp_path)
    assert device.activate() == 0
    with_password(server, device)
    held = Raw(device.first["mqtt_activate"], device.ca_file).send(connect_packet(device))
    assert held.packet() == ACCEPTED
    intruder = Raw(device.first["mqtt_activate"], device.ca_file)
    assert (
        intruder.send(connect_packet(device, device.product_secret, mode=3)).packet() == NOT_AUTHORISED
    )  # the secret was used
    assert held.send(b"\xc0\x00").packet() == b"\xd0\x00"


def with_password(server, device, allowed=True):
    road = f"/api/v1/products/{device.product_key}/policy"
    Operator(server.first).post(road, {"allow_password_login": allowed})


def test_a_session_by_password_exists_only_where_the_product_allows_it(server, tmp_path):
    device = Device(server.first, f"plain-{time.monotonic_ns()}", tmp_path)
    assert device.activate() == 0
    with_password(server, device, False)
    refused = Raw(device.first["mqtt_activate"], device.ca_file).send(connect_packet(device))
    assert refused.packet() == NOT_AUTHORISED
    with_password(server, device, True)
    held = Raw(device.first["mqtt_activate"], device.ca_file).send(connect_packet(device))
    assert held.packet() == ACCEPTED
    with_password(server, device, False)
    assert held.closed()  # the policy holds for who is there already
    assert "needs_certificate" in [event.get("reason") for event in Operator(server.first).events()]


def test_certified_sessions_do_not_mind_the_policy(server, a):
    with_password(server, a, True)
    held = logged_in(a)
    with_password(server, a, False)
    assert held.send(b"\xc0\x00").packet() == b"\xd0\x00"


# Without TLS


def plain(device):
    return Raw(device.first["mqtt_plain"], None)


def test_without_tls_nothing_is_possible_for_a_product_that_requires_certificates(server, a, tmp_path):
    new = Device(server.first, f"plain-{time.monotonic_ns()}", tmp_path)
    activation = connect_packet(new, new.product_secret, mode=3)
    assert plain(new).send(activation).packet() == NOT_AUTHORISED  # no secret is handed out where others listen
    assert plain(a).send(connect_packet(a)).packet() == NOT_AUTHORISED
    assert plain(a).send(connect_packet(a, secret="wrong")).packet() == b"\x20\x02\x00\x04"
    assert new.device_key not in {d["device_key"] for d in Operator(server.first).get("/api/v1/devices")["devices"]}


def test_without_tls_the_same_rules_hold(server, a, b, tmp_path):
    with_password(server, a, True)
    try:
        held = plain(a).send(connect_packet(a, clean=False))
        assert held.packet() == ACCEPTED
        for broken in (
            connect_packet(a, secret="wrong", clean=True),
            connect_packet(b, user=f"{a.device_key}&{a.product_key}"),
        ):
            refused = plain(a).send(broken)
            assert refused.packet()[3] in (2, 4) and refused.closed()
        assert held.send(b"\xc0\x00").packet() == b"\xd0\x00"
        assert held.send(packet(0x32, field(b.sys + "x") + b"\x00\x01{}")).closed()
        assert plain(a).send(b"\x16\x03\x01\x02\x00").closed()  # a TLS client at the wrong door
        start = time.monotonic()
        assert plain(a).send(b"\x10").closed() and time.monotonic() - start < 5
        again = plain(a).send(connect_packet(a, clean=False))
        assert again.packet() == b"\x20\x02\x01\x00"  # what a refused CONNECT had asked to be wiped
    finally:
        with_password(server, a, False)
    assert again.closed()


@pytest.mark.parametrize(
    "topic", ["/sys/{pk}/{other}/ota/device/inform", "/sys/pk/x/y", "anything", "/ext/session/{pk}/{other}/x"]
)
def test_publishing_outside_the_own_trees_ends_the_connection(server, a, b, topic):
    topic = topic.format(pk=a.product_key, other=b.device_key)
    connection = logged_in(a)
    assert connection.send(packet(0x32, field(topic) + b"\x00\x01{}")).closed()
    assert "mqtt.forbidden" in server.log()


def test_subscribing_outside_the_own_trees_is_refused(a, b):
    connection = logged_in(a)
    filters = ["#", "/sys/#", f"/sys/{a.product_key}/+/#", b.sys + "#", a.sys + "#"]
    connection.send(packet(0x82, b"\x00\x01" + b"".join(field(name) + b"\x01" for name in filters)))
    assert connection.packet() == b"\x90\x07\x00\x01\x80\x80\x80\x80\x01"


def test_no_device_hears_itself_or_another(server, a, b):
    listener = logged_in(a)
    listener.send(packet(0x82, b"\x00\x01" + field(a.sys + "#") + b"\x01")).packet()
    talker = logged_in(b)
    listener.send(packet(0x30, field(a.sys + "thing/service/x_reply") + b'{"id":"1","code":200}'))
    talker.send(packet(0x30, field(b.sys + "thing/service/x_reply") + b'{"id":"1","code":200}'))
    listener.send(packet(0x30, field(a.sys + "thing/service/x") + b'{"id":"1"}'))
    assert b'"code":1009' in listener.send(b"\xc0\x00").packet()  # the answer to the last one
    assert listener.packet() == b"\xd0\x00"


def test_a_will_is_taken_as_the_devices_own_word_and_only_on_its_topics(server, a, b):
    foreign = field(b.sys + "ota/device/inform") + field(b'{"id":"1"}')
    assert raw(a).send(connect_packet(a, will=foreign)).packet() == NOT_AUTHORISED
    operator = Operator(server.first)
    own = field(a.sys + "thing/event/gone/post") + field(b'{"id":"1","params":{"events":{"why":"cut"}}}')
    connection = raw(a).send(connect_packet(a, will=own))
    assert connection.packet() == ACCEPTED
    connection.close()
    assert operator.wait_for("device.event", name="gone")["outputs"] == {"why": "cut"}
    polite = raw(a).send(connect_packet(a, will=own.replace(b"gone", b"left")))
    polite.packet()
    assert polite.send(b"\xe0\x00").closed()
    operator.wait_for("device.offline", reason="disconnected")
    assert not [e for e in operator.events() if e.get("name") == "left"]


# Limits


def test_a_packet_over_the_limit_ends_the_connection_before_it_arrives(a):
    assert logged_in(a).send(b"\x30\xff\xff\x7f").closed()
    assert raw(a).send(b"\x10\xff\xff\x7f").closed()
    connection = logged_in(a)
    connection.send(packet(0x32, field(a.sys + "x") + b"\x00\x01" + b" " * (LIMITS.packet_bytes - len(a.sys) - 5)))
    assert connection.packet() == b"\x40\x02\x00\x01"


def test_subscriptions_are_bounded(a):
    connection = logged_in(a)
    names = [field(f"{a.sys}{i}") + b"\x01" for i in range(5)]
    assert (
        connection.send(packet(0x82, b"\x00\x01" + b"".join(names))).packet() == b"\x90\x07\x00\x01\x01\x01\x01\x80\x80"
    )


def test_a_device_that_acknowledges_nothing_has_a_bounded_queue(server, a):
    connection = logged_in(a)
    assert [push(server, a) for _ in range(7)] == [True] * 5 + [False] * 2
    first, second = connection.packet(), connection.packet()
    assert first[0] == second[0] == 0x32
    at = 2 + 2 + len(a.sys + "thing/service/x")
    connection.send(b"\x40\x02" + first[at : at + 2])
    assert connection.packet()[0] == 0x32


def test_unacknowledged_messages_come_again_in_a_kept_session(server, a):
    connection = logged_in(a, clean=False)
    push(server, a, b'{"n":1}')
    sent = connection.packet()
    connection.close()
    again = raw(a).send(connect_packet(a, clean=False))
    assert again.packet() == b"\x20\x02\x01\x00"
    repeated = again.packet()
    assert repeated[0] == 0x3A and repeated[1:] == sent[1:]


def test_a_flood_is_read_more_slowly_and_nobody_else_notices(server, a, b):
    flood, other = logged_in(a), logged_in(b)
    ping = b"\xc0\x00"
    sender = threading.Thread(target=flood.send, args=(ping * 200,))
    start = time.monotonic()
    sender.start()
    assert other.send(ping).packet() == b"\xd0\x00"
    assert time.monotonic() - start < 1
    assert flood.read(400) == b"\xd0\x00" * 200
    assert time.monotonic() - start > 0.8  # 100 at once, the rest at 100 a second
    sender.join(PATIENCE_S)


def test_connections_are_bounded(tmp_path):
    small = ServerThread(tmp_path / "state", Limits(connections=1))
    try:
        device = Device(small.first, "x", tmp_path)
        held = Raw(small.first["mqtt_activate"], device.ca_file)
        held.send(b"\x10")
        waited = Raw(small.first["mqtt_activate"], device.ca_file)
        assert waited.closed()
    finally:
        small.stop()


def test_malformed_packets_end_the_connection_with_one_line_in_the_log(server, a):
    for data in (b"\x00\x00", b"\x82\x02\x00\x01", packet(0x34, field(a.sys + "x") + b"\x00\x01")):
        assert logged_in(a).send(data).closed()
    assert logged_in(a).send(connect_packet(a)).closed()  # a second CONNECT
    assert raw(a).send(b"\xc0\x00").closed()  # something before CONNECT
    assert "Traceback" not in server.log() and "mqtt.malformed" in server.log()


def test_another_version_of_mqtt_gets_its_own_code(a):
    for name, level in (("MQTT", 5), ("MQTT", 3), ("MQIsdp", 4), ("MQIsdp", 0x83)):
        answer = raw(a).send(packet(0x10, field(name) + bytes((level, 2, 0, 0)) + field("x"))).packet()
        assert answer == b"\x20\x02\x00\x01"


def test_mqtt_3_1_is_spoken_and_never_hears_of_a_session(a):
    """Arm Mbed's examples: level 3, and a keep-alive of an hour."""
    for _ in range(2):
        body = connect_packet(a, clean=False, keepalive=3600).replace(
            field("MQTT") + b"\x04", field("MQIsdp") + b"\x03"
        )
        connection = raw(a).send(packet(0x10, body[body.index(field("MQIsdp")) :]))
        assert connection.packet() == ACCEPTED
        assert connection.send(b"\xc0\x00").packet() == b"\xd0\x00"
        connection.close()


def test_who_is_gone_without_a_word_is_found_by_tcp(server, a):
    import socket

    held = logged_in(a, keepalive=3600)

    def options(s):
        [connection] = [c for c in s.desk.endpoint._live.values() if c.admitted.identity.device_key == a.device_key]
        its = connection._transport.get_extra_info("socket")
        return its.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), its.getsockopt(
            socket.IPPROTO_TCP, socket.TCP_KEEPIDLE
        )

    assert server.call(options) == (1, 90)
    held.close()


def test_an_activation_may_do_nothing_but_be_activated(server, tmp_path):
    device = Device(server.first, f"act-{time.monotonic_ns()}", tmp_path)

    def activation():
        connection = Raw(device.first["mqtt_activate"], device.ca_file).send(
            connect_packet(device, device.product_secret, mode=3)
        )
        assert connection.packet() == ACCEPTED
        assert connection.packet()[0] == 0x32  # the activation info
        return connection

    for topic in (device.sys + "ota/device/inform", device.info, device.sys + "thing/measurepoint/post"):
        assert (
            activation()
            .send(packet(0x32, field(topic) + b"\x00\x01" + b'{"id":"1","params":{"version":"9"}}'))
            .closed()
        )
    done = activation().send(packet(0x32, field(device.info + "_reply") + b"\x00\x01{}"))
    assert done.packet() == b"\x40\x02\x00\x01" and done.closed()
