# SPDX-License-Identifier: MIT
"""Joins one of several Wi-Fi networks, on an ESP32 or a Pico W; for apps: `import wifi; wifi.join()`.

    wifi.json beside boot.py:
    {"country": "DE", "hostname": "sensor-1",
     "networks": [{"ssid": "office", "password": "..."}, {"ssid": "depot", "password": ""}]}

It lives outside the slots, like the trampoline; an image may bring a wifi.py of its
own, which goes before this one.  Rules it keeps
  * First those that are in sight, the strongest first; then the others, in the
    file's order, for a hidden network is in sight of nobody.
  * Every wait has an end, `TRY_MS` for a network, `limit_ms` for all.  A refusal ends a
    try once it has stood for `REFUSAL_MS`: ports tell that of the network before, too.
  * What goes wrong is a word, and never the password.
  * `join` is for every turn of an app's loop: joined already, it returns at once.
The watchdog is the agent's: fed by its turns, it waits longer than `join` does by default.
"""

import json
import os
import time

from agent.errors import MisuseError, UnreachableError

FILE = "wifi.json"
MOST_BYTES = 4096
MOST_NETWORKS = 16
KEYS = ("country", "hostname", "networks")
TRY_MS = 12_000
LIMIT_MS = 30_000
PAUSE_MS = 100
REFUSAL_MS = 3000
REFUSED = (
    "STAT_WRONG_PASSWORD",
    "STAT_NO_AP_FOUND",
    "STAT_CONNECT_FAIL",
)  # of `network`; a port has those that it can tell


def read(root=None):
    """The file's object, checked.  MisuseError("wifi_config")."""
    root = os.getcwd().rstrip("/") if root is None else root
    try:
        with open(root + "/" + FILE, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError:
        raise MisuseError("wifi_config", "there is no " + FILE)
    if len(data) > MOST_BYTES:
        raise MisuseError("wifi_config", "%s has more than %d bytes" % (FILE, MOST_BYTES))
    try:
        found = json.loads(data)
    except ValueError:
        raise MisuseError("wifi_config", FILE + " is not JSON")
    if not isinstance(found, dict):
        raise MisuseError("wifi_config", FILE + " is not an object")
    for key in found:
        if key not in KEYS:
            raise MisuseError("wifi_config", "key %s is unknown" % key)
    for key, longest in (("country", 2), ("hostname", 32)):
        if not _is_text(found.get(key, ""), longest):
            raise MisuseError("wifi_config", "key %s: a text of at most %d letters" % (key, longest))
    networks = found.get("networks")
    if not isinstance(networks, list) or not 0 < len(networks) <= MOST_NETWORKS:
        raise MisuseError("wifi_config", "key networks: a list of 1 to %d" % MOST_NETWORKS)
    for number, one in enumerate(networks):
        if not isinstance(one, dict) or not _is_network(one):
            raise MisuseError("wifi_config", 'network %d: {"ssid": "...", "password": "..."}' % (number + 1))
    return found


def _is_text(value, longest, shortest=0):
    return isinstance(value, str) and shortest <= len(value.encode()) <= longest


def _is_network(one):
    """802.11: a name of 1 to 32 bytes; a passphrase of 8 to 63, or none in an open network."""
    password = one.get("password", "")
    good = _is_text(one.get("ssid"), 32, 1) and (password == "" or _is_text(password, 63, 8))
    return good and all(key in ("ssid", "password") for key in one)


def in_order(networks, seen):
    """Those of `networks` to try, the best first; `seen`: what a scan found, (ssid in bytes, ..., rssi at 3, ...)."""
    strength = {}
    for found in seen:
        name = bytes(found[0])
        strength[name] = max(found[3], strength.get(name, -1000))
    near, far = [], []
    for number, one in enumerate(networks):
        name = one["ssid"].encode()
        if name in strength:
            near.append((-strength[name], number, one))
        else:
            far.append(one)
    return [entry[2] for entry in sorted(near, key=lambda entry: entry[:2])] + far


def join(limit_ms=LIMIT_MS, root=None, told=print):
    """The SSID that is joined.  UnreachableError("wifi_none") when none could be, within about `limit_ms`: call again later."""
    import network

    station = network.WLAN(network.STA_IF)
    if station.active() and station.isconnected():
        return name_of(station)
    started = time.ticks_ms()
    about = read(root)
    begin(network, station, about)
    try:
        seen = station.scan()
    except OSError:
        seen = []  # a radio that is busy; all are tried then
    for one in in_order(about["networks"], seen):
        left = limit_ms - time.ticks_diff(time.ticks_ms(), started)
        if left <= 0:
            break
        why = attempt(network, station, one, min(TRY_MS, left))
        told("wifi: %s: %s" % (one["ssid"], why or "joined"))
        if not why:
            return one["ssid"]
    raise UnreachableError("wifi_none", "none of %d networks could be joined" % len(about["networks"]))


def name_of(station):
    try:
        return station.config("ssid")
    except (OSError, ValueError):
        return ""  # a port that does not tell


def begin(network, station, about):
    """The radio is on and knows its country and its name."""
    if about.get("country"):
        network.country(about["country"])
    if about.get("hostname"):
        network.hostname(about["hostname"])
    if not station.active():
        station.active(True)


def attempt(network, station, one, limit_ms):
    """ "" once `one` is joined, else why not, in a word."""
    refusals = [getattr(network, name) for name in REFUSED if hasattr(network, name)]
    started = time.ticks_ms()
    since = None
    try:
        station.disconnect()
        station.connect(one["ssid"], one.get("password", ""))
        while not station.isconnected():
            now = time.ticks_ms()
            if station.status() not in refusals:
                since = None
            elif since is None:
                since = now
            elif time.ticks_diff(now, since) >= REFUSAL_MS:
                return "refused"
            if time.ticks_diff(now, started) >= limit_ms:
                return "no answer"
            time.sleep_ms(PAUSE_MS)
        return ""
    except OSError as error:
        return "error %s" % (error.args[0] if error.args else "")
