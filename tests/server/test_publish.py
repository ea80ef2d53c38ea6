# SPDX-License-Identifier: MIT
"""What may be published, and what a publication leaves behind: rules first, then rotation, then two at a time."""

import datetime
import hashlib
import json
import threading

import pytest
from repository_rig import DAY_MS, IMAGE, Rig, client, custom_for, digest, looked_up, named
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import DelegatedRole, Delegations, Root, TargetFile

from trueboot_server.errors import ApiError, StartError
from trueboot_server.repo import signing

ONE, OTHER = "app/sim/1.1.0/app.img", "app/sim/1.2.0/app.img"  # in two bins
PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path / "state")
    yield made
    made.close()


def listing(rig):
    return sorted((path.name, path.read_bytes()) for path in rig.repository.metadata.iterdir())


def refused(rig, files):
    """The refusal; nothing on disk or in what is served has changed."""
    before, published = listing(rig), rig.repository.published
    with pytest.raises(ApiError) as caught:
        rig.repository.publish(files)
    assert listing(rig) == before and rig.repository.published is published
    return caught.value.status, caught.value.code


def edited(data, change, signers):
    metadata = signing.read_targets(data)
    change(metadata.signed)
    return signing.sign(metadata, signers)


def test_a_release_rewrites_one_bin_and_nothing_that_was_signed_offline(rig, tmp_path):
    assert rig.role_for(ONE) != rig.role_for(OTHER)
    rig.add(ONE)
    rig.add(OTHER, content=b"other")
    published = rig.repository.published
    assert published.version("targets") == published.version("root") == 1
    assert published.delegated() == ["targets", *sorted([rig.role_for(ONE), rig.role_for(OTHER)])]
    assert looked_up(rig.repository, tmp_path / "client") == {ONE: IMAGE, OTHER: b"other"}


def test_the_timestamp_tells_when_it_was_signed_and_the_newest_root(rig):
    stamp = json.loads(rig.repository.published.stamp)["signed"]
    issued = datetime.datetime.fromtimestamp(rig.clock() / 1000, datetime.UTC)
    assert stamp["trueboot"] == {"issued": issued.strftime("%Y-%m-%dT%H:%M:%SZ"), "root": 1}


def test_publishing_twice_is_publishing_once(rig):
    files = named(rig.added(ONE))
    assert rig.repository.publish(files) is True
    before = listing(rig)
    assert rig.repository.publish(files) is False
    assert rig.repository.publish({"1.root.json": rig.metadata("root"), **files}) is False
    assert listing(rig) == before
    more = named(rig.added(OTHER))
    assert rig.repository.publish(files | more) is True  # what is known already does no harm
    assert set(rig.repository.published.files) == {ONE, OTHER}


# Attacks, and mistakes that look like them


def test_untrusted_signatures(rig):
    stranger = CryptoSigner.generate_ecdsa()
    assert refused(rig, named(rig.added(ONE, signer=stranger))) == (403, "metadata_untrusted")
    assert refused(rig, named(rig.added(ONE, signer=rig.targets))) == (403, "metadata_untrusted")
    unsigned = {role: edited(data, lambda s: None, []) for role, data in rig.added(ONE).items()}
    assert refused(rig, named(unsigned)) == (403, "metadata_untrusted")
    tampered = {role: data.replace(b'"security":0', b'"security":9') for role, data in rig.added(ONE).items()}
    assert refused(rig, named(tampered)) == (403, "metadata_untrusted")
    targets = signing.renew(rig.metadata("targets"), [rig.release])
    assert refused(rig, named({"targets": targets})) == (403, "metadata_untrusted")


def test_one_bad_file_keeps_the_good_ones_out(rig):
    good, bad = rig.added(ONE), rig.added(OTHER, signer=CryptoSigner.generate_ecdsa())
    assert refused(rig, named(good | bad)) == (403, "metadata_untrusted")
    assert rig.repository.published.files == {}


