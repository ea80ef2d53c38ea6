# SPDX-License-Identifier: MIT
import tuf_repo
from agent.crypto.verify import verify
from agent.trust.bundle import MAX_HELD_BYTES, MAX_METADATA_BYTES, Bundle
from agent.trust.walk import Walk
from expect import refused, value_or_agent_error
from tuf_repo import NOW, PAST, Repo

HEAP = "1M"
PATH = "app/sim/1.1.0/app.img"
IMAGE = bytes(range(256)) * 3
ROLES = ("timestamp", "snapshot", "targets", tuf_repo.bin_of(PATH))


def repo(**custom):
    return Repo().add(PATH, IMAGE, **custom)


def read(data, trusted, now=NOW, piece=None):
    """The bundle, read in pieces of that many bytes."""
    walk = Walk(trusted, now, verify, fresh=False)
    bundle = Bundle(walk)
    piece = piece or len(data) or 1
    for at in range(0, len(data), piece):
        if bundle.feed(data[at : at + piece]):
            return bundle, walk
    bundle.ended()


def known(r, number=1):
    return {"root": r.files["%d.root.json" % number]}


def test_whole_and_byte_by_byte():
    r = repo()
    data = r.bundle(PATH)
    for piece in (None, 1, 7, 1000):
        bundle, walk = read(data, known(r), piece=piece)
        assert (bundle.path, bundle.length, bundle.prefix) == (PATH, len(IMAGE), len(data) - len(IMAGE))
        assert walk.target["hashes"]["sha256"] == tuf_repo.digest(IMAGE)
    assert [name for name, _ in walk.take()][:3] == ["timestamp", "snapshot", "targets"]


def test_roots_that_are_known_are_passed_over_and_new_ones_followed():
    r = repo()
    for _ in range(3):
        r.rotate("root", "timestamp", "snapshot", "targets", "release")
    r.publish()
    data = r.bundle(PATH)
    for number in (1, 2, 3, 4):
        _, walk = read(data, known(r, number))
        taken = [name for name, _ in walk.take()]
        assert ("root" in taken) is (number < 4)
        assert walk.rekeyed is (number < 4)


def test_a_bundle_may_be_stale_but_not_its_targets():
    r = repo()
    r.expires = {"timestamp": PAST, "snapshot": PAST}
    data = r.publish().bundle(PATH)
    assert read(data, known(r))[0].path == PATH
    for role in ("targets", tuf_repo.bin_of(PATH)):
        r.expires = {role: PAST}
        r.resign(role)
        refused("metadata_expired", read, r.bundle(PATH), known(r))
    r = Repo()
    r.expires = {"root": PAST}
    trusted = {"root": r._root()}
    refused("metadata_expired", read, r.add(PATH, IMAGE).bundle(PATH), trusted)


def test_an_older_bundle_is_read_while_its_release_was_not_taken_back():
    r = repo()
    old = r.bundle(PATH)
    trusted = dict(known(r))
    other = "app/sim/9.0.0/app.img"
    r.add(other, IMAGE, version="9.0.0")
    _, walk = read(r.bundle(other), trusted)
    trusted.update(walk.take())
    assert tuf_repo.bin_of(other) != tuf_repo.bin_of(PATH)
    _, walk = read(old, trusted)
    assert walk.target is not None and [name for name, _ in walk.take() if name in ROLES[:3]] == []
    r.resign(tuf_repo.bin_of(PATH))
    _, walk = read(r.bundle(PATH), trusted)
    trusted.update(walk.take())
    refused("metadata_version", read, old, trusted)


def test_what_is_no_bundle():
    r = repo()
    for data in (
        b"",
        b"\n",
        b"trueboot-app 1\n" + bytes(100),
        b"trueboot-bundle 2\n",
        b"<html>" * 100,
        b"trueboot-bundle",
    ):
        refused("no_bundle", read, data, known(r))
        refused("no_bundle", read, data, known(r), NOW, 1)


def test_a_bundle_that_ends_too_early():
    r = repo()
    data = r.bundle(PATH)
    prefix = len(data) - len(IMAGE)
    for size in list(range(len(b"trueboot-bundle 1\n"), prefix, 97)) + [prefix - 1]:
        refused("bundle_length", read, data[:size], known(r))
    assert read(data[:prefix], known(r))[0].length == len(IMAGE)


