# SPDX-License-Identifier: MIT
"""The walk of a device that comes again and again: what it asks for, what it stores, and what a power cut leaves.

Attacks on single visits, with real signatures, are in tests/trust.
"""

from agent.errors import RefusedError
from agent.trust.metadata import seconds
from agent.trust.walk import MAX_ROTATIONS, Walk
from expect import misuse, refused
from tuf_repository import FAR, NOW, PAST, Device, Repository, copy, sign, verify

HEAP = "1M"
TIMEOUT_S = 240


def seen(member=True, versions=1):
    """(repository, device that has visited it, its files then)"""
    repository = Repository(member)
    device = Device(repository.files["1.root.json"])
    for role in ("timestamp", "snapshot", "targets"):
        repository.signed[role]["version"] = versions
    repository.publish()
    assert device.visit(repository.files) == ""
    return repository, device, dict(repository.files)


def test_first_visit():
    repository = Repository()
    device = Device(repository.files["1.root.json"])
    assert device.visit(repository.files) == ""
    assert device.asked == ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
    assert [name for name, _ in device.taken] == ["timestamp", "snapshot", "targets"]
    assert device.checks == 4  # root by itself, and the other three


def test_nothing_new_costs_one_request_and_at_most_one_signature_check():
    repository, device, _ = seen()
    assert (device.visit(repository.files), device.asked, device.checks) == ("", ["timestamp.json"], 0)
    assert device.taken == []
    repository.bump("timestamp")
    assert (device.visit(repository.files), device.asked, device.checks) == ("", ["timestamp.json"], 1)
    assert [name for name, _ in device.taken] == ["timestamp"]


def test_nothing_new_in_a_repository_without_our_member():
    repository, device, _ = seen(member=False)
    repository.bump("timestamp")
    assert (device.visit(repository.files), device.asked) == ("", ["2.root.json", "timestamp.json"])
    assert device.checks == 1
    assert device.walk.issued is None


def test_new_targets():
    repository, device, _ = seen()
    repository.bump("targets", "snapshot", "timestamp")
    assert device.visit(repository.files) == ""
    assert device.asked == ["timestamp.json", "2.snapshot.json", "2.targets.json"]
    assert device.checks == 3


def test_new_root_is_asked_for_when_the_timestamp_names_it():
    repository, device, _ = seen()
    repository.rotate("targets")
    repository.bump("targets", "snapshot", "timestamp")
    assert device.visit(repository.files) == ""
    assert device.asked[:3] == ["timestamp.json", "2.root.json", "3.root.json"]
    assert device.taken[0] == ("root", repository.files["2.root.json"])
    assert not device.walk.rekeyed
    assert (device.visit(repository.files), device.asked, device.checks) == ("", ["timestamp.json"], 0)


def test_new_online_keys_are_met_through_the_timestamp_first():
    repository, device, _ = seen()
    repository.rotate("timestamp", "snapshot")
    repository.bump("snapshot", "timestamp")
    assert device.visit(repository.files) == ""
    assert device.asked == ["timestamp.json", "2.root.json", "3.root.json", "2.snapshot.json", "1.targets.json"][:4]
    assert device.walk.rekeyed
    assert device.visit(repository.files) == "" and not device.walk.rekeyed


def test_a_withheld_root_is_noticed_by_the_timestamp_that_names_it():
    repository, device, _ = seen()
    repository.rotate("targets")
    repository.bump("timestamp")
    del repository.files["2.root.json"]
    assert device.visit(repository.files) == "metadata_missing"
    assert device.taken == []


def test_a_forged_root_number_hides_no_more_than_withholding_the_root_does():
    repository, device, _ = seen()
    repository.rotate("targets")
    repository.bump("timestamp")
    repository.signed["timestamp"]["trueboot"]["root"] = 1  # by a thief of the timestamp key
    repository.write()
    assert (device.visit(repository.files), device.asked) == ("", ["timestamp.json"])
    for number in (0, -1, 3, 1 << 50, True, "2", None, [], {}):
        repository.signed["timestamp"]["trueboot"]["root"] = number
        repository.write()
        visitor = Device.of(device.stored)
        repository.signed["timestamp"]["version"] += 1
        repository.write()
        verdict = visitor.visit(repository.files)
        assert visitor.asked[:2] == ["timestamp.json", "2.root.json"], number
        assert verdict == ("" if number in (0, -1) and number is not True else verdict), number
        if number not in (0, -1):
            assert verdict in ("metadata_missing", "metadata_field"), (number, verdict)