def test_thresholds_count_different_keys(tmp_path):
    rig = Rig(tmp_path / "state", publish=False)
    two, three = CryptoSigner.generate_ecdsa(), CryptoSigner.generate_ed25519()
    targets = signing.new_targets([rig.targets], [key.public_key for key in (rig.release, two, three)], threshold=2)
    rig.repository.publish(named({"targets": targets}))
    ((role, once),) = rig.added(ONE).items()
    assert refused(rig, named({role: once})) == (403, "metadata_untrusted")
    twice = json.loads(once)
    twice["signatures"] *= 2
    doubled = json.dumps(twice, separators=(",", ":"), sort_keys=True).encode()
    assert refused(rig, named({role: doubled}))[0] in (400, 403)
    assert rig.repository.publish(named({role: signing.add_signatures(once, [three])}))
    rig.close()


def test_versions_only_rise(rig):
    rig.add(ONE)
    role = rig.role_for(ONE)
    now = rig.metadata(role)
    same = edited(now, lambda s: s.targets.clear(), [rig.release])
    assert refused(rig, named({role: same})) == (409, "metadata_version")
    rig.repository.publish(named({role: signing.renew(now, [rig.release])}))
    assert refused(rig, named({role: now})) == (409, "metadata_version")
    first = edited(rig.metadata("targets"), lambda s: setattr(s, "unrecognized_fields", {"x": 1}), [rig.targets])
    assert refused(rig, named({"targets": first})) == (409, "metadata_version")


def test_expired_metadata(rig):
    expire = lambda signed: setattr(signed, "expires", PAST)  # noqa: E731
    ((role, data),) = rig.added(ONE).items()
    assert refused(rig, named({role: edited(data, expire, [rig.release])})) == (400, "metadata_expired")
    rig.clock.now += 366 * DAY_MS  # now targets.json has expired, and no client would get as far as the bin
    fresh = signing.add_target(
        None, ONE, len(IMAGE), digest(IMAGE), custom_for(ONE), [rig.release], datetime.timedelta(days=800)
    )
    assert refused(rig, named({role: fresh})) == (400, "metadata_expired")
    renewed = signing.renew(rig.metadata("targets"), [rig.targets], datetime.timedelta(days=800))
    assert rig.repository.publish(named({role: fresh, "targets": renewed}))
    rig.clock.now += 3660 * DAY_MS
    later = signing.renew(fresh, [rig.release], datetime.timedelta(days=8000))
    assert refused(rig, named({role: later})) == (409, "root_expired")


def test_files_that_are_not_there_or_are_others(rig):
    assert refused(rig, named(rig.added(ONE, upload=False))) == (409, "target_missing")
    roles = rig.added(ONE)
    place = rig.put(ONE)
    place.write_bytes(b"x" * len(IMAGE))  # swapped after it was uploaded
    assert refused(rig, named(roles)) == (409, "target_differs")
    place.write_bytes(IMAGE + b"x")
    assert refused(rig, named(roles)) == (409, "target_differs")
    place.write_bytes(IMAGE)
    assert rig.repository.publish(named(roles))


def test_a_path_lies_in_its_own_bin_and_in_no_other(rig):
    wrong = next(name for name in (f"bin-{n:02x}" for n in range(32)) if name != rig.role_for(ONE))
    assert refused(rig, named(rig.added(ONE, role=wrong))) == (400, "target_role")


def test_roles_that_nobody_delegates_to(rig):
    data = next(iter(rig.added(ONE).values()))
    for role in ("bin-20", "bin-0", "release", "Targets", "..", "a/b", "root.json"):
        assert refused(rig, named({role: data})) == (400, "metadata_role"), role
    for role in ("timestamp", "snapshot"):
        assert refused(rig, named({role: data})) == (400, "metadata_role")


@pytest.mark.parametrize(
    "name",
    ["bin-00.json", "1.bin-00", "01.targets.json", "0.targets.json", "-1.targets.json", "1.a/b.json", "1.%2e%2e.json",
     "../1.targets.json", "1.targets.json\0", "٣.targets.json", "1.targets.json.json\n", "1." + "x" * 90 + ".json", "2.targets.json"],
)  # fmt: skip
def test_file_names_say_what_the_file_holds(rig, name):
    assert refused(rig, {name: rig.metadata("targets")}) == (400, "metadata_name")


