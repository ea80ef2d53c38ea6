# SPDX-License-Identifier: MIT
"""What all platforms of the MicroPython family share: configuration, keys in files, clock, chance, log.

A board's adapter puts these together and adds its own power and network.  A
device's root, with all that is in it, is described in micropython/boot.py.
A private key in a file can be read by whoever gets at the board's USB.
"""

import hashlib
import json
import os
import sys
import time

from agent.errors import DeviceError, MisuseError, RefusedError
from platform_adapters import files
from platform_adapters.filestore import FileStore

CONFIG_BYTES = 16 * 1024
TRUST_BYTES = 64 * 1024
PATHS = {"ca_file": "ca.der", "root_file": "root.json", "state": "state", "slots": "slots"}
FIXED = ("state", "slots")  # the trampoline reads no configuration
_2000 = 946_684_800  # seconds from 1970 to 2000, where the clock of some ports begins


def read_config(root):
    """trueboot.json of the device's root, with absolute paths."""
    data = read_trusted(root + "/trueboot.json", "the configuration", CONFIG_BYTES)
    try:
        config = json.loads(data)
    except ValueError:
        raise MisuseError("config", "trueboot.json is not JSON")
    if not isinstance(config, dict):
        raise MisuseError("config", "trueboot.json is not an object")
    for key in PATHS:
        value = config.get(key, PATHS[key])
        if not isinstance(value, str) or (key in FIXED and value != PATHS[key]):
            raise MisuseError("config", "key %s must be %r: boot.py knows no other" % (key, PATHS[key]))
        config[key] = value if value.startswith("/") else root + "/" + value
    return config


def read_trusted(path, what, limit=TRUST_BYTES):
    try:
        data = files.read(path, limit)
    except OSError as error:
        raise MisuseError("config", "cannot read %s, %s: %s" % (what, path, error))
    if data is None or len(data) > limit:
        raise MisuseError("config", "%s, %s, is %s" % (what, path, "missing" if data is None else "too big"))
    return data


class FileKeys:
    """One PKCS #8 file a label, made whole or not at all.  P-256 is loaded when it is used: see `Late`."""

    def __init__(self, folder):
        self._files = FileStore(folder)

    def has(self, label):
        return self._files.load(label + ".der") is not None

    def make(self, label):
        if self.has(label):
            return
        from agent.crypto import p256_sign
        from agent.wire import ecdsa

        secret = p256_sign.generate(os.urandom)
        self._files.save(label + ".der", ecdsa.secret_to_der(secret, p256_sign.public(secret)))

    def public(self, label):
        return self._key(label)[1]

    def sign(self, label, message):
        from agent.crypto import p256_sign

        return p256_sign.sign(self._key(label)[0], hashlib.sha256(message).digest(), os.urandom(32))

    def drop(self, label):
        self._files.drop(label + ".der")

    def der(self, label):
        """For TLS, which signs by itself."""
        data = self._files.load(label + ".der")
        if data is None:
            raise MisuseError("no_key", "the key store has no key %r" % label)
        return data

    def credentials(self, identity):
        return None if identity is None else (self.der(identity[0]), identity[1])

    def _key(self, label):
        from agent.wire import ecdsa

        try:
            return ecdsa.secret_from_der(self.der(label))
        except RefusedError as error:
            raise DeviceError("key_store", "key %s: %s" % (label, error.detail))


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
