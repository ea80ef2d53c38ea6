# SPDX-License-Identifier: MIT
from agent.wire import utf8
from expect import refused


def test_well_formed():
    for text in (
        "",
        "abc",
        "\x00",
        "\x7f\x80",
        "\u07ff\u0800",
        "\ud7ff\ue000\uffff",
        "\U00010000\U0010ffff",
        "gr\u00fc\u00df",
    ):
        assert utf8.decode(text.encode()) == text


def test_not_well_formed():
    for data in (
        b"\x80", b"\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf",  # overlong
        b"\xed\xa0\x80", b"\xed\xbf\xbf",  # surrogates
        b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xfe", b"\xff",  # too large
        b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xc3a", b"\xe2\x82a", b"a\x80", b"\xc3\xc3",  # truncated
    ):  # fmt: skip
        refused("utf8", utf8.decode, data)