def test_metadata_that_are_not_canonical_or_no_metadata(rig):
    ((role, data),) = rig.added(ONE).items()
    name = f"1.{role}.json"
    for text, code in (
        (json.dumps(json.loads(data)).encode(), "metadata_form"),
        (data.replace(b'{"signatures"', b'{"signatures":[],"signatures"', 1), "metadata_form"),
        (data + b"\n", "metadata_form"),
        (b"{}", "metadata_unreadable"),
        (b"[" * 10000, "metadata_unreadable"),
        (b"\xff", "metadata_unreadable"),
        (b'{"signed":{"version":' + b"9" * 5000 + b"}}", "metadata_unreadable"),
        (rig.metadata("root"), "metadata_unreadable"),
        (rig.repository.published.stamp, "metadata_unreadable"),
    ):
        assert refused(rig, {name: text}) == (400, code), text[:60]


def test_a_target_keeps_the_rules_of_paths_and_custom(rig):
    def change(path, custom, hashes=None):
        role = rig.role_for(path)
        file = TargetFile(len(IMAGE), hashes or {"sha256": digest(IMAGE)}, path, {"custom": custom} if custom else {})
        put = lambda signed: signed.targets.update({path: file})  # noqa: E731
        empty = signing.add_target(None, ONE, 1, digest(b""), custom_for(ONE), [rig.release])
        return named({role: edited(empty, lambda s: (s.targets.clear(), put(s)), [rig.release])})

    rig.put(ONE)
    good = custom_for(ONE)
    for path, custom in (
        ("../../operator.json", good), ("app/sim/1.1.0/../x", good), ("app/sim/1.1.0", good), (ONE, None),
        (ONE, {**good, "kind": "firmware"}), (ONE, {**good, "version": "1.1.1"}), (ONE, {**good, "hardware": ["esp32"]}),
        (ONE, {**good, "hardware": "sim"}), (ONE, {**good, "security": -1}), (ONE, {**good, "size": "10"}),
        (ONE, {**good, "requires": "1.0"}), (ONE, {**good, "requires": ">=1.0.0 <"}), (ONE, {**good, "prerequisite": 1}),
        (ONE, {**good, "prerequisite": ">=1.0.0"}),
    ):  # fmt: skip
        assert refused(rig, change(path, custom)) == (400, "target_rules"), (path, custom)
    for hashes in ({"sha512": "0" * 128}, {"sha256": "0" * 63}, {"sha256": digest(IMAGE), "md5": "0" * 32}):
        assert refused(rig, change(ONE, good, hashes)) == (400, "target_rules"), hashes
    wrong = {"sha256": digest(IMAGE), "sha512": "0" * 128}
    assert refused(rig, change(ONE, good, wrong)) == (409, "target_differs")
    assert rig.repository.publish(change(ONE, good | {"requires": ">=1.0.0 <2.0.0", "prerequisite": "1.0.0"}))


def test_a_target_is_served_by_each_of_its_hashes(rig):
    both = {"sha256": digest(IMAGE), "sha512": hashlib.sha512(IMAGE).hexdigest()}
    (role, data), = rig.added(ONE).items()  # fmt: skip
    rig.repository.publish(
        named({role: edited(data, lambda s: setattr(s.targets[ONE], "hashes", both), [rig.release])})
    )
    for value in both.values():
        assert rig.repository.target_file(f"app/sim/1.1.0/{value}.app.img").read_bytes() == IMAGE
    rig.clock.now += 3 * DAY_MS
    assert rig.repository.collect() >= 0 and rig.repository.target_file(f"app/sim/1.1.0/{both['sha512']}.app.img")


def test_a_bin_delegates_no_further(rig):
    ((role, data),) = rig.added(ONE).items()
    further = Delegations({}, {"r": DelegatedRole("r", [], 1, True, paths=["x"])})
    deeper = edited(data, lambda signed: setattr(signed, "delegations", further), [rig.release])
    assert refused(rig, named({role: deeper})) == (400, "metadata_delegations")


