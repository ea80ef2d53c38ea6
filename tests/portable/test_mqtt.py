# SPDX-License-Identifier: MIT
from agent.errors import AgentError
from agent.wire import mqtt
from expect import misuse, refused

CONNACK = b"\x20\x02\x00\x00"


def _events(data, step=None, limit=mqtt.MAX_PACKET_BYTES):
    """The events of `data` and, as a last item, the code of the refusal that ended them, if any."""
    decoder = mqtt.Decoder(limit)
    events = []
    for at in range(0, len(data), step or len(data) or 1):
        decoder.feed(data[at : at + (step or len(data))])
        try:
            event = decoder.event()
            while event is not None:
                events.append(event)
                event = decoder.event()
        except AgentError as error:
            events.append(error.code)
            break
    return events


def _both(data):
    """The same whether the bytes come at once or one by one."""
    events = _events(data)
    for step in (1, 2, 3):
        assert _events(data, step) == events, (step, data)
    return events


def _after_connack(data):
    events = _both(CONNACK + data)
    assert events[0] == ("connack", 0, False)
    return events[1:]


def test_packets_of_a_client():
    assert mqtt.connect("id") == b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02id"
    assert mqtt.connect("id", "user", "pass", 300) == (
        b"\x10\x1a\x00\x04MQTT\x04\xc2\x01\x2c\x00\x02id\x00\x04user\x00\x04pass"
    )
    assert mqtt.subscribe(10, ["a/+", "b"]) == b"\x82\x0c\x00\x0a\x00\x03a/+\x01\x00\x01b\x01"
    assert mqtt.subscribe(10, ["#"], 0) == b"\x82\x06\x00\x0a\x00\x01#\x00"
    assert mqtt.publish("a/b", b"xyz") == b"\x30\x08\x00\x03a/bxyz"
    assert mqtt.publish("a/b", b"xyz", 1, 0x1234) == b"\x32\x0a\x00\x03a/b\x12\x34xyz"
    assert mqtt.publish("a/b", b"", 1, 1, True) == b"\x3a\x07\x00\x03a/b\x00\x01"
    assert mqtt.puback(0xFFFF) == b"\x40\x02\xff\xff"
    assert mqtt.publish("\u00fc", b"") == b"\x30\x04\x00\x02\xc3\xbc"


def test_remaining_length_grows_with_the_packet():
    for size, head in (
        (124, b"\x30\x7f"),
        (125, b"\x30\x80\x01"),
        (16380, b"\x30\xff\x7f"),
        (16381, b"\x30\x80\x80\x01"),
    ):
        packet = mqtt.publish("t", bytes(size))
        assert packet[: len(head)] == head
        assert len(packet) == len(head) + 3 + size


def test_misuse_is_told():
    for function, arguments in (
        (mqtt.connect, ("id", "", "password")),
        (mqtt.connect, ("id", "", "", 65536)),
        (mqtt.connect, ("id", "", "", -1)),
        (mqtt.connect, ("i\x00d",)),
        (mqtt.connect, ("i" * 65536,)),
        (mqtt.subscribe, (0, ["a"])),
        (mqtt.subscribe, (1, [])),
        (mqtt.subscribe, (1, ["a"], 2)),
        (mqtt.publish, ("", b"")),
        (mqtt.publish, ("a/+", b"")),
        (mqtt.publish, ("#", b"")),
        (mqtt.publish, ("a\x00", b"")),
        (mqtt.publish, ("a", b"", 2, 1)),
        (mqtt.publish, ("a", b"", 1)),
        (mqtt.publish, ("a", b"", 1, 65536)),
        (mqtt.publish, ("a", b"", 0, 1)),
        (mqtt.publish, ("a", b"", 0, 0, True)),
        (mqtt.puback, (0,)),
    ):
        misuse("mqtt_argument", function, *arguments)


def test_events_of_a_server():
    data = (
        b"\x20\x02\x01\x00"
        + b"\x90\x04\x00\x0a\x01\x80"
        + mqtt.publish("a/b", b"zero")
        + mqtt.publish("a/b", b"", 1, 7)
        + b"\x33\x05\x00\x01t\x00\x08"
        + b"\x3a\x07\x00\x01t\x00\x09xy"
        + b"\x40\x02\x00\x0b"
        + b"\xd0\x00"
        + b"\x30"  # of a packet that goes on
    )
    assert _both(data) == [
        ("connack", 0, True),
        ("suback", 10, [1, 0x80]),
        ("publish", "a/b", b"zero", 0, 0, False),
        ("publish", "a/b", b"", 1, 7, False),
        ("publish", "t", b"", 1, 8, True),
        ("publish", "t", b"xy", 1, 9, False),
        ("puback", 11),
        ("pingresp",),
    ]


