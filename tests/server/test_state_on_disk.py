# SPDX-License-Identifier: MIT
"""The repository at the start: what was damaged or swapped on disk is said, never served."""

import json
import shutil

import pytest
from repository_rig import DAY_MS, IMAGE, Rig, custom_for, digest, looked_up, named
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Targets

from trueboot_server.errors import StartError
from trueboot_server.repo import dev, signing
from trueboot_server.repo.online import OnlineKeys
from trueboot_server.repo.repository import Repository
from trueboot_server.state import State

ONE = "app/sim/1.1.0/app.img"


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path / "state")
    made.add(ONE)
    yield made
    made.close()


def files(rig):
    role = rig.role_for(ONE)
    return ["1.root.json", "timestamp.json", "2.snapshot.json", "1.targets.json", f"1.{role}.json"]


@pytest.mark.parametrize("number", range(5))
def test_damaged_metadata_are_said_at_start(rig, number):
    path = rig.repository.metadata / files(rig)[number]
    whole = path.read_bytes()
    content = json.loads(whole)
    content["signed"]["expires"] = "2999-01-01T00:00:00Z"
    forged = json.dumps(content, separators=(",", ":"), sort_keys=True).encode()
    for damaged in (b"", b"{", b"[]", whole[:-1], whole + b" " if number > 1 else b"\xff", forged):
        path.write_bytes(damaged)
        with pytest.raises(StartError) as caught:
            rig.open()
        assert str(path) in str(caught.value) and caught.value.exit_code == 78, damaged[:40]
    path.unlink()
    if path.name != "timestamp.json":
        with pytest.raises(StartError, match=path.name.replace(".", r"\.")):
            rig.open()
    path.write_bytes(whole)
    assert set(rig.open().published.files) == {ONE}


def test_metadata_signed_by_others_are_said_at_start(rig):
    """Each file as it would be with another key: well-formed, right version, and not ours."""
    stranger = CryptoSigner.generate_ecdsa()
    for name in files(rig):
        path = rig.repository.metadata / name
        whole = path.read_bytes()
        path.write_bytes(signing.sign(Metadata.from_bytes(whole), [stranger]))
        with pytest.raises(StartError, match=name.replace(".", r"\.")):
            rig.open()
        path.write_bytes(whole)


def test_files_that_changed_places_are_said_at_start(rig):
    metadata, role = rig.repository.metadata, rig.role_for(ONE)
    rig.repository.publish(named({role: signing.renew(rig.metadata(role), [rig.release])}))
    (metadata / f"2.{role}.json").write_bytes((metadata / f"1.{role}.json").read_bytes())  # signed, and older
    with pytest.raises(StartError, match="not the file that was published"):
        rig.open()


def test_a_root_chain_with_a_gap_is_said(rig):
    second = rig.next_root(lambda root: None, [rig.root])
    third = rig.next_root(lambda root: None, [rig.root], after=second)
    rig.repository.publish({"2.root.json": second, "3.root.json": third})
    (rig.repository.metadata / "2.root.json").unlink()
    with pytest.raises(StartError, match=r"3\.root\.json"):
        rig.open()


def test_an_old_backup_put_over_a_newer_repository_is_served_as_what_it_is(rig, tmp_path):
    """The metadata folder of yesterday: whole in itself.  Devices refuse it; the server cannot know better."""
    shutil.copytree(rig.repository.metadata, tmp_path / "backup")
    rig.add("app/sim/1.2.0/app.img")
    shutil.rmtree(rig.repository.metadata)
    shutil.copytree(tmp_path / "backup", rig.repository.metadata)
    assert set(rig.open().published.files) == {ONE}


def test_a_flat_layout_of_an_earlier_server_goes_on(tmp_path):
    """No delegations, no member in the timestamp, everything in targets.json."""
    rig = Rig(tmp_path / "state", publish=False)
    rig.put(ONE)
    flat = signing.read_targets(
        signing.add_target(None, ONE, len(IMAGE), digest(IMAGE), custom_for(ONE), [rig.targets])
    )
    assert rig.repository.publish(named({"targets": signing.to_bytes(flat)}))
    assert rig.role_for("app/sim/1.2.0/app.img") == "targets"
    rig.add("app/sim/1.2.0/app.img", signer=rig.targets)
    assert set(looked_up(rig.open(), tmp_path / "device")) == {ONE, "app/sim/1.2.0/app.img"}
    # And becomes one with bins, in one publication.
    bins = signing.read_targets(rig.first_targets())
    bins.signed.version = 3
    role = signing.role_for(signing.to_bytes(bins), ONE)
    moved = signing.add_target(None, ONE, len(IMAGE), digest(IMAGE), custom_for(ONE), [rig.release])
    assert rig.repository.publish(named({"targets": signing.sign(bins, [rig.targets]), role: moved}))
    assert set(looked_up(rig.open(), tmp_path / "device")) == {ONE}
    rig.close()


def test_a_new_folder_of_dev_is_empty_and_whole(tmp_path):
    state = State(tmp_path / "state")
    state.open()
    repository = dev.open_repository(state, dev=True)
    assert repository.published.files == {} and repository.published.delegated() == ["targets"]
    assert looked_up(repository, tmp_path / "device") == {}
    state.close()


def test_thresholds_of_the_root_are_honoured(tmp_path):
    state = State(tmp_path / "state")
    state.open()
    keys = OnlineKeys(state)
    online = signing.load_public(keys.public_file)
    root, targets = ([CryptoSigner.generate_ecdsa() for _ in range(3)] for _ in range(2))
    publics = [key.public_key for key in targets]
    data = signing.new_root(root[:2], publics, online, root_threshold=2, targets_threshold=2)
    repository = Repository(state.repo, keys)
    repository.root_file.write_bytes(data)
    repository.load()
    one = signing.new_targets(targets[:1], publics)
    with pytest.raises(Exception, match="threshold"):
        repository.publish({"1.targets.json": one})
    assert repository.publish({"1.targets.json": signing.add_signatures(one, targets[1:2])})
    repository.root_file.write_bytes(signing.new_root(root[:1], publics, online, root_threshold=2))
    with pytest.raises(StartError, match="threshold"):
        Repository(state.repo, keys).load()
    state.close()


def test_an_expired_repository_is_served_and_announced(rig):
    """What has expired is refused by devices; a server that did not start could not even take the cure."""
    rig.clock.now += 4000 * DAY_MS
    repository = rig.open()
    assert repository.keep_fresh() and list(repository.expiring()) == ["root", "targets", rig.role_for(ONE)]
    root = signing.read(rig.metadata("root"), Root)
    root.signed.version, root.signed.expires = 2, root.signed.expires.replace(year=2060)
    targets = signing.read_targets(rig.metadata("targets"))
    targets.signed.version, targets.signed.expires = 2, root.signed.expires
    assert isinstance(targets.signed, Targets)
    cure = named({"root": signing.sign(root, [rig.root]), "targets": signing.sign(targets, [rig.targets])})
    assert repository.publish(cure) and list(repository.expiring()) == [rig.role_for(ONE)]
