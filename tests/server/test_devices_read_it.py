# SPDX-License-Identifier: MIT
"""The device's own TUF client reads what the server publishes: nothing new costs one request, a release few bytes."""

import pytest
from repository_rig import DAY_MS, IMAGE, Rig, custom_for, digest, named
from securesystemslib.signer import CryptoSigner
from test_publish import online_rotated

from agent.errors import RefusedError
from agent.trust.walk import LIMITS, Walk
from platform_adapters.linux_verify import verify
from trueboot_server.errors import ApiError
from trueboot_server.repo import signing
from trueboot_server.repo.published import parse_file_name

ONE, OTHER = "app/sim/1.1.0/app.img", "app/sim/1.2.0/app.img"


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path / "state")
    yield made
    made.close()


class Device:
    def __init__(self, rig):
        self._rig = rig
        self._stored = {"root": rig.repository.root_file.read_bytes()}
        self.asked = []

    def walk(self, path=None):
        """What the signed metadata say of `path`.  `asked`: [(file name, bytes)] of this walk."""
        walk = Walk(dict(self._stored), self._rig.clock() // 1000, verify)
        self.asked = []
        try:
            self._fill(walk)
            if path is None:
                return None
            walk.seek(path)
            self._fill(walk)
            return walk.target
        finally:
            self._stored |= {name: data for name, data in walk.take() if not name.startswith("role:")}

    def _fill(self, walk):
        repository = self._rig.repository
        while (wanted := walk.wanted()) is not None:
            name, limit = wanted
            if name == "timestamp.json":
                data = repository.published.stamp
            else:
                place = repository.metadata_file(*parse_file_name(name))
                data = place.read_bytes() if place else None
            self.asked.append((name, len(data or b"")))
            if data is not None and len(data) > limit:
                raise RefusedError("too_large", name)
            walk.feed(data)


def test_what_a_device_asks_for(rig):
    rig.add(ONE)
    device = Device(rig)
    assert device.walk(ONE)["hashes"]["sha256"] == digest(IMAGE)
    assert device.walk(OTHER) is None  # a bin that was never needed does not exist
    device.walk()
    assert [name for name, _ in device.asked] == ["timestamp.json"]
    rig.clock.now += 30 * 3600 * 1000
    assert rig.repository.keep_fresh()
    device.walk()
    assert [name for name, _ in device.asked] == ["timestamp.json"]  # signed again, nothing new
    rig.add(OTHER)
    assert device.walk(OTHER)["length"] == len(IMAGE)
    snapshot = rig.repository.published.version("snapshot")
    assert [name for name, _ in device.asked] == [
        "timestamp.json", f"{snapshot}.snapshot.json", f"1.{rig.role_for(OTHER)}.json",
    ]  # fmt: skip


def test_two_hundred_releases_stay_small(rig):
    targets = [f"app/{board}/1.{n}.0/app.img" for board in ("esp32", "rp2350") for n in range(100)]
    rig.add(*targets)
    device = Device(rig)
    device.walk()
    for path in targets[:3]:
        assert device.walk(path)["custom"]["kind"] == "app"
        assert sum(length for _, length in device.asked) < 8 * 1024
    assert max(len(rig.metadata(role)) for role in rig.repository.published.delegated()) < 5 * 1024
    assert len(rig.metadata("snapshot")) < 5 * 1024


def test_a_device_that_was_away_for_three_rotations_refuses_what_the_stolen_key_signed(rig):
    rig.add(ONE)
    device, new = Device(rig), CryptoSigner.generate_ecdsa()
    device.walk()
    second = rig.next_root(lambda root: None, [rig.root])
    third = rig.next_root(lambda root: None, [rig.root], after=second)
    rig.repository.publish({"2.root.json": second, "3.root.json": third})
    rig.repository.publish(online_rotated(rig, 4))
    rig.repository.publish(named(rig.with_release_key(new)))
    rig.clock.now += 3 * DAY_MS
    rig.open().keep_fresh()
    assert device.walk(ONE)["length"] == len(IMAGE)
    # Whoever has the old release key, and even the server's disk, but not the new keys:
    role = rig.role_for(ONE)
    stolen = signing.add_target(None, ONE, 4, digest(b"evil"), custom_for(ONE), [rig.release])
    version = rig.repository.published.version(role)
    evil = signing.read_targets(stolen)
    evil.signed.version = version
    (rig.repository.metadata / f"{version}.{role}.json").write_bytes(signing.sign(evil, [rig.release]))
    with pytest.raises(RefusedError):
        device.walk(ONE)


def test_what_devices_would_not_take_is_not_published(rig):
    """Each limit by itself: a bin, a root, and the snapshot of too many roles."""
    long = [f"app/sim/{n}.0.0/" + "x" * 64 for n in range(5000)]
    in_one = [path for path in long if rig.role_for(path) == "bin-07"][:130]
    rig.put(in_one[0])
    (role, data), = rig.added(*in_one).items()  # fmt: skip
    assert len(data) > LIMITS["targets"]
    for files in (named({role: data}), {"2.root.json": rig.next_root(_fat, [rig.root])}, _many_roles(rig)):
        before = {path.name for path in rig.repository.metadata.iterdir()}
        with pytest.raises(ApiError) as caught:
            rig.repository.publish(files)
        assert caught.value.code == "metadata_too_long"
        assert {path.name for path in rig.repository.metadata.iterdir()} == before
    (role, data), = rig.added(*in_one[:60]).items()  # fmt: skip
    assert rig.repository.publish(named({role: data}))
    assert Device(rig).walk(in_one[0])["length"] == len(IMAGE)


def _fat(root):
    root.unrecognized_fields["x"] = "x" * LIMITS["root"]


def _many_roles(rig):
    fine = signing.read_targets(rig.metadata("targets"))
    fine.signed.version += 1
    fine.signed.delegations.succinct_roles.bit_length = 8
    fine.signed.delegations.succinct_roles.number_of_bins = 256
    fine.signed.delegations.succinct_roles.suffix_len = 2
    empty = signing.renew(signing.remove_target(next(iter(rig.added(ONE).values())), ONE, [rig.release]), [rig.release])
    return named({"targets": signing.sign(fine, [rig.targets])} | {f"bin-{n:02x}": empty for n in range(150)})
