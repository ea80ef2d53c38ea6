# SPDX-License-Identifier: MIT
"""What all platforms of the MicroPython family share, and keep loaded: clock, chance, log, parts that come late.

A board's adapter puts these together and adds its own power and network.
Configuration and keys are in `micropython_files`; asked for here, as in
`base.read_config`, that file is loaded.
"""

import json
import os
import sys
import time

_2000 = 946_684_800  # seconds from 1970 to 2000, where the clock of some ports begins


class Clock:
    """Ticks that never wrap, if asked for at least once in six days; a wall clock that is never before its floor."""

    def __init__(self):
        self._last = time.ticks_ms()
        self._ticks = 0
        self._floor = 0
        self._epoch = _2000 if time.gmtime(0)[0] == 2000 else 0

    def ticks_ms(self):
        now = time.ticks_ms()
        step = time.ticks_diff(now, self._last)
        if step > 0:
            self._ticks += step
            self._last = now
        return self._ticks

    def sleep_ms(self, duration_ms):
        time.sleep_ms(max(0, duration_ms))

    def wall(self):
        return max(int(time.time()) + self._epoch, self._floor)

    def set_floor(self, seconds):
        self._floor = seconds


class Chance:
    def random(self, size):
        return os.urandom(size)


class Late:
    """A part of a platform that an idle device does not need: made at its first use, let go of when idle.

    The agent then forgets its modules, too: a board's heap is small.
    """

    def __init__(self, make):
        self._make = make
        self._made = None

    def __getattr__(self, name):
        if self._made is None:
            self._made = self._make()
        return getattr(self._made, name)

    def let_go(self):
        made, self._made = self._made, None
        if hasattr(made, "close"):
            made.close()


def __getattr__(name):
    from platform_adapters import micropython_files

    return getattr(micropython_files, name)


class Verify:
    """The port `verify`, loaded when it is used; what stays is which key it met last."""

    def __init__(self, store):
        self._store = store
        self._met = {}

    def __call__(self, key_type, scheme, public, message, signature):
        from platform_adapters import pinned

        return pinned.verify(self._met, self._store, key_type, scheme, public, message, signature)


def log_line(event, ticks_ms, fields, text):
    """One line; as JSON with the event first, which a dict here would not promise."""
    if text:
        words = ["%10.3f %s" % (ticks_ms / 1000, event)]
        words += ["%s=%s" % (name, fields[name]) for name in fields]
        return " ".join(words).replace("\n", "\\n")
    pairs = ['{"event": %s, "t": %d' % (json.dumps(event), ticks_ms)]
    pairs += ["%s: %s" % (json.dumps(name), json.dumps(fields[name])) for name in fields]
    return ", ".join(pairs) + "}"


def write_line(line):
    try:
        sys.stdout.write(line + "\n")
    except OSError:
        pass  # nobody reads any more; that must not stop a device
