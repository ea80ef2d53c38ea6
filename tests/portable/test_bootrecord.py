# SPDX-License-Identifier: MIT
"""The boot record survives a cut at every byte, and never runs a trial that it did not count."""

from platform_adapters import bootrecord, files
from scratch import folder


def put(path, data):
    with open(path, "wb") as file:
        file.write(data)


def both(path):
    return [files.read(bootrecord.path(path, index), 1000) for index in (0, 1)]


def some(**changes):
    record = bootrecord.blank()
    record.update(changes)
    return record


def test_codec():
    for record in (
        bootrecord.blank(),
        some(seq=7, active="b", trial="a", boots=3, failure="ValueError main.py:12"),
        some(seq=0xFFFFFFFF, failure="x" * 64),
    ):
        data = bootrecord.encode(record)
        assert len(data) == bootrecord.SIZE and bootrecord.decode(data) == record


def test_a_long_failure_is_cut_at_a_whole_character():
    for text in ("x" * 70, "x" * 63 + "\u00e9", "\u20ac" * 40):
        failure = bootrecord.decode(bootrecord.encode(some(failure=text)))["failure"]
        assert text.startswith(failure) and 61 < len(failure.encode()) <= 64


def test_damaged_bytes_are_no_record():
    data = bootrecord.encode(some(seq=5, trial="b", boots=2, failure="why"))
    for at in range(len(data)):
        assert bootrecord.decode(data[:at]) is None
        for bit in (1, 0x80):
            spoilt = bytearray(data)
            spoilt[at] ^= bit
            assert bootrecord.decode(bytes(spoilt)) is None
    assert bootrecord.decode(data + b"x") is None


def test_choices():
    choose = bootrecord.choose
    assert choose(some()) == ("a", False, None)
    assert choose(some(active="b")) == ("b", False, None)
    slot, on_trial, after = choose(some(trial="b", boots=3))
    assert (slot, on_trial, after["boots"], after["trial"]) == ("b", True, 2, "b")
    slot, on_trial, after = choose(some(trial="b", boots=0, failure="why"))
    assert (slot, on_trial) == ("a", False)
    assert after == some(failure="why")


def test_verbs():
    record = bootrecord.activate(some(failure="old"), "b")
    assert record == some(trial="b", boots=bootrecord.TRIAL_BOOTS)
    assert bootrecord.confirm(record) == some(active="b")
    assert bootrecord.confirm(some(failure="kept")) == some(failure="kept")
    assert bootrecord.rollback(bootrecord.fail(record, "why")) == some(failure="why")
    assert bootrecord.activate(record, "a") == some()
    assert record["trial"] == "b"


def test_newest_copy_wins():
    old, new = bootrecord.encode(some(seq=1)), bootrecord.encode(some(seq=2, active="b"))
    for copies, active, index in (
        ((old, new), "b", 0),
        ((new, old), "b", 1),
        ((old, b""), "a", 1),
        ((b"", new), "b", 0),
        ((new, new[:-1]), "b", 1),
        ((b"", b"junk"), "a", 0),
    ):
        record, overwritten = bootrecord.newest(copies)
        assert (record["active"], overwritten) == (active, index)


def test_a_save_torn_at_any_byte_leaves_old_or_new():
    path = folder("torn")
    for saves in range(4):
        before, copies = bootrecord.load(path), both(path)
        bootrecord.save(path, bootrecord.fail(before, "boot %d" % saves))
        after = bootrecord.load(path)
        assert after["failure"] == "boot %d" % saves
        changed = 0 if both(path)[0] != copies[0] else 1
        assert both(path)[1 - changed] == copies[1 - changed]
        data, old = both(path)[changed], copies[changed] or b""
        for cut in range(len(data)):
            for torn in (data[:cut], data[:cut] + old[cut:]):  # the file was truncated first, or written over
                put(bootrecord.path(path, changed), torn)
                assert bootrecord.load(path) in (before, after), (saves, cut)
        put(bootrecord.path(path, changed), data)


def test_every_save_is_newer():
    path = folder("newer")
    for number in range(1, 6):
        bootrecord.save(path, bootrecord.load(path))
        assert bootrecord.load(path)["seq"] == number


def test_a_trial_runs_out_of_boots():
    path = folder("trial")
    bootrecord.save(path, bootrecord.activate(bootrecord.load(path), "b"))
    seen = [bootrecord.start(path) for _ in range(6)]
    assert seen == [("b", True)] * bootrecord.TRIAL_BOOTS + [("a", False)] * 3


def test_a_trial_that_cannot_be_counted_is_not_run():
    path = folder("stuck")
    bootrecord.save(path, bootrecord.activate(bootrecord.load(path), "b"))
    index = bootrecord.newest([data or b"" for data in both(path)])[1]
    files.make_folder(bootrecord.path(path, index))  # a folder where the next copy would be written
    assert bootrecord.start(path) == ("a", False)
    assert bootrecord.load(path)["boots"] == bootrecord.TRIAL_BOOTS


def test_the_running_slot_is_read_from_the_module_path():
    assert bootrecord.running("/d/slots", ["/d/slots/b", "", ".frozen"]) == "b"
    assert bootrecord.running("/d/slots", ["/e/slots/b", "/d/slots/a/lib"]) is None
