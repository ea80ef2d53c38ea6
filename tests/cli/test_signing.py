# SPDX-License-Identifier: MIT
"""Keys, releases and bundles against a real server without --dev, and what devices make of it."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commandline import Tool, app
from tuf.api.metadata import Metadata, MetaFile, TargetFile

from agent.crypto.verify import verify
from agent.errors import RefusedError
from agent.trust.walk import Walk
from live_server import live_server
from trueboot import mpy
from trueboot_server.repo import signing

PORTABLE = Path(__file__).parents[1] / "portable"


class House:
    """An organisation: a server's state, a folder of keys, and the command line."""

    def __init__(self, folder):
        self.state = folder / "fleet"
        self.keys = folder / "keys"
        self.tool = Tool(folder, TRUEBOOT_STATE=str(self.state), TRUEBOOT_KEYS=str(self.keys))
        self.metadata = self.state / "repo" / "metadata"
        first = subprocess.run(
            [sys.executable, "-m", "trueboot", "server", "--state", self.state, "--port", "0", "--mqtt-port", "0"],
            capture_output=True,
        )
        assert first.returncode == 78
        self.tool.ok("keys", "init", self.keys, "--online", self.state / "online.pub", "--no-password")
        shutil.copy(self.keys / "1.root.json", self.metadata)
        self.root = (self.keys / "1.root.json").read_bytes()

    def release(self, version, *options):
        folder = app(self.tool.folder / f"app-{version}", f"print({version!r})\n")
        return self.tool.ok("release", "add", folder, "--version", version, *options)

    def files(self):
        """What devices may fetch, as the server stores it."""
        return {path.name: path.read_bytes() for path in self.metadata.glob("*.json")}


def released(house):
    return [row["version"] for row in house.tool.ok("release", "ls")]


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    with live_server(made.state, dev=False):
        yield made


class Device:
    """What a device trusts, on CPython; `look` gives the SHA-256 of a release, None, or raises RefusedError."""

    def __init__(self, root):
        self.trusted = {"root": root}

    def look(self, files, path, now=None):
        walk = Walk(self.trusted, int(time.time()) if now is None else now, verify)
        try:
            self._feed(walk, files)
            walk.seek(path)
            self._feed(walk, files)
        finally:
            self.trusted |= dict(walk.take())
        return walk.target["hashes"]["sha256"] if walk.target else None

    def _feed(self, walk, files):
        while wanted := walk.wanted():
            walk.feed(files.get(wanted[0]))


def both_interpreters(devices, folder):
    """{name: verdicts}, the same from CPython and MicroPython; see release_driver."""
    lines = "".join(json.dumps(device) + "\n" for device in devices)
    (folder / "cases.ndjson").write_text(lines)
    code = "import release_driver; release_driver.main('cases.ndjson')"
    cpython = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True, timeout=120,
        env={**os.environ, "PYTHONPATH": f"{PORTABLE}:{Path(mpy.__file__).parents[2]}"},
    )  # fmt: skip
    found = dict(json.loads(line) for line in cpython.stdout.splitlines())
    mpy.build(folder / "board")
    mpy.compile_file(PORTABLE / "release_driver.py", folder / "board" / "release_driver.mpy", "release_driver.py")
    shutil.copy(folder / "cases.ndjson", folder / "board")
    micropython = subprocess.run(
        [*mpy.interpreter("2000k"), "-c", code], cwd=folder / "board", capture_output=True, text=True, timeout=300
    )
    assert micropython.returncode == 0, micropython.stdout + micropython.stderr
    assert dict(json.loads(line) for line in micropython.stdout.splitlines()) == found
    return found


def in_hex(files):
    return {name: data.hex() for name, data in files.items()}


@pytest.fixture
def micropython():
    if mpy.unavailable():
        pytest.skip(mpy.unavailable())


# -- releases