def test_a_replayed_timestamp_freezes_no_longer_than_its_expiry():
    repository, device, old = seen()
    repository.bump("targets", "snapshot", "timestamp")
    assert device.visit(old) == ""  # a freeze: the device cannot know
    device.now = seconds(FAR)
    assert device.visit(old) == "metadata_expired"


def test_a_root_that_expires_is_noticed_though_the_timestamp_is_fresh():
    repository = Repository()
    repository.signed["root"]["expires"] = "2027-01-01T00:00:00Z"
    repository.publish()
    device = Device(repository.files["1.root.json"])
    assert device.visit(repository.files) == ""
    device.now = seconds("2027-01-01T00:00:00Z")
    assert (device.visit(repository.files), device.asked) == ("metadata_expired", ["timestamp.json", "2.root.json"])
    repository.signed["root"]["expires"] = FAR
    repository.rotate("targets")
    repository.bump("targets", "snapshot", "timestamp")
    assert device.visit(repository.files) == ""


def test_equal_version_with_other_content_keeps_what_is_trusted():
    repository, device, old = seen()
    repository.signed["snapshot"]["version"] = 7
    repository.publish()
    assert (device.visit(repository.files), device.checks) == ("", 0)
    assert device.taken == []


def test_fast_forward_is_not_undone_without_new_keys():
    repository, device, _ = seen(versions=99)
    for role in ("timestamp", "snapshot", "targets"):
        repository.signed[role]["version"] = 2
    repository.publish()
    assert device.visit(repository.files) == "metadata_version"


def test_fast_forward_recovery_at_any_power_cut():
    for keys in (("timestamp",), ("snapshot",), ("timestamp", "snapshot")):
        repository, device, _ = seen(versions=99)
        repository.rotate(*keys)
        for role in ("timestamp", "snapshot", "targets"):
            repository.signed[role]["version"] = 2
        repository.publish()
        before = dict(device.stored)
        assert device.visit(repository.files, keep=False) == ""
        assert device.walk.rekeyed
        for count in range(len(device.taken) + 1):
            later = Device.of(before)
            later.keep(device.taken[:count])
            assert later.visit(repository.files) == "", (keys, count)
            assert later.walk.rekeyed == (count < 2), count  # until a timestamp by the new keys is stored
            assert later.version("timestamp") == 2


