# SPDX-License-Identifier: MIT
"""What a board without a clock believes, from whom, and for how long; and the codec of NTP."""

import sys

import decada_cloud
import enrolled
import vectors
from agent import BUILT, hold
from agent.errors import RefusedError, UnreachableError
from agent.runtime import Agent
from agent.tasks import clock
from agent.wire import ntp, x509
from expect import misuse, refused
from sweep import journal_of
from test_offers import FACTORY, NOW
from test_revocation import events

HEAP = "2M"
TIMEOUT_S = 60
NONCE = b"01234567"
OLD = (None, 0, 946_684_800)  # a clock that starts with the device, in 1970, in 2000
LATE = UnreachableError("clock_unset", "from the future")


def answer(seconds, nonce=NONCE, first=0x24, stratum=2):
    """An NTP server's packet that tells `seconds` since 1970."""
    head = bytes((first, stratum, 0, 0)) + bytes(20)
    return head + nonce + bytes(8) + ((seconds + 2_208_988_800) & 0xFFFFFFFF).to_bytes(4, "big") + bytes(4)


class Cloud(decada_cloud.Cloud):
    """Its certificate begins at `since`; `ntp(nonce)` answers datagrams; `date` is what its HTTPS says."""

    def __init__(self, since=NOW - 86_400, ntp=None, date=""):
        super().__init__({"silent": True, "version": "", "files": {}, "target": "", "sha256": ""})
        self.since, self.ntp, self.date = since, ntp, date
        self.datagrams = []

    def connect(self, device, login):
        self.shake(device)
        return super().connect(device, login)

    def http(self, device, method, url, headers, body, identity):
        self.shake(device)
        return 200, {"Date": self.date}, b"{}"

    def shake(self, device):
        if device.wall() < self.since:
            raise LATE

    def datagram(self, device, host, port, data):
        self.datagrams.append((host, port))
        return self.ntp and self.ntp(data[40:48])


def boot(cloud, epoch, ms=60_000, config=None, **record):
    """(device, agent) after some time."""
    device = enrolled.device(cloud, b"", NOW, FACTORY, **record)
    device.epoch_s = epoch
    device.config = dict(enrolled.CONFIG, **(config or {}))
    device.records["cert.a"] = vectors.CERTIFICATE
    device.anchors = [vectors.CA_CERTIFICATE]
    device.clock_sets = []
    return device, run(device, Agent(device.power_on()), ms)


def run(device, agent, ms):
    end = device.now_ms + ms
    while device.now_ms < end:
        agent.platform.clock.sleep_ms(max(1, min(agent.step(20), 1000)))
    return agent


def test_a_clock_that_is_right_is_left_alone():
    cloud = Cloud(ntp=lambda nonce: answer(NOW + 9999, nonce))
    device, agent = boot(cloud, NOW, config={"ntp": "time.example"})
    assert agent.uplink.online and device.clock_sets == [] and cloud.datagrams == []
    assert hold.clock_is_set(agent)


def test_the_floor_is_enough_for_a_server_that_is_older():
    for epoch in OLD:
        device, agent = boot(Cloud(since=NOW - 86_400), epoch, clock=NOW)
        assert agent.uplink.online and device.clock_sets[0] == NOW
        assert not hold.clock_is_set(agent)  # but nobody knows what time it is


def test_without_a_word_from_anybody_it_says_what_to_do():
    for epoch in OLD:
        device, agent = boot(Cloud(since=NOW), epoch)
        assert not agent.uplink.online and events(device, "session.offline")[0]["code"] == "clock_unset"
        # What its certificates prove is less than what the agent's own build does.
        assert x509.read(vectors.CERTIFICATE).not_before < BUILT and device.clock_sets == [BUILT]
        device.epoch_s = NOW  # somebody sets it
        assert run(device, agent, 400_000).uplink.online and hold.clock_is_set(agent)


def test_certificates_prove_a_bound():
    bound = x509.read(vectors.CERTIFICATE).not_before
    for epoch in OLD:
        device, agent = boot(Cloud(since=NOW), epoch)
        agent.platform.clock._floor = 0
        device.life.clock = None
        run(device, agent, 400_000)
        assert device.clock_sets[-1] == bound
        assert events(device, "clock.set")[-1] == {"source": "certificate", "time": bound}
        assert not hold.clock_is_set(agent)