def test_only_the_release_key_is_needed_for_a_release(house):
    house.release("1.0.0")  # takes the first targets along
    for name in ("root.pem", "targets.pem", "1.targets.json"):
        (house.keys / name).rename(house.tool.folder / name)
    added = house.release("1.1.0", "--security", "2", "--requires", ">=1.0.0 <2.0.0", "--prerequisite", "1.0.0")
    row = house.tool.ok("release", "ls")[1]
    assert row["custom"] == {
        "kind": "app", "version": "1.1.0", "hardware": ["sim"], "security": 2, "size": added["length"],
        "requires": ">=1.0.0 <2.0.0", "prerequisite": "1.0.0",
    }  # fmt: skip
    assert house.release("1.1.0", "--security", "2", "--requires", ">=1.0.0 <2.0.0", "--prerequisite", "1.0.0") == added
    assert Device(house.root).look(house.files(), row["target"]) == added["sha256"]
    folder = house.tool.folder / "app-1.1.0"
    for options in (("--requires", "1.x"), ("--prerequisite", "1"), ("--security", "-1")):
        house.tool.refused("usage", "release", "add", folder, "--version", "1.2.0", *options, exit_code=2)
    house.tool.refused("release_exists", "release", "add", folder, "--version", "1.1.0")  # with other rules


def test_revoked_releases_are_refused_by_devices(house):
    path = house.release("1.0.0")["target"]
    other = house.release("1.1.0")
    device = Device(house.root)
    assert device.look(house.files(), path)
    house.tool.refused("not_confirmed", "release", "revoke", "1.0.0")
    house.tool.refused("release_unknown", "release", "revoke", "9.9.9", "--yes")
    assert device.look(house.files(), path)
    done = house.tool.run("release", "revoke", "1.0.0", "--yes")
    assert done.returncode == 0
    assert "keep it" in done.stderr
    assert device.look(house.files(), path) is None
    assert device.look(house.files(), other["target"]) == other["sha256"]
    assert released(house) == ["1.1.0"]


def test_somebody_else_publishes_in_between(house, monkeypatch):
    from trueboot import staging

    house.release("1.0.0")
    targets = (house.metadata / "1.targets.json").read_bytes()
    bin_of = {f"1.{n}.0": signing.role_for(targets, f"app/sim/1.{n}.0/app.img") for n in range(200)}
    mine, other = [version for version, role in bin_of.items() if role == bin_of["1.0.0"]][1:3]
    publish, others = staging.publish, []

    def slow(api, draft, keys, images=None):
        if not others:
            others.append(other)
            house.release(other)
        return publish(api, draft, keys, images)

    monkeypatch.setattr(staging, "publish", slow)
    assert house.release(mine)["role_version"] == 3
    assert sorted(released(house)) == sorted(["1.0.0", other, mine])


def test_two_of_three_sign_a_release_in_turn(house):
    house.release("1.0.0")
    for name in ("bob", "carol"):
        house.tool.ok("keys", "make", f"{name}.pem", "--no-password")
    house.tool.ok("keys", "add", "release", "bob.pub")
    done = house.tool.ok("keys", "add", "release", "carol.pub", "--threshold", "2")
    # What only one of them has signed no longer counts, so nothing is published before a second has.
    assert not done["published"]
    assert {lack["name"] for lack in done["lacking"]} >= {"2.bin-00.json"}
    house.tool.refused("signatures_missing", "keys", "publish")
    for path in sorted((house.keys / "staged/metadata").glob("*.bin-*.json")):
        assert house.tool.ok("keys", "sign", path, "--key", "bob.pem", "--yes")[0]["complete"]
    house.tool.ok("keys", "publish")
    assert not (house.keys / "staged").exists()

    folder = app(house.tool.folder / "app-2", "print(2)\n")
    house.tool.refused("signatures_missing", "release", "add", folder, "--version", "2.0.0")
    staged = house.tool.ok("release", "add", folder, "--version", "2.0.0", "--stage", "out")
    (lack,) = staged["lacking"]
    assert (lack["signed"], lack["threshold"]) == (1, 2)
    house.tool.refused("signatures_missing", "release", "publish", "out")
    file = house.tool.folder / "out" / "metadata" / lack["name"]
    reviewed = house.tool.run("release", "sign", file, "--key", "carol.pem", "--yes")
    assert reviewed.returncode == 0
    assert "adds       app/sim/2.0.0/app.img" in reviewed.stderr
    image = house.tool.folder / "out/targets/app/sim/2.0.0/app.img"
    good = image.read_bytes()
    image.write_bytes(good + b"x")
    house.tool.refused("metadata_invalid", "release", "publish", "out")
    image.write_bytes(good)
    before = released(house)
    assert "2.0.0" not in before
    late = file.read_bytes()
    house.tool.ok("release", "publish", "out")
    file.write_bytes(late)
    house.tool.refused("metadata_rollback", "release", "sign", file, "--key", "bob.pem", "--yes")  # it is out already
    assert set(released(house)) == {*before, "2.0.0"}
    assert Device(house.root).look(house.files(), "app/sim/2.0.0/app.img") == staged["sha256"]
    assert house.tool.ok("release", "publish", "out")["published"] == []  # again: nothing is new