def test_bins_wait_for_targets(tmp_path):
    rig = Rig(tmp_path / "state", publish=False)
    targets = rig.first_targets()
    role = signing.role_for(targets, ONE)
    rig.put(ONE)
    data = signing.add_target(None, ONE, len(IMAGE), digest(IMAGE), custom_for(ONE), [rig.release])
    assert refused(rig, named({role: data})) == (409, "metadata_incomplete")
    assert rig.repository.publish(named({role: data, "targets": targets}))
    rig.close()


# Other layouts


def test_a_layout_made_by_hand_with_path_patterns(rig, tmp_path):
    apps, rest = CryptoSigner.generate_rsa(size=2048), CryptoSigner.generate_ed25519()
    roles = {
        "apps": DelegatedRole("apps", [apps.public_key.keyid], 1, True, paths=["app/sim/*/*"]),
        "all apps": DelegatedRole("all apps", [rest.public_key.keyid], 1, False, paths=["app/*/*/*"]),
        "rest/ü": DelegatedRole("rest/ü", [rest.public_key.keyid], 1, False, paths=["*/*/*/*"]),
    }
    keys = {signer.public_key.keyid: signer.public_key for signer in (apps, rest)}
    by_hand = edited(
        signing.renew(rig.metadata("targets"), [rig.targets]),
        lambda signed: setattr(signed, "delegations", Delegations(keys, roles)),
        [rig.targets],
    )
    board = "app/esp32/1.0.0/app.img"
    in_apps = rig.added(ONE, role="apps", signer=apps)
    in_all = rig.added(board, role="all apps", signer=rest)
    in_rest = rig.added("firmware/esp32/1.0.0/f", board, role="rest/ü", signer=rest, content=b"rest")
    assert signing.role_for(by_hand, ONE) == "apps" and signing.role_for(by_hand, board) == "all apps"
    # A role that is no bin has to be there: clients that do not find it give up.
    assert refused(rig, named({"targets": by_hand} | in_apps | in_all)) == (409, "metadata_incomplete")
    assert rig.repository.publish(named({"targets": by_hand} | in_apps | in_all | in_rest))
    assert looked_up(rig.repository, tmp_path / "client") == {
        ONE: IMAGE, board: IMAGE, "firmware/esp32/1.0.0/f": b"rest",
    }  # fmt: skip
    assert refused(rig, named(rig.added("firmware/x/1.0.0/f", role="apps", signer=apps))) == (400, "target_role")
    hidden = rig.added(OTHER, role="all apps", signer=rest)  # a client never gets past the terminating role before
    assert refused(rig, named(hidden)) == (400, "target_role")
    with pytest.raises(signing.SigningError):
        narrow = edited(by_hand, lambda s: s.delegations.roles.pop("rest/ü"), [rig.targets])
        signing.role_for(narrow, "firmware/esp32/1.0.0/f")
    assert set(rig.open().published.files) == {ONE, board, "firmware/esp32/1.0.0/f"}


def test_bins_that_are_delegated_no_more_stay_in_the_snapshot(rig, tmp_path):
    rig.add(ONE)
    old = looked_up(rig.repository, tmp_path / "client")
    fewer = edited(
        rig.metadata("targets"),
        lambda s: (setattr(s, "version", 2), setattr(s.delegations.succinct_roles, "name_prefix", "b")),
        [rig.targets],
    )
    role = signing.role_for(fewer, ONE)
    moved = signing.add_target(None, ONE, len(IMAGE), digest(IMAGE), custom_for(ONE), [rig.release])
    assert rig.repository.publish(named({"targets": fewer, role: moved}))
    assert looked_up(rig.repository, tmp_path / "client") == old  # a client that saw the old snapshot goes on
    assert rig.open().published.delegated() == ["targets", role]


# Rotation