def test_a_refused_connection_is_an_event():
    for code in range(1, 6):
        assert _both(b"\x20\x02\x00" + bytes((code,))) == [("connack", code, False)]


def test_connack_comes_first_and_once():
    assert _both(b"\xd0\x00") == ["mqtt_packet"]
    assert _both(mqtt.publish("a", b"")) == ["mqtt_packet"]
    assert _after_connack(CONNACK) == ["mqtt_packet"]


def test_what_a_server_must_not_send_is_refused():
    for data in (
        b"\x20\x02\x02\x00",
        b"\x20\x02\x00\x06",
        b"\x20\x02\x01\x01",
        b"\x20\x03\x00\x00\x00",
        b"\x20\x01\x00",
        b"\x21\x02\x00\x00",
    ):
        assert _both(data) == ["mqtt_packet"], data
    for data in (
        b"\x00\x00", b"\x10\x00", b"\x50\x02\x00\x01", b"\x62\x02\x00\x01", b"\x70\x02\x00\x01", b"\x82\x02\x00\x01",
        b"\xa2\x02\x00\x01", b"\xb0\x02\x00\x01", b"\xc0\x00", b"\xe0\x00", b"\xf0\x00",  # types of a client, and none
        b"\x41\x02\x00\x01", b"\x91\x03\x00\x01\x00", b"\xd1\x00",  # reserved flags
        b"\x40\x02\x00\x00", b"\x40\x03\x00\x01\x00", b"\x40\x00", b"\xd0\x01\x00",
        b"\x90\x02\x00\x01", b"\x90\x00", b"\x90\x03\x00\x00\x00", b"\x90\x03\x00\x01\x02", b"\x90\x03\x00\x01\x03",
        b"\x34\x05\x00\x01t\x00\x01", b"\x36\x05\x00\x01t\x00\x01", b"\x38\x03\x00\x01t",  # QoS 2 and 3, DUP at QoS 0
        b"\x30\x00", b"\x30\x01\x00", b"\x30\x02\x00\x00", b"\x30\x03\x00\x02t", b"\x32\x03\x00\x01t",
        b"\x32\x04\x00\x01t\x00",
        b"\x32\x05\x00\x01t\x00\x00",  # packet id 0
        b"\x30\x03\x00\x01+", b"\x30\x03\x00\x01#", b"\x30\x03\x00\x01\x00",
        b"\x30\x04\x00\x02\xc0\x80", b"\x30\x05\x00\x03\xed\xa0\x80", b"\x30\x03\x00\x01\xff",
        b"\x30\x80\x00", b"\x30\x83\x00\x00\x01t", b"\x30\x80\x80\x80\x80\x01", b"\x30\xff\xff\xff\xff",
    ):  # fmt: skip
        assert _after_connack(data) == ["mqtt_packet"], data


def test_events_before_a_refusal_are_not_lost():
    assert _after_connack(b"\xd0\x00\xd1\x00") == [("pingresp",), "mqtt_packet"]


def test_size_is_bounded_before_the_body_comes():
    fits = CONNACK + mqtt.publish("t", bytes(97))
    assert len(_events(fits, None, 100)) == 2
    for data in (CONNACK + mqtt.publish("t", bytes(98)), CONNACK + b"\x30\x65", CONNACK + b"\x30\xff\xff\xff\x7f"):
        for step in (None, 1):
            assert _events(data, step, 100)[1:] == ["mqtt_too_big"]


def test_the_decoder_keeps_refusing():
    decoder = mqtt.Decoder()
    decoder.feed(b"\xd0\x00")
    refused("mqtt_packet", decoder.event)
    refused("mqtt_packet", decoder.event)


def test_a_forbidden_first_byte_is_refused_at_once():
    for data in (b"\xf0", b"\xd1", b"\x38", b"\xf0\x80"):
        assert _after_connack(data) == ["mqtt_packet"]