# -- rotation


def test_every_role_is_rotated_while_a_release_is_out(house):
    path, sha256 = (house.release("1.0.0")[name] for name in ("target", "sha256"))
    device = Device(house.root)
    device.look(house.files(), path)
    for role in ("release", "targets", "root", "online"):
        done = house.tool.ok("keys", "rotate", role, "--no-password")
        assert done["published"], done
        assert device.look(house.files(), path) == sha256, role
        assert Device(house.root).look(house.files(), path) == sha256, role  # one that slept all the time
        assert house.tool.ok("keys", "renew")["renewed"] == ["root", "targets", "release"]
    house.release("1.1.0")
    shown = house.tool.ok("keys", "show")
    assert sorted(Path(name).name for name in shown["unused"]) == ["release.pem", "root.pem", "targets.pem"]
    assert shown["staged"] == []


def test_a_rotation_offline_is_published_as_one_set(house):
    path = house.release("1.0.0")["target"]
    house.tool.ok("keys", "rotate", "root", "--no-password", "--offline")
    done = house.tool.ok("keys", "rotate", "release", "--no-password", "--offline")
    assert done["files"] == ["2.root.json", "2.targets.json", "2.bin-00.json"]
    before = house.files()
    device = Device(house.root)
    device.look(before, path)
    assert house.tool.ok("keys", "publish")["published"]
    assert {"2.root.json", "2.targets.json", "2.bin-00.json"} <= set(house.files()) - set(before)
    assert device.look(house.files(), path)


def test_releases_that_were_published_while_a_rotation_was_staged(house):
    house.release("1.0.0")
    (house.tool.folder / "new").mkdir()
    house.tool.ok("keys", "rotate", "release", "--no-password", "--offline")
    # On another machine, with the old key.
    old = house.tool.folder / "old"
    shutil.copytree(house.keys, old, ignore=shutil.ignore_patterns("staged", "release-2.pem", "keys.json"))
    late = house.release("1.1.0", "--keys", old, "--hardware", "other")
    said = house.tool.run("keys", "publish")
    if said.returncode:  # both releases share a bin
        assert "[stage_stale]" in said.stderr
        for path in (house.keys / "staged/metadata").glob("*.bin-*"):
            path.unlink()
        house.tool.ok("keys", "publish")
    assert sorted(released(house)) == ["1.0.0", "1.1.0"]
    assert Device(house.root).look(house.files(), late["target"]) == late["sha256"]


# -- what the developer's machine remembers