def test_power_cut_between_any_two_writes_lets_no_rollback_in():
    for rotated in ((), ("targets",), ("root",), ("timestamp",), ("root", "timestamp", "snapshot", "targets")):
        repository, device, first = seen(versions=2)
        repository.delegate("targets", "d")
        repository.bump("targets", "snapshot", "timestamp")
        assert device.visit(repository.files) == ""
        before, older = dict(device.stored), dict(repository.files)
        if rotated:
            repository.rotate(*rotated)
        repository.bump("d", "targets", "snapshot", "timestamp")
        roots = {name: repository.files[name] for name in repository.files if "root" in name}
        assert device.visit(repository.files, keep=False) == ""
        taken = device.taken
        assert len(taken) == 3 + (rotated != ()), taken
        for count in range(len(taken) + 1):
            for torn in (False, True):
                stored = dict(before)
                stored.update(dict(taken[:count]))
                if torn and 0 < count < len(taken):
                    name, data = taken[count]
                    stored[name] = data[: len(data) // 2]
                case = (rotated, count, torn)
                assert Device.of(stored).visit(repository.files) == "", case
                first.update(roots)
                older.update(roots)
                assert Device.of(stored).visit(first).startswith("metadata_"), case
                if "timestamp" in dict(taken[:count]) or ("timestamp" in rotated and count):
                    assert Device.of(stored).visit(older).startswith("metadata_"), case


def test_a_repository_that_disappears_in_the_middle_takes_nothing_away():
    repository, device, _ = seen()
    repository.rotate("targets")
    repository.delegate("targets", "d")
    repository.signed["d"]["targets"] = repository.signed["targets"]["targets"]
    repository.signed["targets"]["targets"] = {}
    repository.bump("targets", "snapshot", "timestamp")
    for name in ("timestamp.json", "2.snapshot.json", "2.targets.json", "1.d.json"):
        late = Device.of(device.stored)
        files = dict(repository.files)
        del files[name]
        assert late.visit(files) == "metadata_missing", name
        kept = dict(late.stored)
        assert late.visit({}) == "metadata_missing"
        assert late.stored == kept
        assert late.visit(repository.files) == "", name


def test_rollback_to_a_snapshot_before_one_that_was_announced_and_never_came():
    repository, device, _ = seen()
    repository.signed["snapshot"]["version"] = 5
    repository.bump("timestamp")
    del repository.files["5.snapshot.json"]
    assert device.visit(repository.files) == "metadata_missing"
    assert [name for name, _ in device.taken] == ["timestamp"]
    repository.signed["snapshot"]["version"] = 3
    repository.bump("timestamp")
    assert (device.visit(repository.files), device.taken) == ("metadata_version", [])


def test_spoilt_state_is_fetched_again():
    repository, device, _ = seen(versions=5)
    for name in ("timestamp", "snapshot", "targets"):
        whole = device.stored[name]
        for at in range(0, len(whole), 7):
            late = Device.of(device.stored)
            late.stored[name] = whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :]
            assert late.visit(repository.files) == ""
            late.stored[name] = whole[:at]
            assert late.visit(repository.files) == ""
            assert late.stored[name] == whole


def test_a_stored_timestamp_that_is_lost_lets_no_older_snapshot_in():
    repository, device, old = seen()
    repository.bump("snapshot", "timestamp")
    assert device.visit(repository.files) == ""
    del device.stored["timestamp"]
    assert device.visit(old) == "metadata_version"


def test_spoilt_root_is_refused():
    repository, device, _ = seen()
    root = device.stored["root"]
    for at in range(0, len(root), 3):
        for bad in (root[:at] + bytes((root[at] ^ 1,)) + root[at + 1 :], root[:at]):
            stored = dict(device.stored)
            stored["root"] = bad
            try:
                walk = Walk(stored, NOW, verify)
                # What is not signed may differ: the names of keys, which no longer fit, or a digit of a signature's letter case.
                assert walk._root.whole == Walk(device.stored, NOW, verify)._root.whole, at
            except RefusedError:
                pass
    for bad in ({}, {"root": None}, {"root": b""}):
        refused("metadata_json", Walk, bad, NOW, verify)


def test_a_device_that_was_offline_through_three_rotations():
    repository, device, _ = seen()
    for _ in range(3):
        repository.rotate("root", "targets", "timestamp")
    repository.bump("targets", "snapshot", "timestamp")
    assert device.visit(repository.files) == ""
    assert [name for name, _ in device.taken] == ["root", "timestamp", "snapshot", "targets"]
    assert device.stored["root"] == repository.files["4.root.json"]


def test_endless_roots_are_bounded_and_the_next_walk_goes_on():
    repository, device, _ = seen()
    for _ in range(MAX_ROTATIONS + 2):
        repository.rotate("targets")
    repository.bump("targets", "snapshot", "timestamp")
    assert device.visit(repository.files) == "metadata_limit"
    assert device.visit(repository.files) == ""


def test_clock():
    repository, device, _ = seen()
    assert device.walk.issued == seconds("2026-05-20T00:00:00Z")
    repository.signed["timestamp"]["expires"] = "2026-06-01T00:00:00Z"
    repository.publish()
    repository.signed["timestamp"]["trueboot"]["issued"] = "2029-01-01T00:00:00Z"  # by a thief of the key
    repository.bump("timestamp")
    repository.signed["timestamp"]["trueboot"]["issued"] = "2029-01-01T00:00:00Z"
    repository.signed["timestamp"]["version"] += 1
    repository.write()
    assert device.visit(repository.files) == ""
    assert device.walk.issued == seconds("2026-06-01T00:00:00Z")  # never past its expiry


