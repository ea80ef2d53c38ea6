# SPDX-License-Identifier: MIT
"""The MQTT codec, without a socket: whole, byte by byte, broken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_client import field, packet

from trueboot_server.mqtt import codec
from trueboot_server.mqtt.codec import Connect, Decoder, MalformedError, PubAck, Publish, Subscribe, Unsubscribe, Will

CONNECT = field("MQTT") + b"\x04\xc2\x00\x3c" + field("id") + field("user") + field(b"pass")
STREAM = [
    (packet(0x10, CONNECT), Connect("id", "user", b"pass", 60, True, None)),
    (packet(0x30, field("/a/b") + b"hello"), Publish("/a/b", b"hello", 0, 0, False)),
    (packet(0x3A, field("/a") + b"\x01\x02" + b"x" * 300), Publish("/a", b"x" * 300, 1, 258, True)),
    (packet(0x40, b"\x00\x07"), PubAck(7)),
    (packet(0x82, b"\x00\x01" + field("/a/+") + b"\x01" + field("/#") + b"\x02"), Subscribe(1, [("/a/+", 1), ("/#", 2)])),
    (packet(0xA2, b"\x00\x02" + field("/a/+")), Unsubscribe(2, ["/a/+"])),
    (packet(0xC0, b""), codec.PingReq()),
    (packet(0xE0, b""), codec.Disconnect()),
]  # fmt: skip
WILL = field("MQTT") + b"\x04\x2e\x00\x00" + field("") + field("/w") + field(b"bye")

MALFORMED = {
    "first packet type 0": packet(0x00, b""),
    "packet type 15": packet(0xF0, b""),
    "a server's packet": packet(0x20, b"\x00\x00"),
    "PUBREC, of QoS 2": packet(0x50, b"\x00\x01"),
    "remaining length of five bytes": b"\x30\xff\xff\xff\xff\x01",
    "longer than the limit": b"\x30\xff\xff\x7f",
    "publish with QoS 2": packet(0x34, field("/a") + b"\x00\x01"),
    "publish with QoS 3": packet(0x36, field("/a") + b"\x00\x01"),
    "publish with DUP and QoS 0": packet(0x38, field("/a")),
    "publish without a topic": packet(0x30, field("")),
    "publish to a wildcard": packet(0x30, field("/a/+")),
    "publish with packet id 0": packet(0x32, field("/a") + b"\x00\x00"),
    "publish that ends in its topic": packet(0x30, b"\x00\x09/a"),
    "topic that is not UTF-8": packet(0x30, field(b"/\xff")),
    "topic with a surrogate": packet(0x30, field(b"/\xed\xa0\x80")),
    "topic with U+0000": packet(0x30, field("/a\0b")),
    "subscribe with QoS 3": packet(0x82, b"\x00\x01" + field("/a") + b"\x03"),
    "subscribe with reserved flags": packet(0x80, b"\x00\x01" + field("/a") + b"\x01"),
    "subscribe to nothing": packet(0x82, b"\x00\x01"),
    "subscribe without QoS": packet(0x82, b"\x00\x01" + field("/a")),
    "subscribe to a misplaced #": packet(0x82, b"\x00\x01" + field("/#/a") + b"\x01"),
    "subscribe to a partial +": packet(0x82, b"\x00\x01" + field("/a+") + b"\x01"),
    "subscribe to nothing by name": packet(0x82, b"\x00\x01" + field("") + b"\x01"),
    "unsubscribe from nothing": packet(0xA2, b"\x00\x01"),
    "ping with a body": packet(0xC0, b"x"),
    "ping with flags": packet(0xC1, b""),
    "disconnect with flags": packet(0xE1, b""),
    "puback with packet id 0": packet(0x40, b"\x00\x00"),
    "puback that goes on": packet(0x40, b"\x00\x01\x00"),
    "connect with the reserved flag": packet(0x10, field("MQTT") + b"\x04\xc3" + CONNECT[8:]),
    "connect with password and no user": packet(0x10, field("MQTT") + b"\x04\x42\x00\x00" + field("id") + field(b"p")),
    "connect with will flags and no will": packet(0x10, field("MQTT") + b"\x04\x0a\x00\x00" + field("id")),
    "connect with will QoS 3": packet(0x10, field("MQTT") + b"\x04\x1e\x00\x00" + field("") + field("/w") + field(b"")),
    "connect that goes on": packet(0x10, CONNECT + b"x"),
    "connect that ends early": packet(0x10, CONNECT[:-1]),
    "connect of another protocol": packet(0x10, field("HTTP") + b"\x04\xc2\x00\x3c"),
}  # fmt: skip


def decode(data, step=None):
    decoder, found = Decoder(4096), []
    for start in range(0, len(data), step or len(data)):
        decoder.feed(data[start : start + (step or len(data))])
        found += list(decoder)
    return found


@pytest.mark.parametrize("step", [None, 1, 2, 3, 7])
def test_a_stream_gives_the_same_packets_however_it_is_cut(step):
    assert decode(b"".join(data for data, _ in STREAM), step) == [expected for _, expected in STREAM]


def test_a_will_is_read():
    assert decode(packet(0x10, WILL)) == [Connect("", None, None, 0, True, Will("/w", b"bye", 1))]


def test_a_connect_never_shows_its_password():
    assert "pass" not in repr(decode(STREAM[0][0])[0]).replace("password", "")


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_what_breaks_the_format_is_refused(data):
    for step in (None, 1):
        with pytest.raises(MalformedError):
            decode(data, step)


@pytest.mark.parametrize("protocol", [field("MQTT") + b"\x05", field("MQTT") + b"\x03", field("MQIsdp") + b"\x04"])
def test_another_version_of_mqtt_is_told_apart(protocol):
    with pytest.raises(codec.UnknownProtocolError):
        decode(packet(0x10, protocol + b"\x02\x00\x00" + field("id")))


@given(st.binary(max_size=200), st.integers(1, 50))
def test_garbage_gives_packets_or_our_error(data, step):
    try:
        for found in decode(data, step):
            assert isinstance(found, codec.Packet)
    except (MalformedError, codec.UnknownProtocolError):
        pass


@given(st.sampled_from(STREAM), st.data())
def test_a_changed_byte_gives_packets_or_our_error(original, data):
    changed = bytearray(original[0])
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(changed))
    except (MalformedError, codec.UnknownProtocolError):
        pass


@given(
    st.text(min_size=1, max_size=50).filter(lambda t: not set(t) & set("+#\0")), st.binary(max_size=500), st.booleans()
)
def test_what_is_encoded_is_decoded(topic, payload, acknowledged):
    topic = topic.encode("utf-8", "ignore").decode() or "t"
    number = 9 if acknowledged else 0
    found = decode(codec.publish(topic, payload, int(acknowledged), number))
    assert found == [Publish(topic, payload, int(acknowledged), number, False)]