def test_a_server_that_was_set_back_is_not_signed_over(house, tmp_path):
    house.release("1.0.0")
    old = tmp_path / "backup"
    shutil.copytree(house.metadata, old)
    house.release("1.1.0")
    house.tool.ok("keys", "renew", "release")
    house.tool.refused("metadata_rollback", "keys", "pull", "--repo", old, exit_code=77)
    (old / "timestamp.json").unlink()
    house.tool.refused("metadata_rollback", "keys", "pull", "--repo", old)
    # The online key is in the thief's hands too: a newer timestamp over the old snapshot, and over an old bin.
    online = signing.load_signer(house.state / "private" / "online.pem")
    for change in (old_snapshot, old_bin, no_bin):
        shutil.rmtree(old)
        shutil.copytree(house.metadata, old)
        change(old, online)
        house.tool.refused("metadata_rollback", "keys", "pull", "--repo", old)
    assert house.tool.ok("keys", "pull")["releases"] == 2


def test_a_real_server_that_was_set_back(tmp_path):
    house = House(tmp_path)
    folder = app(tmp_path / "app-2", "print(2)\n")
    with live_server(house.state, dev=False):
        house.release("1.0.0")
    shutil.copytree(house.metadata, tmp_path / "backup")
    with live_server(house.state, dev=False):
        house.release("1.1.0")
    shutil.rmtree(house.metadata)
    shutil.copytree(tmp_path / "backup", house.metadata)
    with live_server(house.state, dev=False):
        for verb in (
            ("release", "add", folder, "--version", "1.2.0"),
            ("release", "revoke", "1.0.0", "--yes"),
            ("keys", "rotate", "release", "--no-password"),
            ("keys", "renew"),
        ):
            house.tool.refused("metadata_rollback", *verb, exit_code=77)
        assert released(house) == ["1.0.0"]
        # Somebody who never looked has nothing to go by; the other keys of the same folder are as good as these.
        fresh = tmp_path / "fresh"
        shutil.copytree(house.keys, fresh, ignore=shutil.ignore_patterns("seen"))
        house.release("1.2.0", "--keys", fresh)
        house.tool.refused("metadata_rollback", "keys", "pull")


def test_another_server_than_that_of_the_keys(house, tmp_path):
    house.tool.ok("keys", "init", "others", "--online", house.state / "online.pub", "--no-password")
    folder = app(tmp_path / "app")
    said = house.tool.refused("key_not_authorised", "release", "add", folder, "--version", "1.0.0", "--keys", "others")
    assert "not those of this folder" in said
    assert not (tmp_path / "others" / "seen").exists()


def test_a_clock_or_a_server_that_stands_still(house, monkeypatch):
    from datetime import datetime, timedelta

    from trueboot import published

    house.release("1.0.0")

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=3)

    monkeypatch.setattr(published, "datetime", Later)
    folder = app(house.tool.folder / "app-2", "print(2)\n")
    said = house.tool.refused("metadata_expired", "release", "add", folder, "--version", "1.1.0")
    assert "timestamp" in said
    house.tool.ok("keys", "renew", "release")  # what is to put an end to it is not hindered


def test_keys_that_cannot_remember(house):
    house.release("1.0.0")
    shutil.rmtree(house.keys / "seen")
    (house.keys / "seen").write_text("")
    folder = app(house.tool.folder / "app-2", "print(2)\n")
    house.tool.refused("file_unusable", "release", "add", folder, "--version", "1.1.0")
    assert released(house) == ["1.0.0"]


def newest(folder, role):
    return max(folder.glob(f"*.{role}.json"), key=lambda path: int(path.name.partition(".")[0]))


def restamp(folder, online, snapshot):
    """The files that the online key signs, for these snapshot metadata."""
    data = signing.sign(snapshot, [online])
    (folder / f"{snapshot.signed.version}.snapshot.json").write_bytes(data)
    stamp = Metadata.from_file(str(folder / "timestamp.json"))
    stamp.signed.version += 10
    stamp.signed.snapshot_meta = MetaFile(snapshot.signed.version)
    (folder / "timestamp.json").write_bytes(signing.sign(stamp, [online]))


