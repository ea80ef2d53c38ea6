# SPDX-License-Identifier: MIT
"""Checks of micropython/wifi.py, over a radio and a clock that are played: argv names one.  For MicroPython."""

import os
import sys

from agent.errors import AgentError, MisuseError, UnreachableError

EPERM = 1


class Time:
    """Nobody waits; what happens meanwhile is in `radio`."""

    def __init__(self):
        self.now = (1 << 30) - 5000  # just before the counter wraps
        self.slept = 0

    def ticks_ms(self):
        return self.now % (1 << 30)

    def ticks_diff(self, later, earlier):
        return (later - earlier + (1 << 29)) % (1 << 30) - (1 << 29)  # as on a board

    def sleep_ms(self, duration_ms):
        self.now += duration_ms
        self.slept += duration_ms


class Radio:
    """The module `network` and its one station.  `air`: ssid -> (rssi or None when hidden, password, ms until joined)."""

    STA_IF = 0
    STAT_IDLE, STAT_CONNECTING, STAT_GOT_IP = 1000, 1001, 1010
    STAT_NO_AP_FOUND, STAT_WRONG_PASSWORD = 201, 202

    def __init__(self, air, stale=None):
        self.air, self.stale = air, stale
        self.on = self.joined = False
        self.tried, self.names, self.scans = [], [], 0
        self.scan_fails = self.connect_fails = False

    def WLAN(self, interface):
        assert interface == 0
        return self

    def country(self, code):
        assert not self.joined
        self.names.append(code)

    def hostname(self, name):
        assert not self.on, "a name that is set later is not told"
        self.names.append(name)

    def active(self, *on):
        if on:
            self.on = on[0]
        return self.on

    def scan(self):
        assert self.on
        self.scans += 1
        if self.scan_fails:
            raise OSError(EPERM)
        return [(ssid.encode(), b"", 1, here[0], 3, False) for ssid, here in self.air.items() if here[0] is not None]

    def disconnect(self):
        assert self.on
        self.joined = False

    def connect(self, ssid, password):
        assert self.on
        if self.connect_fails:
            raise OSError(EPERM)
        self.tried.append(ssid)
        self.ssid, self.password, self.began = ssid, password, TIME.now

    def isconnected(self):
        here = self.air.get(self.ssid) if self.tried else None
        if here is not None and here[1] == self.password and TIME.now - self.began >= here[2]:
            self.joined = True
        return self.joined

    def status(self):
        if self.stale and TIME.now - self.began < 1500:
            return self.stale  # of the network before
        here = self.air.get(self.ssid)
        if here is None:
            return self.STAT_NO_AP_FOUND
        return self.STAT_WRONG_PASSWORD if here[1] != self.password else self.STAT_CONNECTING

    def config(self, name):
        return self.ssid if name == "ssid" else None


def networks(*names):
    return [{"ssid": name, "password": "password of " + name} for name in names]


def air(**rssi):
    return {name: (strength, "password of " + name, 700) for name, strength in rssi.items()}


def put(text):
    with open("wifi.json", "w") as file:
        file.write(text)


def configure(*names, **more):
    import json

    more["networks"] = networks(*names)
    put(json.dumps(more))


def join(radio, **more):
    sys.modules["network"] = radio
    return wifi.join(told=SAID.append, **more)


