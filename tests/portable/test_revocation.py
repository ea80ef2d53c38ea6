# SPDX-License-Identifier: MIT
"""A device whose certificate was revoked learns it from its server, and rests; one that is merely refused never believes it."""

import gc
import json

import decada_cloud
import enrolled
import vectors
from agent import chores, identity
from agent.errors import RefusedError, UnreachableError
from agent.runtime import Agent
from agent.tasks import standing
from agent.wire import x509
from expect import refused
from platform_adapters import memory
from sweep import journal_of
from test_offers import FACTORY, NOW

HEAP = "2M"
TIMEOUT_S = 120
SERIAL = "%x" % x509.read(vectors.CERTIFICATE).serial
ROAD = "https://cloud:1/ca/status/" + SERIAL
DAY_MS = 86_400_000
ALERT = UnreachableError("tls_refused", "the server ended TLS")
FORGED = RefusedError("tls_untrusted", "not vouched for")


def told(status, serial=SERIAL, reason="keyCompromise", **more):
    answer = {"serial": serial, "status": status, "reason": reason, "revoked_at": None, "time": NOW}
    answer.update(more)
    return 200, {}, json.dumps(answer).encode()


class Cloud(decada_cloud.Cloud):
    """Turns the device away with `code` (CONNACK, or an error); `answer` is what the status road gives, or an error."""

    def __init__(self, code=5, answer=None):
        super().__init__({"silent": True, "version": "", "files": {}, "target": "", "sha256": ""})
        self.code = code
        self.answer = answer or told("revoked")
        self.dials = 0
        self.asked = []  # ticks of the device's whole life

    def connect(self, device, login):
        self.dials += 1
        if isinstance(self.code, Exception):
            raise self.code
        return self.code

    def http(self, device, method, url, headers, body, identity):
        if "/ca/status/" not in url:
            return super().http(device, method, url, headers, body, identity)
        self.asked.append(device.now_ms)
        if (method, url, identity) != ("GET", ROAD, None):
            self.lies.append("it asks for %s" % url)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def of(cloud):
    device = enrolled.device(cloud, b"", NOW, FACTORY)
    device.records["cert.a"] = vectors.CERTIFICATE
    return device


def live(device, ms, most_ms=60_000):
    """Boot, and run for `ms`; gives the agent.  A cut boots anew."""
    end = device.now_ms + ms
    if hasattr(gc, "freeze"):
        gc.freeze()  # the agent collects before each dial, and pytest holds a lot
    while True:
        try:
            platform = device.power_on()
            agent = Agent(platform)
            while True:
                wait = agent.step(20)
                if device.now_ms >= end:
                    return agent
                platform.clock.sleep_ms(max(1, min(wait, most_ms)))
        except (memory.PowerCut, memory.Reset):
            continue


def phase(device):
    return journal_of(device)["identity"]["phase"]


def events(device, name):
    return [fields for event, fields in device.events if event == name]


def between(moments):
    return [moments[at] - moments[at - 1] for at in range(1, len(moments))]


def test_a_revoked_device_learns_it_and_rests():
    cloud = Cloud()
    device = of(cloud)
    agent = live(device, 600_000)
    assert cloud.lies == []
    assert agent.status()["identity"] == "revoked" and agent.status()["revoked"] == "keyCompromise"
    assert journal_of(device)["identity"] == {"phase": "revoked", "label": "a", "tries": 0, "reason": "keyCompromise"}
    assert events(device, "identity.revoked") == [{"reason": "keyCompromise"}]
    assert len(cloud.asked) == 1 and cloud.dials == chores.REFUSALS
    # From now on it asks once a day, and does nothing else.
    began = device.now_ms
    live(device, 8 * DAY_MS, 3_600_000)
    assert cloud.dials == chores.REFUSALS and cloud.lies == []
    assert 5 <= len(cloud.asked) - 1 <= 11
    pauses = between([began] + cloud.asked[1:])
    assert min(pauses) >= DAY_MS * 3 // 4 and max(pauses) <= DAY_MS * 5 // 4 + 3_600_000 and len(set(pauses)) > 3
    assert len(events(device, "identity.revoked")) == 2  # once a boot