def old_snapshot(folder, online):
    snapshot = Metadata.from_file(str(newest(folder, "snapshot")))
    snapshot.signed.version -= 1
    restamp(folder, online, snapshot)


def old_bin(folder, online):
    snapshot = Metadata.from_file(str(newest(folder, "snapshot")))
    snapshot.signed.version += 1
    old = [name for name, meta in snapshot.signed.meta.items() if meta.version > 1]
    assert old
    snapshot.signed.meta[old[0]] = MetaFile(1)
    restamp(folder, online, snapshot)


def no_bin(folder, online):
    snapshot = Metadata.from_file(str(newest(folder, "snapshot")))
    snapshot.signed.version += 1
    for name in [name for name in snapshot.signed.meta if name.startswith("bin")]:
        del snapshot.signed.meta[name]
    restamp(folder, online, snapshot)


def later(data):
    """Well-formed, and no longer what was signed."""
    assert b'"expires":"20' in data
    return data.replace(b'"expires":"20', b'"expires":"21')


def test_what_does_not_verify_is_not_signed_over(house, tmp_path):
    house.release("1.0.0")
    shutil.rmtree(house.keys / "seen")
    folder = tmp_path / "copy"
    for role in ("timestamp", "snapshot", "targets", "bin-00"):
        for damage in (lambda data: data[:-20], lambda data: data[::-1], later, lambda data: b""):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(house.metadata, folder)
            path = folder / "timestamp.json" if role == "timestamp" else newest(folder, role)
            path.write_bytes(damage(path.read_bytes()))
            house.tool.refused("metadata_invalid", "keys", "pull", "--repo", folder)
            assert not (house.keys / "seen").exists()
    shutil.rmtree(folder)
    shutil.copytree(house.metadata, folder)
    house.tool.ok("keys", "pull", "--repo", folder)


def test_a_damaged_memory_is_told(house):
    house.release("1.0.0")
    path = house.keys / "seen" / "timestamp.json"
    path.write_bytes(path.read_bytes()[:-9])
    folder = app(house.tool.folder / "app")
    house.tool.refused("seen_damaged", "release", "add", folder, "--version", "1.1.0")
    assert released(house) == ["1.0.0"]


def test_metadata_that_expired_are_renewed(house):
    house.release("1.0.0")
    house.tool.ok("keys", "renew", "--days", "1", "--root-days", "1")
    assert house.tool.ok("keys", "renew", "--within", "30")["renewed"] == ["root", "targets", "release"]
    shown = house.tool.ok("keys", "show")["roles"]
    assert [shown[role]["days"] for role in ("root", "targets", "release")] == [3650, 365, 365]


# -- bundles


