# SPDX-License-Identifier: MIT
"""What the MicroPython family keeps in files: configuration and keys.  Loaded when it is asked for.

A device's root, with all that is in it, is described in micropython/boot.py.
A private key in a file can be read by whoever gets at the board's USB.
"""

import hashlib
import json
import os

from agent.errors import DeviceError, MisuseError, RefusedError
from platform_adapters.filestore import FileStore
from platform_adapters.trusted_file import read_trusted

CONFIG_BYTES = 16 * 1024
PATHS = {"ca_file": "ca.der", "root_file": "root.json", "state": "state", "slots": "slots"}
# PKCS #8 of P-256 as `make` and everybody else writes it, around the secret and its point: read without a parser.
_HEAD = b"0\x81\x87\x02\x01\x000\x13\x06\x07*\x86H\xce=\x02\x01\x06\x08*\x86H\xce=\x03\x01\x07\x04m0k\x02\x01\x01\x04 "
_MIDDLE = b"\xa1D\x03B\x00"
FILE_SYSTEMS = ("VfsLfs2", "VfsPosix")  # those whose files are replaced in one step, tested; FAT is none of them
FIXED = ("state", "slots")  # the trampoline reads no configuration


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


def check_file_systems(config):
    """DeviceError("file_system") unless state and slots lie where a power cut leaves the old file or the new one."""
    import vfs

    mounted = vfs.mount()
    for folder in (config["state"], config["slots"]):
        point, kind = "", "no file system"
        for system, at in mounted:
            if (folder + "/").startswith(at.rstrip("/") + "/") and len(at) > len(point):
                point, kind = at, type(system).__name__
        if kind not in FILE_SYSTEMS:
            raise DeviceError(
                "file_system", "%s lies on %s, which a power cut can damage: use littlefs" % (folder, kind)
            )


class FileKeys:
    """One PKCS #8 file a label, made whole or not at all.  P-256 is loaded when it is used: see `Late`."""

    def __init__(self, folder, random=os.urandom):
        """`random(size)`: see the port `chance`."""
        self._files = FileStore(folder)
        self._random = random

    def has(self, label):
        return self._files.load(label + ".der") is not None

    def make(self, label):
        if self.has(label):
            return
        from agent.crypto import p256_sign
        from agent.wire import ecdsa

        secret = p256_sign.generate(self._random)
        self._files.save(label + ".der", ecdsa.secret_to_der(secret, p256_sign.public(secret)))

    def public(self, label):
        return self._key(label)[1]

    def sign(self, label, message):
        from agent.crypto import p256_sign

        return p256_sign.sign(self._key(label)[0], hashlib.sha256(message).digest(), self._random(32))

    def adopt(self, label, private):
        from agent.crypto import rsa_sign

        rsa_sign.read(private)
        self._files.save(label + ".der", private)

    def sign_rsa(self, label, message):
        from agent.crypto import rsa_sign

        return rsa_sign.sign(self.der(label), message)

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
        """(secret, point)."""
        data = self.der(label)
        if len(data) == 138 and data[:36] == _HEAD and data[68:73] == _MIDDLE:
            return data[36:68], data[73:]
        from agent.wire import ecdsa

        try:
            return ecdsa.secret_from_der(data)
        except RefusedError as error:
            raise DeviceError("key_store", "key %s: %s" % (label, error.detail))