def refuses(code, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except AgentError as error:
        assert error.code == code, error
        assert isinstance(error, MisuseError if code == "wifi_config" else UnreachableError)
        assert "password of" not in str(error)
        return error.detail
    raise AssertionError("no error")


def check_the_strongest_is_first():
    configure("a", "b", "c")
    radio = Radio(air(a=-80, b=-40, c=-60))
    assert join(radio) == "b" and radio.tried == ["b"]
    assert SAID == ["wifi: b: joined"]


def check_joined_already():
    configure("a")
    radio = Radio(air(a=-80))
    assert join(radio) == "a"
    slept = TIME.slept
    os.remove("wifi.json")  # nor is the file read again
    assert join(radio) == "a" and radio.tried == ["a"] and radio.scans == 1 and TIME.slept == slept
    radio.joined, radio.air = False, {}
    refuses("wifi_config", join, radio)


def check_the_next_when_one_refuses():
    configure("a", "b")
    radio = Radio(air(a=-80, b=-40))
    radio.air["b"] = (-40, "another", 700)
    assert join(radio) == "a" and radio.tried == ["b", "a"]
    assert SAID == ["wifi: b: refused", "wifi: a: joined"]
    assert TIME.slept < 6000


def check_a_refusal_of_the_network_before_does_not_count():
    configure("a")
    assert join(Radio(air(a=-80), stale=Radio.STAT_WRONG_PASSWORD)) == "a"
    slow = Radio({"a": (-80, "password of a", 4000)}, stale=Radio.STAT_NO_AP_FOUND)
    assert join(slow) == "a"


def check_one_that_does_not_answer_is_given_up():
    configure("a", "b")
    radio = Radio({"a": (-40, "password of a", 10**9), "b": (-90, "password of b", 100)})
    assert join(radio) == "b" and SAID == ["wifi: a: no answer", "wifi: b: joined"]
    assert wifi.TRY_MS <= TIME.slept < wifi.TRY_MS + 1000


def check_every_wait_has_an_end():
    names = ["n%d" % number for number in range(16)]
    configure(*names)
    radio = Radio({name: (-50, "password of " + name, 10**9) for name in names})
    refuses("wifi_none", join, radio, limit_ms=20_000)
    assert TIME.slept <= 20_000 + wifi.PAUSE_MS and len(radio.tried) == 2


def check_a_hidden_network_is_tried_last():
    configure("hidden", "seen")
    radio = Radio(air(seen=-90))
    radio.air["hidden"] = (None, "password of hidden", 500)
    assert join(radio) == "seen"
    configure("hidden", "elsewhere")
    assert join(Radio({"hidden": (None, "password of hidden", 500)})) == "hidden"


def check_nobody_there():
    configure("a", "b")
    radio = Radio({})
    assert refuses("wifi_none", join, radio) == "none of 2 networks could be joined"
    assert radio.tried == ["a", "b"] and TIME.slept < 10_000
    radio.air = air(b=-50)
    assert join(radio) == "b"


def check_a_radio_that_fails():
    configure("a")
    radio = Radio(air(a=-50))
    radio.scan_fails = True
    assert join(radio) == "a"
    radio = Radio(air(a=-50))
    radio.connect_fails = True
    refuses("wifi_none", join, radio)
    assert SAID[-1] == "wifi: a: error 1"


def check_country_and_name():
    configure("a", country="DE", hostname="sensor-1")
    radio = Radio(air(a=-50))
    join(radio)
    assert radio.names == ["DE", "sensor-1"]


def check_an_open_network():
    put('{"networks": [{"ssid": "guest"}]}')
    assert join(Radio({"guest": (-50, "", 100)})) == "guest"


def check_two_stations_of_one_name():
    seen = [(b"a", b"1", 1, -90, 3, False), (b"b", b"2", 1, -60, 3, False), (b"a", b"3", 1, -50, 3, False)]
    assert [one["ssid"] for one in wifi.in_order(networks("b", "a"), seen)] == ["a", "b"]
    assert [one["ssid"] for one in wifi.in_order(networks("b", "a"), [])] == ["b", "a"]
    equal = [(name, b"", 1, -50, 3, False) for name in (b"c", b"b", b"a")]
    assert [one["ssid"] for one in wifi.in_order(networks("a", "b", "c"), equal)] == ["a", "b", "c"]


def check_bad_files():
    one = '{"ssid": "a", "password": "12345678"}'
    for text, word in (
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "not an object"),
        ("{}", "networks"),
        ('{"networks": []}', "networks"),
        ('{"networks": {}}', "networks"),
        ('{"networks": [%s]}' % ", ".join([one] * 17), "networks"),
        ('{"networks": [%s], "pasword": "x"}' % one, "pasword"),
        ('{"networks": [%s], "country": "DEU"}' % one, "country"),
        ('{"networks": [%s], "hostname": 5}' % one, "hostname"),
        ('{"networks": [%s, "b"]}' % one, "network 2"),
        ('{"networks": [{"ssid": ""}]}', "network 1"),
        ('{"networks": [{"ssid": "%s"}]}' % ("\u00e4" * 17), "network 1"),
        ('{"networks": [{"password": "12345678"}]}', "network 1"),
        ('{"networks": [{"ssid": "a", "password": "1234567"}]}', "network 1"),
        ('{"networks": [{"ssid": "a", "password": "%s"}]}' % ("x" * 64), "network 1"),
        ('{"networks": [{"ssid": "a", "pass": "12345678"}]}', "network 1"),
        ('{"networks": [%s], "hostname": "%s"}' % (one, "x" * 5000), "4096"),
    ):
        put(text)
        detail = refuses("wifi_config", wifi.read)
        assert word in detail and "1234567" not in detail, (text, detail)
    put('{"networks": [%s]}' % one)
    assert wifi.read()["networks"] == [{"ssid": "a", "password": "12345678"}]


TIME, SAID = Time(), []
sys.path.insert(0, sys.argv[2])
import wifi  # noqa: E402

wifi.time = TIME
globals()[sys.argv[1]]()
print("passed")
