# SPDX-License-Identifier: MIT
"""The journal survives every torn write, keeps what it does not know, and is bounded; so is the outbox."""

from agent import journal, outbox
from agent.errors import DeviceError
from expect import _fails


class Store:
    def __init__(self):
        self.files = {}
        self.tear = None

    def load(self, name):
        return self.files.get(name)

    def save(self, name, data):
        self.files[name] = data if self.tear is None else data[: self.tear]


def test_what_was_saved_is_loaded():
    store = Store()
    journal.save(store, {"a": 1})
    journal.save(store, dict(journal.load(store), b=[1, "x", None]))
    assert journal.load(store) == {"a": 1, "b": [1, "x", None], "format": 1}


def test_a_write_torn_anywhere_leaves_the_last_whole_record():
    for length in range(60):
        store = Store()
        journal.save(store, {"a": 1})
        journal.save(store, {"a": 2})
        store.tear = length
        journal.save(store, {"a": 3})
        assert journal.load(store)["a"] in ((2, 3) if length >= len(journal.encode({"a": 3, "format": 1}, 3)) else (2,))


def test_a_flipped_bit_is_noticed():
    data = journal.encode({"a": 1}, 7)
    assert journal.decode(data) == ({"a": 1}, 7)
    for at in range(len(data)):
        for bit in (1, 128):
            bad = bytearray(data)
            bad[at] ^= bit
            found = journal.decode(bytes(bad))
            # The format number alone may differ: a later format is read as this one.
            assert found is None or at == 3, at


def test_both_copies_lost_gives_an_empty_record_and_saving_goes_on():
    store = Store()
    store.files = {"journal.0": b"\xff" * 80, "journal.1": b""}
    assert journal.load(store) == {}
    journal.save(store, {"a": 1})
    assert journal.load(store)["a"] == 1


def test_sequence_numbers_do_not_wrap():
    store = Store()
    store.files["journal.0"] = journal.encode({"a": 1}, (1 << 32) - 1)
    journal.save(store, {"a": 2})
    assert journal.load(store)["a"] == 2


def test_keys_and_the_format_of_a_newer_agent_are_kept():
    store = Store()
    newer = bytearray(journal.encode({"future": {"x": 1}, "update": {"phase": "idle", "new": 2}, "format": 2}, 9))
    newer[3] = 2
    import binascii
    import struct

    body = bytes(newer[20:])
    crc = binascii.crc32(body, binascii.crc32(struct.pack(">QI", 9, len(body)))) & 0xFFFFFFFF
    store.files["journal.1"] = bytes(newer[:16]) + struct.pack(">I", crc) + body
    journal.save(store, dict(journal.load(store), boot=3))
    again = journal.load(store)
    assert again["future"] == {"x": 1} and again["update"]["new"] == 2 and again["boot"] == 3


def test_a_record_that_outgrows_its_bound_is_refused_and_nothing_changes():
    store = Store()
    journal.save(store, {"a": 1})
    _fails(DeviceError, "journal_full", lambda: journal.save(store, {"a": "x" * journal.MAX_BYTES}), ())
    assert journal.load(store)["a"] == 1


def test_reports_are_bounded_and_leave_by_their_number():
    reports = []
    for seq in range(outbox.MAX_REPORTS + 2):
        reports = outbox.add_report(reports, {"seq": seq})
    assert [r["seq"] for r in reports] == list(range(2, outbox.MAX_REPORTS + 2))
    assert [r["seq"] for r in outbox.drop_report(reports, 3)][:2] == [2, 4]


def test_telemetry_drops_the_oldest_first_and_counts():
    queue = outbox.Telemetry()
    for number in range(outbox.MAX_TELEMETRY + 3):
        queue.put(str(number))
    assert len(queue) == outbox.MAX_TELEMETRY and queue.dropped == 3 and queue.peek() == "3"
    queue.put("x" * (outbox.MAX_TELEMETRY_CHARACTERS - 1))
    assert len(queue) == 1


def test_telemetry_larger_than_the_queue_is_dropped_itself():
    queue = outbox.Telemetry()
    queue.put("x" * (outbox.MAX_TELEMETRY_CHARACTERS + 1))
    assert len(queue) == 0 and queue.dropped == 1 and queue.peek() is None