def test_a_root_needs_both_signatures_and_no_gap(rig):
    new = CryptoSigner.generate_ecdsa()

    def rotate(root):
        root.revoke_key(rig.root.public_key.keyid, "root")
        root.add_key(new.public_key, "root")

    second = rig.next_root(rotate, [rig.root, new])
    for signers in ([rig.root], [new], []):
        assert refused(rig, {"2.root.json": rig.next_root(rotate, signers)}) == (403, "metadata_untrusted")
    third = rig.next_root(lambda root: None, [new], after=second)
    assert refused(rig, {"3.root.json": third}) == (409, "metadata_version")
    by_the_old = rig.next_root(lambda root: None, [rig.root], after=second)
    assert refused(rig, {"2.root.json": second, "3.root.json": by_the_old}) == (403, "metadata_untrusted")
    inconsistent = rig.next_root(lambda root: setattr(root, "consistent_snapshot", False), [rig.root])
    assert refused(rig, {"2.root.json": inconsistent}) == (400, "metadata_form")
    assert rig.repository.publish({"3.root.json": third, "2.root.json": second})
    assert json.loads(rig.repository.published.stamp)["signed"]["trueboot"]["root"] == 3
    assert rig.open().published.version("root") == 3


def test_an_expired_root_in_the_chain_is_a_step_and_no_end(rig):
    expired = rig.next_root(lambda root: setattr(root, "expires", PAST), [rig.root])
    assert refused(rig, {"2.root.json": expired}) == (409, "root_expired")
    life = datetime.datetime.now(datetime.UTC).replace(microsecond=0) + datetime.timedelta(days=9)
    third = rig.next_root(lambda root: setattr(root, "expires", life), [rig.root], after=expired)
    assert rig.repository.publish({"2.root.json": expired, "3.root.json": third})


def test_a_new_targets_key_asks_for_new_targets_in_the_same_publication(rig, tmp_path):
    rig.add(ONE)
    new = CryptoSigner.generate_ed25519()

    def rotate(root):
        root.revoke_key(rig.targets.public_key.keyid, "targets")
        root.add_key(new.public_key, "targets")

    root = {"2.root.json": rig.next_root(rotate, [rig.root])}
    assert refused(rig, root) == (403, "metadata_untrusted")
    assert rig.repository.publish(root | named({"targets": signing.renew(rig.metadata("targets"), [new])}))
    assert looked_up(rig.repository, tmp_path / "client") == {ONE: IMAGE}


def test_a_new_release_key_asks_for_every_bin_again(rig, tmp_path):
    rig.add(ONE)
    rig.add(OTHER)
    new = CryptoSigner.generate_ecdsa()
    roles = rig.with_release_key(new)
    assert len(roles) == 3
    for role in [name for name in roles if name != "targets"]:
        some = {name: data for name, data in roles.items() if name != role}
        assert refused(rig, named(some)) == (403, "metadata_untrusted")
    assert rig.repository.publish(named(roles))
    assert looked_up(rig.repository, tmp_path / "client") == {ONE: IMAGE, OTHER: IMAGE}
    assert refused(rig, named(rig.added(ONE, content=b"stolen key"))) == (403, "metadata_untrusted")


def online_rotated(rig, version=2):
    def rotate(root):
        keyid, public = rig.repository.keys.make_next()
        (rig.state.path / "asked.pub").write_bytes(public)
        key = signing.load_public(rig.state.path / "asked.pub")
        assert key.keyid == keyid
        for role in ("snapshot", "timestamp"):
            root.revoke_key(rig.online.keyid, role)
            root.add_key(key, role)

    return {f"{version}.root.json": rig.next_root(rotate, [rig.root])}


def test_another_online_key_takes_over_with_the_root_that_names_it(rig, tmp_path):
    rig.add(ONE)
    looked_up(rig.repository, tmp_path / "client")
    pem = rig.state.private / "online.pem"
    old = pem.read_bytes()
    files = online_rotated(rig)
    assert rig.repository.keys.make_next()[0] == rig.repository.keys.make_next()[0]
    rig.open()
    assert pem.read_bytes() == old and (rig.state.private / "online-next.pem").exists()  # until a root names it
    assert rig.repository.publish(files)
    assert pem.read_bytes() != old and not (rig.state.private / "online-next.pem").exists()
    assert not (rig.state.path / "online-next.pub").exists()
    assert looked_up(rig.repository, tmp_path / "client") == {ONE: IMAGE}
    assert signing.load_public(rig.state.path / "online.pub").keyid == signing.load_signer(pem).public_key.keyid
    assert rig.open().publish(named(rig.added(OTHER)))