def test_clock_that_a_thief_had_raised_is_reset_with_the_keys():
    repository, device, _ = seen()
    device.now = seconds(FAR) + 1
    device.base = NOW
    assert device.visit(repository.files) == "metadata_expired"
    repository.rotate("timestamp")
    repository.bump("timestamp")
    assert device.visit(repository.files) == "" and device.walk.rekeyed


def test_bundle_reads_in_order_and_ignores_the_age_of_online_roles():
    repository, device, _ = seen()
    for role in ("timestamp", "snapshot"):
        repository.signed[role]["expires"] = PAST
    repository.bump("targets", "snapshot", "timestamp")
    assert device.visit(repository.files) == "metadata_expired"
    bundle = Device.of(device.stored)
    bundle.fresh = False
    assert bundle.visit(repository.files) == ""
    assert bundle.asked == ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"]
    assert bundle.walk.issued == seconds(PAST)
    assert bundle.visit(repository.files) == "" and bundle.asked[1:] == [
        "timestamp.json",
        "2.snapshot.json",
        "2.targets.json",
    ]
    for role in ("root", "targets"):
        other, device, _ = seen()
        other.signed[role]["expires"] = PAST
        if role == "root":
            other.rotate("targets")
        other.bump("targets", "snapshot", "timestamp")
        device.fresh = False
        assert device.visit(other.files) == "metadata_expired", role


def test_bundle_that_is_older_may_be_used_as_long_as_its_targets_are_not():
    repository, device, old = seen()
    repository.bump("snapshot", "timestamp")
    assert device.visit(repository.files) == ""
    assert device.visit(old) == "metadata_version"
    device.fresh = False
    stored = dict(device.stored)
    assert device.visit(old) == ""
    assert device.stored == stored
    repository.bump("targets", "snapshot", "timestamp")
    assert device.visit(repository.files) == ""
    assert device.visit(old) == "metadata_version"


def test_bundle_with_an_older_delegated_role_is_refused():
    repository, device, _ = seen()
    repository.delegate("targets", "d")
    repository.signed["d"]["targets"] = repository.signed["targets"].pop("targets")
    repository.signed["targets"]["targets"] = {}
    repository.bump("targets", "snapshot", "timestamp")
    old = dict(repository.files)
    device.fresh = False
    assert device.visit(old) == ""
    repository.bump("snapshot", "timestamp")
    assert device.visit(repository.files) == "" and device.visit(old) == ""
    repository.bump("d", "snapshot", "timestamp")
    assert device.visit(repository.files) == "" and device.visit(old) == "metadata_version"


def test_bundle_that_names_a_newer_timestamp_with_an_older_snapshot_is_refused():
    repository, device, _ = seen(versions=5)
    device.fresh = False
    repository.signed["snapshot"]["version"] = 4
    repository.bump("timestamp")
    assert device.visit(repository.files) == "metadata_version"


def test_without_consistent_snapshots():
    repository = Repository()
    repository.signed["root"]["consistent_snapshot"] = False
    repository.publish()
    device = Device(repository.files["1.root.json"])
    files = {name: data for name, data in repository.files.items() if "root" in name}
    files["timestamp.json"] = repository.files["timestamp.json"]
    for role in ("snapshot", "targets"):
        files[role + ".json"] = repository.files["1.%s.json" % role]
    assert device.visit(files) == ""
    assert device.walk.file("a/b") == "a/b"


def test_address_of_a_target():
    _, device, _ = seen()
    assert device.walk.file("a/b") == "a/" + "ab" * 32 + ".b"
    assert device.walk.file("b c") == "ab" * 32 + ".b%20c"


