# SPDX-License-Identifier: MIT
"""Topics and sessions: who sees what, and the limits on what waits."""

import pytest

from trueboot_server.limits import Limits
from trueboot_server.mqtt import codec, topics
from trueboot_server.mqtt.session import Session
from trueboot_server.names import Identity

ME = Identity("pk", "dk")


@pytest.mark.parametrize(
    "name, own",
    [
        ("/sys/pk/dk/ota/device/inform", True),
        ("/ext/session/pk/dk/thing/activate/info", True),
        ("/sys/pk/dk/#", True),
        ("/sys/pk/dk", False),
        ("/sys/pk/dk2/ota", False),
        ("/sys/pk/+/ota", False),
        ("/sys/+/dk/ota", False),
        ("/sys/#", False),
        ("#", False),
        ("+/sys/pk/dk/x", False),
        ("sys/pk/dk/x", False),
        ("$SYS/pk/dk/x", False),
    ],
)
def test_a_device_has_its_own_trees_and_no_other(name, own):
    assert topics.is_own(ME, name) is own


@pytest.mark.parametrize(
    "wanted, topic, match",
    [
        ("/a/b", "/a/b", True), ("/a/+", "/a/b", True), ("/a/#", "/a", True), ("/a/#", "/a/b/c", True), ("/#", "/x", True),
        ("/a/+", "/a/b/c", False), ("/a/b", "/a", False), ("/a", "/a/b", False), ("/a/+/c", "/a/b/c", True), ("+", "/a", False),
    ],
)  # fmt: skip
def test_filters_match_as_the_specification_says(wanted, topic, match):
    assert topics.matches(wanted, topic) is match


def test_commands_need_no_subscription_and_replies_do():
    session = Session(Limits())
    assert session.qos_for("/sys/pk/dk/ota/device/upgrade") == 1
    assert session.qos_for("/sys/pk/dk/ota/device/inform_reply") is None
    session.subscribe("/sys/pk/dk/ota/device/inform_reply", 0)
    assert session.qos_for("/sys/pk/dk/ota/device/inform_reply") == 0
    session.subscribe("/sys/pk/dk/ota/#", 2)
    assert session.qos_for("/sys/pk/dk/ota/device/inform_reply") == 1


def test_subscriptions_are_bounded():
    session = Session(Limits(subscriptions=2, filter_bytes=10))
    assert [session.subscribe(name, 1) for name in ("/a", "/b", "/a")] == [1, 1, 1]
    assert session.subscribe("/c", 1) == codec.SUBSCRIBE_FAILED
    session.unsubscribe("/b")
    assert session.subscribe("/12345678901", 1) == codec.SUBSCRIBE_FAILED


def test_messages_wait_within_limits_and_repeat_until_acknowledged():
    session = Session(Limits(inflight_messages=2, queue_messages=2, queue_bytes=10))
    for payload in (b"1", b"2"):
        assert session.accept("/t", payload)
    sent = session.due()
    assert sent == [codec.publish("/t", b"1", 1, 1), codec.publish("/t", b"2", 1, 2)]
    assert not session.accept("/t", b"too many bytes")
    assert session.accept("/t", b"3") and session.accept("/t", b"4") and not session.accept("/t", b"5")
    assert session.due() == []
    assert session.again() == [codec.publish("/t", b"1", 1, 1, True), codec.publish("/t", b"2", 1, 2, True)]
    session.acknowledged(1)
    session.acknowledged(9)
    assert session.due() == [codec.publish("/t", b"3", 1, 3)]


def test_a_packet_id_in_use_is_not_used_again():
    session = Session(Limits(inflight_messages=3))
    session._last_id = 0xFFFE
    for payload in (b"1", b"2"):
        session.accept("/t", payload)
    session.due()
    session._last_id = 0xFFFE
    session.accept("/t", b"3")
    assert session.due() == [codec.publish("/t", b"3", 1, 2)]