def test_ntp_sets_this_boots_clock_and_no_more():
    for epoch in OLD:
        cloud = Cloud(since=NOW, ntp=lambda nonce: answer(NOW + 5, nonce))
        device, agent = boot(cloud, epoch, config={"ntp": "time.example:1123"})
        assert agent.uplink.online and cloud.datagrams == [("time.example", 1123)]
        assert events(device, "clock.set") == [{"source": "ntp", "time": NOW + 5}]
        assert NOW <= agent.platform.clock.wall() < NOW + 100 and hold.clock_is_set(agent)
        assert journal_of(device).get("clock", 0) == 0
        # The next boot begins at the floor again.
        agent = Agent(device.power_on())
        run(device, agent, 2000)
        assert device.clock_sets == [BUILT, NOW + 5, BUILT, NOW + 5]


def test_ntp_that_lies_or_is_silent_moves_nothing():
    for reply in (
        None,
        b"",
        answer(NOW)[:47],
        answer(NOW, b"76543210"),
        lambda nonce: answer(NOW, nonce, first=0x23),
        lambda nonce: answer(NOW, nonce, first=0xE4),
        lambda nonce: answer(NOW, nonce, stratum=0),
        lambda nonce: answer(BUILT, nonce),
        lambda nonce: answer(0, nonce),
    ):
        cloud = Cloud(since=NOW, ntp=reply if callable(reply) or reply is None else lambda nonce, reply=reply: reply)
        device, agent = boot(cloud, None, config={"ntp": "time.example"})
        assert not agent.uplink.online and device.clock_sets == [BUILT], reply
        assert len(cloud.datagrams) > 2  # each time that the server is not reached, no oftener
        assert events(device, "error"), (reply, device.events)


def test_a_date_of_the_verified_cloud_sets_it_once_there_is_a_session():
    cloud = Cloud(since=0, date="Tue, 01 Dec 2026 12:34:56 GMT")
    device, agent = boot(cloud, None, 200_000)
    seconds = clock.http_date(cloud.date)
    assert events(device, "clock.set") == [{"source": "http", "time": seconds}]
    assert hold.clock_is_set(agent) and seconds <= agent.platform.clock.wall() < seconds + 260
    assert journal_of(device).get("clock", 0) == 0


def test_dates():
    assert clock.http_date("Sun, 06 Nov 1994 08:49:37 GMT") == 784_111_777
    for text in (
        "",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 06 anF 1994 08:49:37 GMT",
        "Sun, xx Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
    ):
        try:
            clock.http_date(text)
        except RefusedError:
            continue
        raise AssertionError(text)


def test_ntp_there_and_back():
    assert ntp.request(NONCE) == b"\x23" + bytes(39) + NONCE
    for seconds in (0, NOW, 2_085_978_495, 2_085_978_497, 4_000_000_000):  # and over the end of NTP's era
        if seconds:
            assert ntp.read(answer(seconds), NONCE) == seconds
    assert ntp.read(answer(NOW, first=0x1C) + b"more", NONCE) == NOW
    for packet in (
        b"",
        answer(NOW)[:-1],
        answer(NOW, bytes(8)),
        answer(NOW, first=0x23),
        answer(NOW, first=0x25),
        answer(NOW, first=0x2C),
        answer(NOW, first=0xE4),
        answer(NOW, stratum=0),
        answer(NOW, stratum=16),
        answer(-2_208_988_800),
    ):
        refused("ntp", ntp.read, packet, NONCE)


def test_the_address_of_a_time_server():
    from agent.config import ntp_address

    assert ntp_address("pool.ntp.org") == ("pool.ntp.org", 123)
    assert ntp_address("10.0.0.1:1123") == ("10.0.0.1", 1123)
    assert ntp_address("[::1]:123") == ("::1", 123)
    for text in ("x:", "x:0", "x:70000", ":123", "a/b"):
        misuse("config", ntp_address, text)


def test_a_boards_clock_is_the_chips():
    from platform_adapters.micropython_board import Clock

    kept = []

    class RTC:
        def datetime(self, fields):
            kept.append(fields)

    before = sys.modules.get("machine")
    sys.modules["machine"] = type("machine", (), {"RTC": RTC})
    try:
        Clock.set(type("Any", (), {"_epoch": 0})(), 1_796_128_496)
    finally:
        del sys.modules["machine"]
        if before:
            sys.modules["machine"] = before
    assert kept == [(2026, 12, 1, 1, 12, 34, 56, 0)]
