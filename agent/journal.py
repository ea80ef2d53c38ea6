# SPDX-License-Identifier: MIT
"""The one durable record of the agent's state.

Two copies, written in turn, each with a sequence number and a checksum: a torn
write spoils the older copy's successor and leaves the other whole.  The record
is a dict of JSON values; keys that this version does not know are kept, because
the agent updates itself and may be rolled back over a newer agent's journal.

A copy: magic "TBJ" and format number (4 bytes), sequence (8 bytes, big-endian,
never wraps), length (4), CRC-32 (4) of sequence, length and body, JSON body.

Format 1.  A later format must stay readable by this one until the update that
brought it is confirmed: no migration on trial.
"""

import binascii
import json
import struct

from agent.errors import DeviceError

FORMAT = 1
MAX_BYTES = 8192
COPIES = ("journal.0", "journal.1")
_MAGIC = b"TBJ"
_HEAD = ">4sQII"
_HEAD_BYTES = 20


def encode(record, sequence):
    """Bytes of one copy.  DeviceError("journal_full") when the record outgrows its bound."""
    body = json.dumps(record).encode()
    if len(body) > MAX_BYTES:
        raise DeviceError("journal_full", "%d bytes, at most %d" % (len(body), MAX_BYTES))
    return struct.pack(_HEAD, _MAGIC + bytes((FORMAT,)), sequence, len(body), _crc(sequence, body)) + body


def decode(data):
    """(record, sequence) of a copy, or None when it is torn, foreign or empty."""
    sequence = _whole(data)
    try:
        record = json.loads(data[_HEAD_BYTES:]) if sequence else None
    except ValueError:
        return None
    return (record, sequence) if isinstance(record, dict) else None


def load(store):
    """The newest whole record; {} when there is none."""
    record, newest = {}, 0
    for name in COPIES:
        found = decode(store.load(name))
        if found and found[1] > newest:
            record, newest = found
    return record


def save(store, record):
    """`record` becomes the newest.  Durable when this returns; on an error the one before stays.

    A record that came from `load` carries the keys that this version does not know along.
    """
    newest, index = 0, 1
    for number in range(2):
        sequence = _whole(store.load(COPIES[number]))
        if sequence > newest:
            newest, index = sequence, number
    record = dict(record)
    record["format"] = FORMAT
    store.save(COPIES[1 - index], encode(record, newest + 1))


def _whole(data):
    """The sequence number of a copy; 0 when it is torn, foreign or empty."""
    if not data or len(data) < _HEAD_BYTES:
        return 0
    magic, sequence, length, crc = struct.unpack(_HEAD, data[:_HEAD_BYTES])
    body = data[_HEAD_BYTES:]
    if magic[:3] != _MAGIC or len(body) != length or crc != _crc(sequence, body):
        return 0
    return sequence


def _crc(sequence, body):
    return binascii.crc32(body, binascii.crc32(struct.pack(">QI", sequence, len(body)))) & 0xFFFFFFFF
