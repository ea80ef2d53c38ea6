# SPDX-License-Identifier: MIT
from agent.wire import der
from expect import refused


def _read(method, data):
    reader = der.Reader(data)
    value = getattr(reader, method)()
    reader.end()
    return value


def test_writing_and_reading_agree():
    for value in (0, 1, 127, 128, 255, 256, 1 << 255, (1 << 256) - 1):
        assert _read("integer", der.integer(value)) == value
    for dotted in ("1.2.840.10045.3.1.7", "2.5.4.3", "2.999.1", "0.9.2342.19200300.100.1.25", "1.3.6.1.4.1.311"):
        assert _read("oid", der.oid(dotted)) == dotted
    assert _read("bits", der.bits(b"abc")) == b"abc"


def test_encodings_are_those_of_the_standard():
    assert der.integer(128) == b"\x02\x02\x00\x80"
    assert der.oid("1.2.840.113549") == b"\x06\x06\x2a\x86\x48\x86\xf7\x0d"
    assert der.tlv(4, bytes(127))[:2] == b"\x04\x7f"
    assert der.tlv(4, bytes(128))[:3] == b"\x04\x81\x80"
    assert der.tlv(4, bytes(256))[:4] == b"\x04\x82\x01\x00"


def test_lengths_of_every_form_are_read():
    for size in (0, 1, 127, 128, 255, 256, 65000):
        assert der.Reader(der.tlv(4, bytes(size))).contents(4) == bytes(size)


def test_only_the_shortest_length_is_taken():
    for data in (
        b"\x04\x80ab\x00\x00",  # indefinite
        b"\x04\x81\x02ab",
        b"\x04\x82\x00\x02ab",
        b"\x04\x82\x00\x80" + bytes(128),
        b"\x04\x83\x00\x00\x02ab",
        b"\x04\x84\xff\xff\xff\xffab",
        b"\x04\xffab",
        b"\x04\x82\x01",
        b"\x04\x03ab",
        b"\x04",
        b"",
    ):
        refused("der", der.Reader(data).contents, 4)


def test_integers_and_the_like_have_one_form():
    for data in (b"\x02\x00", b"\x02\x01\x80", b"\x02\x02\x00\x7f", b"\x02\x02\xff\x80"):
        refused("der", _read, "integer", data)
    for data in (b"\x01\x01\x01", b"\x01\x00", b"\x01\x02\x00\x00"):
        refused("der", _read, "boolean", data)
    for data in (b"\x06\x00", b"\x06\x01\x80", b"\x06\x03\x2a\x80\x01", b"\x06\x21" + bytes(33)):
        refused("der", _read, "oid", data)
    for data in (b"\x03\x00", b"\x03\x02\x01\x80"):
        refused("der", _read, "bits", data)


def test_an_inner_element_cannot_leave_its_frame():
    frame = der.sequence(b"\x04\x05ab")
    inner = der.Reader(frame + b"cde").enter(der.SEQUENCE)
    refused("der", inner.contents, 4)


def test_nothing_may_follow():
    reader = der.Reader(der.integer(1) + b"\x00")
    reader.integer()
    refused("der", reader.end)


def test_size_is_bounded():
    refused("der", der.Reader, bytes(der.MAX_BYTES + 1))
    refused("der", der.tlv, 4, bytes(der.MAX_BYTES + 1))