def test_bundles_on_both_interpreters(house, tmp_path, micropython):
    release = house.release("1.0.0", "--requires", ">=0.5.0")
    made = house.tool.ok("bundle", "make", "1.0.0", "-o", "one.bundle")
    assert made["sha256"] == release["sha256"]
    house.tool.refused("file_exists", "bundle", "make", "1.0.0", "-o", "one.bundle")
    for role in ("root", "release", "online"):
        house.tool.ok("keys", "rotate", role, "--no-password")
    house.tool.ok("bundle", "make", release["target"], "-o", "two.bundle")
    house.tool.ok("bundle", "make", "1.0.0", "-o", "copy.bundle", "--repo", house.state / "repo")
    house.tool.ok("bundle", "make", "1.0.0", "-o", "later.bundle", "--root", house.metadata / "2.root.json")
    two = (tmp_path / "two.bundle").read_bytes()
    assert (tmp_path / "copy.bundle").read_bytes() == two == (tmp_path / "later.bundle").read_bytes()
    shown = house.tool.ok("bundle", "show", "two.bundle")
    assert [entry["name"] for entry in shown["entries"]][:3] == ["2.root.json", "3.root.json", "timestamp.json"]
    assert shown["custom"]["requires"] == ">=0.5.0"

    root = house.keys / "1.root.json"
    for name in ("one", "two"):
        assert house.tool.ok("bundle", "verify", f"{name}.bundle", "--root", root)["sha256"] == release["sha256"]
    assert house.tool.ok(
        "bundle", "verify", "two.bundle", "--root", root, "--running", "0.9.0", "--hardware", "sim"
    )["rules"] == "checked"  # fmt: skip
    for running, hardware, code in (("0.1.0", "sim", "release_requires"), ("0.9.0", "toaster", "release_hardware")):
        said = house.tool.refused(
            "bundle_refused", "bundle", "verify", "two.bundle", "--root", root,
            "--running", running, "--hardware", hardware,
        )  # fmt: skip
        assert code in said
    house.tool.refused("usage", "bundle", "verify", "two.bundle", "--root", root, "--running", "1.0.0")

    damaged = {
        "cut": two[:-1],
        "long": two + b"x",
        "image": two[:-1] + bytes([two[-1] ^ 1]),
        "head": b"x" + two[1:],
        "signature": two.replace(b'"sig":"', b'"sig":"00', 1),
        "headless": two[: two.index(b"target:") - 5],
        "empty": b"",
    }
    for name, data in damaged.items():
        (tmp_path / name).write_bytes(data)
        done = house.tool.run("bundle", "verify", name, "--root", root)
        assert done.returncode == 1, name
        assert "[bundle_refused]" in done.stderr or "[bundle_invalid]" in done.stderr, (name, done.stderr)
    for name in ("cut", "long", "head", "headless", "empty"):
        house.tool.refused("bundle_invalid", "bundle", "show", name)
    house.tool.refused("file_unusable", "bundle", "show", "nowhere")
    house.tool.refused("release_unknown", "bundle", "make", "9.9.9", "-o", "x")

    names = {"one": tmp_path / "one.bundle", "two": tmp_path / "two.bundle"}
    names |= {name: tmp_path / name for name in damaged if name != "long"}
    now = int(time.time())
    cases = [
        {"name": name, "root": house.root.hex(), "now": now, "visits": [{"bundle": str(path)}]}
        for name, path in names.items()
    ]
    cases.append({"name": "stranger", "root": signing_stranger().hex(), "now": now, "visits": cases[1]["visits"]})
    far = now + 20 * 86400  # the timestamp has expired, and counts no more
    cases.append({"name": "later", "root": house.root.hex(), "now": far, "visits": cases[1]["visits"]})
    found = both_interpreters(cases, tmp_path)
    assert found["one"] == found["two"] == found["later"] == [release["sha256"]]
    for name in (*damaged, "stranger"):
        if name != "long":
            assert len(found[name][0]) < 64, name


def signing_stranger():
    """A root that leads nowhere near."""
    from securesystemslib.signer import CryptoSigner

    one, two, three = (CryptoSigner.generate_ecdsa() for _ in range(3))
    return signing.new_root([one], [two.public_key], three.public_key)


# -- the story of a stolen key