def test_a_root_with_a_strange_online_key_is_refused(rig):
    stranger = CryptoSigner.generate_ecdsa().public_key

    def only(root, role="timestamp"):
        root.revoke_key(rig.online.keyid, role)
        root.add_key(stranger, role)

    def two(root):
        root.add_key(stranger, "timestamp")
        root.roles["timestamp"].threshold = 2

    for change in (only, two, lambda root: only(root, "snapshot")):
        assert refused(rig, {"2.root.json": rig.next_root(change, [rig.root])}) == (409, "online_key")


def test_a_server_that_lost_its_online_key_says_so_and_takes_a_root_put_there_by_hand(rig, tmp_path):
    rig.add(ONE)
    looked_up(rig.repository, tmp_path / "client")
    (rig.state.private / "online.pem").unlink()
    with pytest.raises(StartError) as caught:
        rig.open()
    assert (
        "online key" in str(caught.value) and "2.root.json" in str(caught.value) and "online.pub" in str(caught.value)
    )
    new = signing.load_public(rig.state.path / "online.pub")

    def rotate(root):
        for role in ("snapshot", "timestamp"):
            root.revoke_key(rig.online.keyid, role)
            root.add_key(new, role)

    second = rig.state.repo / "metadata/2.root.json"
    first = (rig.state.repo / "metadata/1.root.json").read_bytes()
    second.write_bytes(rig.next_root(rotate, [CryptoSigner.generate_ecdsa()], after=first))
    with pytest.raises(StartError, match="2.root.json"):
        rig.open()
    second.write_bytes(rig.next_root(rotate, [rig.root], after=first))
    assert rig.open().published.version("root") == 2
    assert rig.repository.keep_fresh() is True  # with the new key, at once
    assert looked_up(rig.repository, tmp_path / "client") == {ONE: IMAGE}
    assert rig.open().published.version("root") == 2


# Two at a time