def test_order_of_calls():
    repository = Repository()
    walk = Walk({"root": repository.files["1.root.json"]}, NOW, verify)
    misuse("walk", walk.seek, "a/b")
    for name in ("2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"):
        assert walk.wanted()[0] == name
        walk.feed(repository.files.get(name))
    misuse("walk", walk.feed, b"")


def test_offered_copies_are_taken_only_when_they_are_what_is_wanted():
    repository, device, old = seen()
    repository.bump("targets", "snapshot", "timestamp")
    walk = Walk({"root": device.stored["root"]}, NOW, verify)
    assert not walk.offer(repository.files["timestamp.json"])  # freshness cannot be offered
    walk.feed(None)
    walk.feed(repository.files["timestamp.json"])
    for bad in (
        old["1.snapshot.json"],
        repository.files["2.targets.json"],
        b"",
        b"{}",
        repository.files["2.snapshot.json"][:-1],
    ):
        assert not walk.offer(bad)
        assert walk.wanted()[0] == "2.snapshot.json"
    assert walk.offer(repository.files["2.snapshot.json"])
    assert walk.offer(repository.files["2.targets.json"])
    assert walk.wanted() is None


def test_endless_data_are_refused():
    repository, device, _ = seen()
    for role in ("root", "timestamp", "snapshot", "targets"):
        walk = Walk({"root": device.stored["root"]}, NOW, verify)
        while walk.role != role:
            walk.feed(repository.files.get(walk.wanted()[0]))
        refused("metadata_limit", walk.feed, b" " * (walk.wanted()[1] + 1))
    repository.signed["timestamp"]["meta"]["snapshot.json"]["length"] = 1 << 40
    repository.signed["timestamp"]["version"] += 1
    repository.write()
    assert device.visit(repository.files) == "metadata_limit"


def test_announced_length_and_hash():
    for change, code in (
        ({"length": 10}, "metadata_limit"),
        ({"length": 2000}, "metadata_hash"),
        ({"hashes": {"sha256": "00" * 32}}, "metadata_hash"),
        ({"hashes": {"sha512": "00" * 64}}, "metadata_hash"),
        ({"hashes": {"md5": "00" * 16}}, "metadata_hash"),
        ({"hashes": {}}, "metadata_hash"),
        ({"hashes": []}, "metadata_hash"),
        ({"length": 0}, "metadata_field"),
        ({"length": True}, "metadata_field"),
        ({"version": 0}, "metadata_field"),
        ({"version": "2"}, "metadata_field"),
        ({"version": 3}, "metadata_missing"),
    ):
        repository, device, _ = seen()
        repository.bump("targets", "snapshot", "timestamp")
        repository.signed["snapshot"]["meta"]["targets.json"].update(change)
        repository.write()
        assert device.visit(repository.files) == code, (change, device.visit(repository.files))


BAD = (None, True, -1, 1 << 59, "x", [], {}, {"x": {}}, ["x", "x"])


def places(value, path=()):
    """The path of each value inside a value."""
    if isinstance(value, dict):
        inner = value.keys()
    elif isinstance(value, list):
        inner = range(len(value))
    else:
        inner = ()
    for name in inner:
        yield path + (name,)
        yield from places(value[name], path + (name,))


def test_wrong_types_everywhere_are_refused_or_harmless():
    """Each member of each file is replaced in turn, and signed again by the right keys."""
    repository = Repository()
    repository.delegate("targets", "d", ("a/*",))
    repository.signed["d"]["targets"] = {"a/b": repository.signed["targets"]["targets"].pop("a/b")}
    repository.bins(1, "d")
    repository.publish()
    good = repository.signed
    for role in good:
        for path in places(good[role]):
            for bad in BAD:
                repository.signed = copy(good)
                parent = repository.signed[role]
                for name in path[:-1]:
                    parent = parent[name]
                parent[path[-1]] = bad
                files = dict(repository.files)
                name = ("" if role == "timestamp" else "1.") + role + ".json"
                files[name] = sign(repository.signed[role], repository.signers[role])
                device = Device(files["1.root.json"])
                verdict = device.visit(files)
                assert isinstance(verdict, str), (role, path, bad)
