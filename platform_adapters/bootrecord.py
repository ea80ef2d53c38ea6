# SPDX-License-Identifier: MIT
"""The boot record: which slot boots next, which one is on trial, and how many boots the trial has left.

Decides: `choose`, the whole boot loader of slots in folders.  Copied beside
`boot.py` on boards, imported by the adapters, loaded by path by the Linux
guard; so it imports nothing of ours and raises `OSError` and `ValueError` only.

Rules it keeps
  * Two copies, `boot.0` and `boot.1`; a save overwrites the older one, so a cut
    at any byte leaves the newer one.  Newest whole copy wins; none: slot "a".
  * A trial boot is counted before it runs.  A trial that cannot be counted is
    not run.
  * A failed trial's reason stays until the next `activate` or `confirm`.

It leaves to others: what a slot holds, and whether that may run at all.
The shape follows the ESP32's `otadata` (two entries, sequence number, CRC).
"""

import binascii
import os
import struct

SLOTS = ("a", "b")
TRIAL_BOOTS = 3
FAILURE_BYTES = 64
SIZE = 80

_LAYOUT = ">4sI1s1sBB64s"
_MAGIC = b"TBR1"
_NONE = b"-"


def blank():
    """The record of a device that never updated."""
    return {"seq": 0, "active": "a", "trial": None, "boots": 0, "failure": ""}


def other(slot):
    return "b" if slot == "a" else "a"


def encode(record):
    """`SIZE` bytes.  A failure longer than FAILURE_BYTES is cut at a whole character."""
    failure = record["failure"].encode()[:FAILURE_BYTES]
    while failure:
        try:
            failure.decode()
            break
        except UnicodeError:
            failure = failure[:-1]
    trial = record["trial"].encode() if record["trial"] else _NONE
    head = struct.pack(
        _LAYOUT, _MAGIC, record["seq"], record["active"].encode(), trial, record["boots"], len(failure), failure
    )
    return head + struct.pack(">I", binascii.crc32(head) & 0xFFFFFFFF)


def decode(data):
    """The record, or None for bytes that are not a whole one."""
    if len(data) != SIZE or struct.unpack(">I", data[-4:])[0] != binascii.crc32(data[:-4]) & 0xFFFFFFFF:
        return None
    magic, seq, active, trial, boots, length, failure = struct.unpack(_LAYOUT, data[:-4])
    if magic != _MAGIC or active not in (b"a", b"b") or trial not in (b"a", b"b", _NONE) or trial == active:
        return None
    if length > FAILURE_BYTES:
        return None
    try:
        text = failure[:length].decode()
    except UnicodeError:
        return None
    trial = None if trial == _NONE else trial.decode()
    return {"seq": seq, "active": active.decode(), "trial": trial, "boots": boots, "failure": text}


def newest(copies):
    """(record, index of the copy that the next save overwrites) of two copies' bytes."""
    first, second = decode(copies[0]), decode(copies[1])
    if first is None and second is None:
        return blank(), 0
    if second is None or (first is not None and first["seq"] > second["seq"]):
        return first, 1
    return second, 0


def choose(record):
    """(slot to run, whether it runs on trial, record to save before it runs or None)."""
    if record["trial"] is None:
        return record["active"], False, None
    after = dict(record)
    if record["boots"] == 0:
        after["trial"] = None
        return record["active"], False, after
    after["boots"] = record["boots"] - 1
    return record["trial"], True, after


def activate(record, slot):
    """`slot` boots on trial next.  Activating the active slot takes a trial back."""
    after = dict(record)
    after["trial"] = None if slot == record["active"] else slot
    after["boots"] = 0 if slot == record["active"] else TRIAL_BOOTS
    after["failure"] = ""
    return after


def confirm(record):
    """The slot on trial becomes the active one; the same record when nothing is on trial."""
    if record["trial"] is None:
        return record
    after = dict(record)
    after.update({"active": record["trial"], "trial": None, "boots": 0, "failure": ""})
    return after


def rollback(record):
    """The trial is over; the active slot boots next.  A noted failure stays."""
    after = dict(record)
    after.update({"trial": None, "boots": 0})
    return after


def fail(record, reason):
    """Note why the trial's last boot ended."""
    after = dict(record)
    after["failure"] = reason
    return after


def following(copies, record):
    """(index of the copy to overwrite, its new bytes): `record` becomes the newest."""
    before, index = newest(copies)
    after = dict(record)
    after["seq"] = before["seq"] + 1
    return index, encode(after)


def path(folder, index):
    return "%s/boot.%d" % (folder, index)


def _copy(folder, index):
    try:
        with open(path(folder, index), "rb") as file:
            return file.read(SIZE + 1)
    except OSError:
        return b""


def load(folder):
    return newest((_copy(folder, 0), _copy(folder, 1)))[0]


def save(folder, record):
    """Durable when it returns; until then the record that was there before is the one that counts.  Raises OSError."""
    index, data = following((_copy(folder, 0), _copy(folder, 1)), record)
    with _private(path(folder, index)) as file:
        file.write(data)
        file.flush()
        sync = getattr(os, "fsync", None)  # MicroPython's flush is one
        if sync is not None:
            sync(file.fileno())
    if sync is not None:
        handle = os.open(folder, os.O_RDONLY)
        try:
            sync(handle)
        finally:
            os.close(handle)


def _private(name):
    """Open for writing, 0600 where the system has modes."""
    if hasattr(os, "O_NOFOLLOW"):
        return open(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
    return open(name, "wb")


def start(folder):
    """Choose the slot to run now, and count its boot: (slot, whether on trial).  Never raises OSError."""
    record = load(folder)
    slot, on_trial, after = choose(record)
    if after is not None:
        try:
            save(folder, after)
        except OSError:
            # An uncounted trial could run for ever; an uncleared one falls back again at the next boot.
            return record["active"], False
    return slot, on_trial


def running(slots, paths):
    """The slot that the trampoline put onto the module path, or None."""
    for slot in SLOTS:
        if slots + "/" + slot in paths:
            return slot
    return None