def test_headers_are_strict():
    r = repo()
    good = r.bundle(PATH)
    head = b"trueboot-bundle 1\n"
    rest = good[len(head) :]
    size = rest[: rest.find(b" ")]
    for bad in (
        b"0" + size,
        b"+" + size,
        b" " + size,
        size + b" ",
        b"",
        b"-1",
        b"0",
        b"0x10",
        size[:-1] + b"_",
        b"9" * 11,
        b"\xb2",
    ):
        refused("bundle_format", read, head + bad + rest[len(size) :], known(r))
    for name in (
        b"",
        b"timestamp",
        b"timestamp.txt",
        b"\xff.json",
        b"a" * 156 + b".json",
        b"a" * 9999,
        b"root.json",
        b"0.root.json",
        b"time stamp.json",
        b"1.a\xc3\xa9.json",
    ):
        refused("bundle_format", read, head + b"5 " + name + b"\nxxxxx", known(r))
    refused("bundle_format", read, head + b"\n", known(r))
    refused("bundle_format", read, head + b"5" * 9999, known(r))


def test_entries_have_an_order():
    r = repo()
    r.rotate("root")
    r.rotate("root")
    r.publish()
    good = ["2.root.json", "3.root.json", "timestamp.json"]
    good += ["%d.%s.json" % (r.versions[role], role) for role in ROLES[1:]]
    assert read(r.bundle(PATH, good), known(r))
    for at in range(len(good)):
        twice = good[: at + 1] + good[at:]
        refused("bundle_format", read, r.bundle(PATH, twice), known(r))
    refused("bundle_format", read, r.bundle(PATH, [good[1], good[0]] + good[2:]), known(r))
    late = good[:2] + good[3:4] + good[2:3] + good[4:]
    assert value_or_agent_error(read, r.bundle(PATH, late), known(r)).code in ("bundle_format", "metadata_missing")
    assert value_or_agent_error(read, r.bundle(PATH, good[2:] + good[:2]), known(r)).code in (
        "bundle_format",
        "metadata_missing",
        "metadata_signature",
    )


def test_what_is_missing_is_missed():
    r = repo()
    names = ["%d.%s.json" % (r.versions[role], role) for role in ROLES]
    names[0] = "timestamp.json"
    for at in range(len(names)):
        code = value_or_agent_error(read, r.bundle(PATH, names[:at] + names[at + 1 :]), known(r)).code
        assert code == "metadata_missing", (at, code)
    r.rotate("timestamp")
    r.publish()
    names = ["timestamp.json"] + ["%d.%s.json" % (r.versions[role], role) for role in ROLES[1:]]
    refused("metadata_signature", read, r.bundle(PATH, names), known(r))


def test_a_target_that_nobody_signed():
    r = repo()
    names = ["timestamp.json"] + ["%d.%s.json" % (r.versions[role], role) for role in ROLES[1:]]
    entries = [(name, r.files[name]) for name in names]
    same_bin = [n for n in range(200) if tuf_repo.bin_of("app/sim/%d/app.img" % n) == ROLES[3]][0]
    refused("not_signed", read, tuf_repo.bundle(entries, "app/sim/%d/app.img" % same_bin, IMAGE), known(r))


def test_the_image_has_the_signed_length():
    r = repo()
    for image in (IMAGE + b"x", IMAGE[:-1]):
        r.images[PATH] = image
        refused("bundle_length", read, r.bundle(PATH), known(r))


def test_metadata_are_bounded_before_they_are_read():
    r = repo()
    head = b"trueboot-bundle 1\n"
    for name in (b"2.root.json", b"timestamp.json"):
        for size in (32769, MAX_METADATA_BYTES, MAX_METADATA_BYTES + 1, 9_999_999_999):
            refused("metadata_limit", read, head + b"%d %s\n" % (size, name), known(r))
    names = ["timestamp.json"] + ["%d.%s.json" % (r.versions[role], role) for role in ROLES[1:3]]
    entries = [(name, r.files[name]) for name in names]
    many = entries + [("%d.bin-%02x.json" % (n, n % 32), bytes(1000)) for n in range(1, MAX_HELD_BYTES // 1000 + 2)]
    refused("metadata_limit", read, tuf_repo.bundle(many, PATH, IMAGE), known(r))
    # What nobody asks for is not kept, but counts.
    skipped = [("1.root.json", bytes(60_000))]
    refused("metadata_limit", read, tuf_repo.bundle(skipped + [("2.root.json", bytes(9000))], PATH, IMAGE), known(r))
    fits = tuf_repo.bundle(
        [("1.root.json", bytes(50_000))] + [(n, r.files[n]) for n in names + ["1.%s.json" % ROLES[3]]], PATH, IMAGE
    )
    assert read(fits, known(r), piece=1024)


def test_any_change_of_a_byte_is_seen_or_harmless():
    r = repo()
    data = r.bundle(PATH)
    prefix = len(data) - len(IMAGE)
    for at in range(0, prefix, 211):
        for flip in (1, 0x80):
            bent = data[:at] + bytes((data[at] ^ flip,)) + data[at + 1 :]
            found = value_or_agent_error(read, bent, known(r))
            if isinstance(found, tuple):
                assert found[1].target == read(data, known(r))[1].target