def test_a_stolen_release_key_is_worth_nothing_to_a_device_that_slept_through_three_root_rotations(
    house, tmp_path, micropython
):
    house.release("1.0.0")
    asleep = house.files()  # what the device saw last
    stolen = tmp_path / "stolen"
    shutil.copytree(house.keys, stolen)

    # The owners: a new release key, and three new roots, one of which also replaces the key that named the old one.
    evil_in_time = house.release("6.6.5", "--keys", stolen)["target"]
    kept = house.tool.ok("keys", "rotate", "release", "--no-password", "--drop", evil_in_time)["releases"]
    assert kept == ["app/sim/1.0.0/app.img"]
    for role in ("root", "targets", "root", "root"):
        house.tool.ok("keys", "rotate", role, "--no-password")
    good = house.release("1.1.0")
    assert "5.root.json" in house.files()

    # The thief: with the command line first, then with the server and its online key.
    folder = app(tmp_path / "evil", "print('evil')\n")
    house.tool.refused("key_not_authorised", "release", "add", folder, "--version", "6.6.6", "--keys", stolen)
    thief = signing.load_signer(stolen / "release.pem")
    online = signing.load_signer(house.state / "private" / "online.pem")
    evil = "app/sim/6.6.6/app.img"
    attacks = {
        "a bin by the stolen key": forged(house.files(), evil, thief, online),
        "and the old delegation with it": forged(house.files(), evil, thief, online, asleep["1.targets.json"]),
    }
    now = int(time.time())
    first = {"files": in_hex(asleep), "path": "app/sim/1.0.0/app.img"}
    cases = [
        {
            "name": name,
            "root": house.root.hex(),
            "now": now,
            "visits": [
                first,
                {"files": in_hex(files), "path": evil},
                {"files": in_hex(house.files()), "path": good["target"]},
            ],
        }
        for name, files in attacks.items()
    ]
    honest = [{"files": in_hex(house.files()), "path": path} for path in (good["target"], evil, evil_in_time)]
    cases.append({"name": "honest", "root": house.root.hex(), "now": now, "visits": [first, *honest]})
    found = both_interpreters(cases, tmp_path)
    for name in attacks:
        before, attacked, after = found[name]
        assert len(before) == 64, name
        assert attacked == "metadata_signature", name
        assert after in (good["sha256"], "metadata_version"), name  # a thief with the server may still stop the updates
    assert found["honest"][1:] == [good["sha256"], "none", "none"]


def forged(files, path, thief, online, targets=None):
    """A repository in which a bin by the stolen key names the thief's image; snapshot and timestamp are in order."""
    stamp = Metadata.from_bytes(files["timestamp.json"])
    snapshot = Metadata.from_bytes(files[f"{stamp.signed.snapshot_meta.version}.snapshot.json"])
    if targets is not None:
        version = snapshot.signed.meta["targets.json"].version + 1
        old = Metadata.from_bytes(targets)
        snapshot.signed.meta["targets.json"] = MetaFile(old.signed.version)
        files = files | {f"{old.signed.version}.targets.json": targets}
        assert version > old.signed.version
    newest_targets = Metadata.from_bytes(files[f"{snapshot.signed.meta['targets.json'].version}.targets.json"])
    role = newest_targets.signed.delegations.succinct_roles.get_role_for_target(path)
    listed = snapshot.signed.meta.get(f"{role}.json")
    version = (listed.version if listed else 0) + 1
    custom = {"kind": "app", "version": "6.6.6", "hardware": ["sim"], "security": 0, "size": 9}
    data = signing.add_target(None, path, 9, "ab" * 32, custom, [thief])
    bin_md = Metadata.from_bytes(data)
    bin_md.signed.version = version
    assert isinstance(bin_md.signed.targets[path], TargetFile)
    snapshot.signed.meta[f"{role}.json"] = MetaFile(version)
    snapshot.signed.version += 1
    stamp.signed.version += 1
    stamp.signed.snapshot_meta = MetaFile(snapshot.signed.version)
    return files | {
        f"{version}.{role}.json": signing.sign(bin_md, [thief]),
        f"{snapshot.signed.version}.snapshot.json": signing.sign(snapshot, [online]),
        "timestamp.json": signing.sign(stamp, [online]),
    }


def test_a_forged_bin_is_taken_while_the_stolen_key_still_counts(house):
    """The attack of the story is a real one: without a rotation it succeeds."""
    house.release("1.0.0")
    thief = signing.load_signer(house.keys / "release.pem")
    online = signing.load_signer(house.state / "private" / "online.pem")
    evil = "app/sim/6.6.6/app.img"
    files = forged(house.files(), evil, thief, online)
    assert Device(house.root).look(files, evil) == "ab" * 32
    house.tool.ok("keys", "rotate", "release", "--no-password")
    with pytest.raises(RefusedError) as refused:
        Device(house.root).look(forged(house.files(), evil, thief, online), evil)
    assert refused.value.code == "metadata_signature"