def at_once(*calls):
    """The results of calls that begin together; an ApiError is a result."""
    gate, results = threading.Barrier(len(calls)), [None] * len(calls)

    def run(number, call):
        gate.wait(10)
        try:
            results[number] = call()
        except ApiError as error:
            results[number] = error.code

    threads = [threading.Thread(target=run, args=item) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_two_publishers_of_one_bin_one_wins_and_nothing_is_lost(rig, tmp_path):
    for _ in range(5):
        path = f"app/sim/{rig.repository.published.version('snapshot')}.0.0/app.img"
        role = rig.role_for(path)
        sets = [named(rig.added(path, content=content)) for content in (b"mine", b"theirs")]
        results = at_once(*[lambda files=files: rig.repository.publish(files) for files in sets])
        assert sorted(map(str, results)) == ["True", "metadata_version"]
        winner = sets[results.index(True)]
        assert rig.metadata(role) in winner.values()
    looked_up(rig.repository, tmp_path / "client")


def test_two_publishers_of_two_bins_both_win(rig, tmp_path):
    sets = [named(rig.added(path)) for path in (ONE, OTHER)]
    assert at_once(*[lambda files=files: rig.repository.publish(files) for files in sets]) == [True, True]
    assert looked_up(rig.repository, tmp_path / "client") == {ONE: IMAGE, OTHER: IMAGE}
    assert set(rig.open().published.files) == {ONE, OTHER}


def test_readers_never_see_half_a_publication(rig):
    """Every snapshot that a timestamp names is there, with every file that it lists, while others publish."""
    rig.add(ONE)
    stop, seen = threading.Event(), []

    def read():
        while not stop.is_set():
            published = rig.repository.published
            number = published.timestamp.signed.snapshot_meta.version
            assert published.version("snapshot") == number
            for role in published.delegated():
                assert rig.repository.metadata_file(published.version(role), role) is not None
            seen.append(number)

    errors = []
    reader = threading.Thread(target=lambda: errors.extend([e] for e in [_failure(read)] if e))
    reader.start()
    for number in range(10):
        rig.add(f"app/sim/2.{number}.0/app.img")
    stop.set()
    reader.join(30)
    assert not errors and len(set(seen)) > 1


def _failure(call):
    try:
        call()
    except AssertionError as error:
        return error
    return None


# Removal


def test_a_withdrawn_release_is_not_served_and_is_collected_after_a_day(rig, tmp_path):
    rig.add(ONE)
    rig.add(OTHER)
    stored = f"app/sim/1.1.0/{digest(IMAGE)}.app.img"
    place = rig.repository.target_file(stored)
    rig.repository.publish(named(rig.withdrawn(ONE)))
    assert rig.repository.target_file(stored) is None and place.exists()  # who is reading it reads on
    assert looked_up(rig.repository, tmp_path / "client") == {OTHER: IMAGE}
    fresh = client(rig.repository, tmp_path / "client")
    fresh.refresh()
    assert fresh.get_targetinfo(ONE) is None
    rig.clock.now += DAY_MS - 60_000
    assert rig.repository.collect() == 0 and place.exists()
    rig.clock.now += 120_000
    rig.open()
    assert rig.repository.collect() > 0
    assert not place.exists() and not place.parent.exists()
    assert rig.repository.target_file(f"app/sim/1.2.0/{digest(IMAGE)}.app.img").exists()
    assert looked_up(rig.repository, tmp_path / "client") == {OTHER: IMAGE}


def test_the_day_counts_from_the_withdrawal_and_not_from_the_upload(rig):
    rig.add(ONE)
    role, place = rig.role_for(ONE), rig.put(ONE)
    rig.clock.now += 40 * DAY_MS
    rig.repository.publish(named(rig.withdrawn(ONE)))
    rig.repository.collect()
    assert place.exists() and rig.repository.metadata_file(1, role)  # a walk that began before still finds its bin
    rig.clock.now += DAY_MS + 60_000
    rig.repository.collect()
    assert not place.exists() and rig.repository.metadata_file(1, role) is None


def test_what_was_withdrawn_may_be_signed_for_again(rig):
    rig.add(ONE)
    rig.repository.publish(named(rig.withdrawn(ONE)))
    rig.add(ONE, upload=False)
    rig.clock.now += 3 * DAY_MS
    rig.repository.collect()
    assert rig.repository.target_file(f"app/sim/1.1.0/{digest(IMAGE)}.app.img").exists()


def test_uploads_that_nobody_signs_for_are_collected_after_a_day(rig):
    place = rig.put(ONE)
    assert rig.repository.collect() == 0
    rig.clock.now += DAY_MS + 60_000
    assert rig.repository.collect() == 1 and not place.exists()


def test_superseded_metadata_are_collected_and_roots_never(rig):
    rig.add(ONE)
    role = rig.role_for(ONE)
    rig.repository.publish({"2.root.json": rig.next_root(lambda root: None, [rig.root])})
    for _ in range(3):
        rig.repository.publish(named({role: signing.renew(rig.metadata(role), [rig.release])}))
    assert rig.repository.metadata_file(1, role) is not None  # a walk that began before
    rig.clock.now += 2 * DAY_MS
    rig.repository.collect()
    names = {path.name for path in rig.repository.metadata.iterdir()}
    snapshot = rig.repository.published.version("snapshot")
    assert names == {
        "1.root.json", "2.root.json", "1.targets.json", f"4.{role}.json", f"{snapshot}.snapshot.json", "timestamp.json",
    }  # fmt: skip
    rig.open()


def test_the_oracle_bites(rig, tmp_path):
    """With another root of trust python-tuf's client refuses the same repository."""
    stranger = CryptoSigner.generate_ecdsa()
    other = signing.new_root([stranger], [stranger.public_key], stranger.public_key)
    rig.repository.root_file.write_bytes(other)
    with pytest.raises(RepositoryError):
        client(rig.repository, tmp_path / "client").refresh()
    assert signing.read(other, Root).signed.version == 1
