# SPDX-License-Identifier: MIT
# Runs on the board, line by line at its raw REPL; never installed.  `said` prints the one line that the host reads.
import binascii
import hashlib
import json
import os
import sys

ROOT = os.getcwd().rstrip("/")
HALT = ROOT + "/NO_AGENT"  # while it is there, the board starts nothing; it holds the digest of what was flashed
FLASHED = ROOT + "/flashed"  # what it becomes


def said(value):
    print("\x1e" + json.dumps(value))


def asked(function, *arguments):
    try:
        said({"ok": function(*arguments)})
    except Exception as error:  # noqa: BLE001 - the host has to hear of it, whatever it is
        detail = getattr(error, "detail", None)
        said({"error": getattr(error, "code", type(error).__name__), "detail": detail or str(error)})


def who():
    import machine

    number = binascii.hexlify(machine.unique_id()).decode() if hasattr(machine, "unique_id") else ""
    about = sys.implementation
    return {
        "id": number,
        "machine": getattr(machine, "simulated", "") or getattr(about, "_machine", ""),
        "mpy": getattr(about, "_mpy", 0) & 0xFF,
        "plan": read(HALT) or read(FLASHED),
    }


def read(path):
    try:
        with open(path) as file:
            return file.read(4096)
    except OSError:
        return ""


def halt(text):
    with open(HALT + ".new", "w") as file:
        file.write(text)
    os.rename(HALT + ".new", HALT)


def go():
    try:
        os.rename(HALT, FLASHED)
    except OSError:
        pass  # it was let go before


def stay():
    halt(read(FLASHED))


def digest(path):
    found = hashlib.sha256()
    buffer = bytearray(1024)
    with open(path, "rb") as file:
        while True:
            size = file.readinto(buffer)
            if not size:
                return binascii.hexlify(found.digest()).decode()
            found.update(memoryview(buffer)[:size])


def has(path, wanted):
    try:
        return digest(ROOT + "/" + path) == wanted
    except OSError:
        return False


def lacks(files):
    return [name for name, wanted in files if not has(name, wanted)]


def part(path, first, text):
    path = ROOT + "/" + path
    if first:
        folders(path)
    with open(path + ".new", "wb" if first else "ab") as file:
        file.write(binascii.a2b_base64(text))


def whole(path, wanted):
    """The file takes its place once the flash gives back what was sent."""
    path = ROOT + "/" + path
    if digest(path + ".new") != wanted:
        return False
    os.rename(path + ".new", path)
    if hasattr(os, "sync"):
        os.sync()
    return True


def folders(path):
    at = len(ROOT) + 1
    while True:
        at = path.find("/", at)
        if at < 0:
            return
        try:
            os.mkdir(path[:at])
        except OSError:
            pass  # it is there; if not, the file's own error tells
        at += 1


def wipe(path):
    """A folder, all of it: a board that begins anew has no old identity."""
    path = path if path.startswith("/") else ROOT + "/" + path
    try:
        names = os.listdir(path)
    except OSError:
        return
    for name in names:
        inner = path + "/" + name
        if os.stat(inner)[0] & 0x4000:
            wipe(inner)
        else:
            os.remove(inner)
    os.rmdir(path)


class Mixed:
    """The host's 32 bytes and the chip's own, neither of which alone decides."""

    def __init__(self, chance, more):
        self.chance = chance
        self.more = more
        self.count = 0

    def random(self, size):
        found = b""
        while len(found) < size:
            self.count += 1
            own = self.chance.random(32)
            found += hashlib.sha256(self.more + own + self.count.to_bytes(4, "big")).digest()
        return found[:size]


def device():
    """(platform, configuration)."""
    from agent.config import check

    if sys.platform == "esp32":
        from platform_adapters.esp32 import ESP32 as Platform
    elif sys.platform == "rp2":
        from platform_adapters.pico_w import PicoW as Platform
    else:
        from platform_adapters.micropython_unix import MicroPythonUnix as Platform
    platform = Platform()
    platform.log = lambda event, fields: None
    return platform, check(platform.config, platform.keys)


def label(platform):
    from agent import identity, journal

    return (journal.load(platform.store).get("identity") or identity.initial())["label"]


def csr(more):
    from agent.tasks import bench_identity
    from platform_adapters.micropython_files import FileKeys

    platform, config = device()
    mixed = Mixed(platform.chance, binascii.unhexlify(more))  # on an ESP32 its own part turns the radio on
    platform.keys = FileKeys(platform.config["state"] + "/keys", mixed.random)
    return bench_identity.csr(platform, config)


def accept(text):
    from agent.tasks import bench_identity

    platform, config = device()
    return bench_identity.accept(platform, config, text)


def certificate():
    platform, _ = device()
    found = platform.store.load("cert." + label(platform))
    return binascii.hexlify(found).decode() if found else ""


def prove(message):
    platform, _ = device()
    return binascii.hexlify(platform.keys.sign(label(platform), binascii.unhexlify(message))).decode()