def test_nothing_that_the_server_says_later_brings_it_back():
    cloud = Cloud()
    device = of(cloud)
    live(device, 600_000)
    cloud.code = 0
    for status in ("good", "unknown", "superseded", "expired"):
        cloud.answer = told(status)
        before = len(cloud.asked)
        live(device, DAY_MS * 21 // 16, 3_600_000)
        assert len(cloud.asked) > before and phase(device) == "revoked"
    assert cloud.dials == chores.REFUSALS


def test_refusals_alone_never_revoke():
    for code, answer in ((4, told("good")), (5, (404, {}, b"")), (ALERT, FORGED)):
        cloud = Cloud(code, answer)
        device = of(cloud)
        live(device, DAY_MS // 3)
        assert phase(device) != "revoked", (code, answer)
        assert cloud.dials > 60  # it tries on
        assert 6 < len(cloud.asked) < 13  # and asks ever more rarely
        pauses = between(cloud.asked)
        assert pauses[0] < 400_000 and max(pauses) > 3_600_000, pauses
        cloud.code = 0
        agent = live(device, 400_000, 10_000)
        assert agent.uplink.online


def test_all_other_words_are_told_and_change_nothing():
    for status in ("good", "unknown", "superseded", "expired"):
        device = of(Cloud(5, told(status)))
        live(device, 120_000)
        assert phase(device) != "revoked"
        assert events(device, "identity.standing")[0] == {"status": status, "detail": standing.MEANINGS[status]}


def test_no_question_without_refusals():
    silence = UnreachableError("timeout", "silent")
    busy = UnreachableError("mqtt_refused", "CONNACK 3")
    for code in (silence, busy, FORGED):
        cloud = Cloud(code)
        device = of(cloud)
        live(device, 3_600_000)
        assert cloud.asked == [] and phase(device) != "revoked"


def test_answers_that_are_none():
    long = told("revoked", x="y" * 600)
    for answer in (
        told("revoked", serial=SERIAL[:-1]),
        told("revoked", serial="00" + SERIAL),
        told("revoked", serial=SERIAL.upper()),
        told("revoked", serial=int(SERIAL, 16)),
        told("revoked", serial=[SERIAL]),
        told("Revoked"),
        told(["revoked"]),
        told(None),
        told(True),
        (200, {}, b""),
        (200, {}, b"revoked"),
        (200, {}, b'"revoked"'),
        (200, {}, b"[]"),
        (200, {}, b"[" * 500),
        (200, {}, b'{"status": "revoked"}'),
        (200, {}, b"\xff\xfe"),
        (200, {}, long[2]),
        (200, {"Content-Length": "400"}, told("revoked")[2]),
        (201, {}, told("revoked")[2]),
        (302, {"Location": ROAD}, told("revoked")[2]),
        (401, {}, told("revoked")[2]),
        (403, {}, told("revoked")[2]),
        (404, {}, told("revoked")[2]),
        (500, {}, told("revoked")[2]),
        FORGED,
        RefusedError("tls_name", "another host"),
        UnreachableError("clock_unset", "from the future"),
    ):
        cloud = Cloud(5, answer)
        device = of(cloud)
        live(device, 600_000)
        assert cloud.asked and phase(device) != "revoked", answer
        assert not events(device, "identity.revoked")
        assert not [e for e in events(device, "error") if e["code"] == "unexpected"], device.events


def test_an_unknown_reason_is_unspecified():
    for reason in ("secret\nline", 7, None, "x" * 300):
        assert standing.read(told("revoked", reason=reason)[2], SERIAL) == ("revoked", "unspecified")
    refused("standing", standing.read, told("revoked")[2], "1")


def test_power_cut_at_every_effect():
    clean = of(Cloud())
    live(clean, 600_000)
    assert clean.effects >= 5
    for at in range(1, clean.effects + 1):
        for way in (memory.BEFORE, memory.AFTER, memory.TORN):
            if clean.trace[at - 1].startswith("mqtt") and way == memory.TORN:
                continue
            cloud = Cloud()
            device = of(cloud)
            device.tears_records = "mixed"
            device.cuts = {at: way}
            agent = live(device, 900_000)
            assert agent.status()["identity"] == "revoked" and phase(device) == "revoked", (at, way)
            assert cloud.lies == [] and device.secrets and device.records["cert.a"]


def test_a_device_on_trial_is_not_revoked_before_that_is_over():
    cloud = Cloud()
    device = of(cloud)
    platform = device.power_on()
    agent = Agent(platform)
    agent.save(update=dict(agent.update_state, phase="trial"))
    for _ in range(9):
        chores.trouble(agent, RefusedError("mqtt_refused", "CONNACK 5"))
    assert not agent._tasks and agent.uplink.questions == 0


def test_a_device_whose_certificate_is_lost_asks_nothing():
    cloud = Cloud()
    device = of(cloud)
    device.records["cert.a"] = b"certificate"
    live(device, 600_000)
    assert cloud.asked == [] and phase(device) != "revoked"
    assert events(device, "error")


def test_what_was_under_way_ends_quietly():
    state, commands = identity.step({"phase": "probation", "label": "a", "tries": 3}, ("revoked", "unspecified"))
    assert [c[0] for c in commands] == ["save", "log", "rest"] and state["tries"] == 0
    for event in (("issued",), ("failed", "x", True), ("failed", "x", False), ("revoked", "superseded")):
        assert identity.step(state, event) == (state, [])
    assert [c[0] for c in identity.step(state, ("started", True))[1]] == ["log"]
