# SPDX-License-Identifier: MIT
"""MicroPython's module `network` on its unix port: one access point, which is there."""

STA_IF = 0
STAT_WRONG_PASSWORD = -3


def country(name):
    pass


def hostname(name):
    pass


class Station:
    def __init__(self):
        self._on, self._ssid = False, ""

    def active(self, *on):
        if on:
            self._on = on[0]
        return self._on

    def isconnected(self):
        return bool(self._ssid)

    def scan(self):
        return [(b"bench", b"", 1, -50, 3, False)]

    def disconnect(self):
        self._ssid = ""

    def connect(self, ssid, password):
        self._ssid = ssid if ssid == "bench" else ""

    def status(self):
        return 3

    def config(self, name):
        return self._ssid


_station = Station()


def WLAN(interface):
    return _station
