# SPDX-License-Identifier: MIT
"""Folders of keys and ceremonies, with no server anywhere."""

import base64
import json
import os
import pty
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commandline import Tool, app
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tuf.api.metadata import Metadata

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def made_before(tmp_path_factory):
    """A folder with an online key and encrypted keys: to stretch a password takes its time."""
    made = Tool(tmp_path_factory.mktemp("keys"), TRUEBOOT_KEY_PASSWORD=PASSWORD)
    made.ok("keys", "make", "online.pem", "--no-password")
    init(made, "keys")
    return made.folder


@pytest.fixture
def tool(tmp_path, made_before):
    for name in ("online.pem", "online.pub"):
        shutil.copy2(made_before / name, tmp_path)
    return Tool(tmp_path, TRUEBOOT_KEY_PASSWORD=PASSWORD)


@pytest.fixture
def keys(tool, made_before):
    return Path(shutil.copytree(made_before / "keys", tool.folder / "keys"))


def init(tool, name, *options):
    tool.ok("keys", "init", name, "--online", "online.pub", *options)
    return tool.folder / name


def staged(keys, name):
    return Metadata.from_file(str(keys / "staged" / "metadata" / name))


def root_of(keys, version=1):
    return Metadata.from_file(
        str(keys / f"{version}.root.json" if version == 1 else keys / "staged/metadata" / f"{version}.root.json")
    )


# -- the folder


def test_the_folder_and_its_private_files_are_the_owners_alone(keys):
    assert keys.stat().st_mode & 0o777 == 0o700
    for name in ("root.pem", "targets.pem", "release.pem", "keys.json"):
        assert (keys / name).stat().st_mode & 0o777 == 0o600, name
    assert {path.name for path in keys.iterdir()} == {
        "root.pem", "targets.pem", "release.pem", "keys.json", "1.root.json", "1.targets.json",
    }  # fmt: skip


def test_private_keys_are_encrypted_unless_told_otherwise(tool, keys):
    for name in ("root.pem", "targets.pem", "release.pem"):
        data = (keys / name).read_bytes()
        assert b"BEGIN ENCRYPTED PRIVATE KEY" in data
        with pytest.raises((TypeError, ValueError)):
            load_pem_private_key(data, None)
        with pytest.raises(ValueError):
            load_pem_private_key(data, b"wrong")
        assert load_pem_private_key(data, PASSWORD.encode())
    plain = init(tool, "plain", "--no-password")
    assert load_pem_private_key((plain / "root.pem").read_bytes(), None)


def test_a_password_is_stretched_by_many_rounds(keys):
    lines = (keys / "root.pem").read_text().splitlines()
    der = base64.b64decode("".join(lines[1:-1]))
    assert bytes.fromhex("0203") + (600_000).to_bytes(3, "big") in der


@pytest.mark.parametrize("key_type", ["ecdsa", "ed25519", "rsa"])
def test_key_types(tool, key_type):
    keys = init(tool, "keys", "--key-type", key_type)
    root = root_of(keys)
    root.verify_delegate("root", root)
    root.verify_delegate("targets", Metadata.from_file(str(keys / "1.targets.json")))
    shown = tool.ok("keys", "show", keys)["roles"]
    assert [shown[role]["keys"][0]["type"] for role in ("root", "targets", "release")] == [key_type] * 3


def test_bins(tool):
    keys = init(tool, "keys", "--bits", "3")
    delegations = Metadata.from_file(str(keys / "1.targets.json")).signed.delegations
    assert delegations.succinct_roles.bit_length == 3
    assert delegations.succinct_roles.name_prefix == "bin"


def test_password_from_a_file_and_wrong_passwords(tool, keys):
    (tool.folder / "right").write_text(PASSWORD + "\n")
    (tool.folder / "wrong").write_text("guess\n")
    done = tool.ok("keys", "renew", "root", "--keys", keys, "--password-file", "right", TRUEBOOT_KEY_PASSWORD="")
    assert done["files"] == ["2.root.json", "1.targets.json"]
    shutil.rmtree(keys / "staged")
    for how in ({"TRUEBOOT_KEY_PASSWORD": "guess"}, {}):
        options = () if how else ("--password-file", "wrong")
        said = tool.refused("password_wrong", "keys", "renew", "root", "--keys", keys, *options, exit_code=77, **how)
        assert "root.pem" in said and "guess" not in said
    said = tool.refused("password_missing", "keys", "renew", "root", "--keys", keys, TRUEBOOT_KEY_PASSWORD="")
    assert "TRUEBOOT_KEY_PASSWORD" in said
    (tool.folder / "empty").write_text("\n")
    tool.refused("file_unusable", "keys", "renew", "root", "--keys", keys, "--password-file", "empty")
    tool.refused("file_unusable", "keys", "renew", "root", "--keys", keys, "--password-file", "absent")
    assert not (keys / "staged").exists()


def test_no_password_and_nobody_to_ask(tool):
    said = tool.refused("password_missing", "keys", "init", "k", "--online", "online.pub", TRUEBOOT_KEY_PASSWORD="")
    assert "--no-password" in said
    assert not (tool.folder / "k").exists()


def at_terminal(tool, arguments, answers):
    """(exit code, what the terminal shows); `answers` are typed, each when a prompt asks for it."""
    primary, secondary = pty.openpty()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TRUEBOOT_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "trueboot", *arguments],
        stdin=secondary, stdout=secondary, stderr=secondary, cwd=tool.folder, env=clean, start_new_session=True,
        preexec_fn=take_terminal,
    )  # fmt: skip
    os.close(secondary)
    shown, waiting = "", list(answers)
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            try:
                piece = os.read(primary, 4096).decode()
            except OSError:  # the other side is closed
                break
            shown += piece
            if waiting and shown.rstrip(" ").endswith((":", "[y/N]")):
                os.write(primary, waiting.pop(0).encode())
                shown += "\n"
        return process.wait(20), shown
    finally:
        process.kill()
        os.close(primary)


def take_terminal():
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_person_types_the_password_twice_and_it_is_not_shown(tool):
    init_it = ["keys", "init", "k", "--online", "online.pub"]
    code, shown = at_terminal(tool, init_it, ["one\n", "two\n"])
    assert (code, "[password_wrong]" in shown) == (77, True)
    assert not (tool.folder / "k").exists()
    code, shown = at_terminal(tool, init_it, ["my secret\n", "my secret\n"])
    assert code == 0, shown
    assert "my secret" not in shown
    assert load_pem_private_key((tool.folder / "k" / "root.pem").read_bytes(), b"my secret")
    code, shown = at_terminal(tool, ["keys", "renew", "root", "--keys", "k"], ["no\n", "my secret\n"])
    assert code == 0, shown
    code, shown = at_terminal(tool, ["keys", "renew", "root", "--keys", "k"], ["no\n", "no\n", "no\n"])
    assert (code, "[password_wrong]" in shown) == (77, True)


def test_ctrl_c_at_a_prompt_is_quiet_and_leaves_nothing(tool):
    code, shown = at_terminal(tool, ["keys", "init", "k", "--online", "online.pub"], ["\x03"])
    assert code not in (0, None)
    assert "Traceback" not in shown
    assert sorted(path.name for path in tool.folder.iterdir()) == ["online.pem", "online.pub"]


def test_nothing_is_overwritten(tool, keys):
    before = {path.name: path.read_bytes() for path in keys.iterdir()}
    tool.refused("keys_exist", "keys", "init", keys, "--online", "online.pub")
    (tool.folder / "other").mkdir()
    (tool.folder / "other" / "thesis.txt").write_text("do not lose me")
    tool.refused("keys_exist", "keys", "init", "other", "--online", "online.pub")
    tool.refused("file_exists", "keys", "make", "online.pem", "--no-password")
    (tool.folder / "bob.pub").write_text("")
    tool.refused("file_exists", "keys", "make", "bob.pem", "--no-password")
    assert not (tool.folder / "bob.pem").exists()
    assert before == {path.name: path.read_bytes() for path in keys.iterdir()}


def test_keys_of_a_scheme_that_is_not_known(tool, keys):
    table = json.loads((keys / "keys.json").read_text())
    table["roles"]["root"][0]["uri"] = "pkcs11:token=root;object=key"
    (keys / "keys.json").write_text(json.dumps(table))
    said = tool.refused("key_scheme", "keys", "renew", "root", "--keys", keys)
    assert "pkcs11:token=root" in said and "file:" in said
    # What does not need that key goes on.
    assert tool.ok("keys", "renew", "targets", "--keys", keys)["files"] == ["1.targets.json"]
    assert tool.ok("keys", "show", keys)["roles"]["root"]["keys"][0]["file"] == "pkcs11:token=root;object=key"


def test_a_key_may_lie_elsewhere(tool, keys):
    (keys / "root.pem").rename(tool.folder / "stick.pem")
    assert "not here" in tool.run("keys", "show", keys).stdout
    tool.refused("key_not_authorised", "keys", "renew", "root", "--keys", keys)
    done = tool.ok("keys", "renew", "root", "--keys", keys, "--key", "stick.pem")
    assert done["lacking"] == []


@pytest.mark.parametrize(
    "name, damage, code",
    [
        ("keys.json", b"{", "file_unusable"),
        ("keys.json", b'{"format": 2, "roles": {}}', "file_unusable"),
        ("keys.json", b'{"format": 1, "roles": []}', "file_unusable"),
        ("root.pem", b"", "key_unusable"),
        ("root.pem", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "key_unusable"),
        ("1.root.json", b"", "metadata_invalid"),
        ("1.root.json", b"\x00\xff", "metadata_invalid"),
        ("1.root.json", b"[[[[", "metadata_invalid"),
        ("1.root.json", b'{"signed": {}, "signatures": []}', "metadata_invalid"),
        ("1.targets.json", b"{}", "metadata_invalid"),
    ],
)
def test_damage_is_told_in_one_line(tool, keys, name, damage, code):
    (keys / name).write_bytes(damage)
    tool.refused(code, "keys", "renew", "--keys", keys)


def test_a_server_that_was_named_is_not_passed_over(tool, keys):
    tool.refused("server_unknown", "keys", "renew", "--keys", keys, "--state", "nowhere")
    tool.refused("server_unknown", "keys", "renew", "--keys", keys, TRUEBOOT_STATE="nowhere")
    tool.refused("server_unknown", "keys", "publish", keys)
    assert not (keys / "staged").exists()


def test_files_swapped_with_those_of_another_folder(tool, keys):
    other = init(tool, "other")
    shutil.copy(other / "root.pem", keys / "root.pem")
    tool.refused("key_unusable", "keys", "renew", "root", "--keys", keys)


@pytest.mark.parametrize("name", ["keys.json", "1.root.json", "1.targets.json"])
def test_files_that_cannot_be_read(tool, keys, name):
    (keys / name).unlink()
    (keys / name).mkdir()
    tool.refused("file_unusable", "keys", "renew", "--keys", keys)


def test_keys_for_devices_only(tool):
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    for number, key in enumerate((ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 1024))):
        path = tool.folder / f"{number}.pub"
        path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        tool.refused("key_unusable", "keys", "init", "k", "--online", path)


def test_a_key_has_one_role(tool, keys):
    said = tool.refused("usage", "keys", "add", "release", "online.pub", "--keys", keys)
    assert "two roles" in said
    assert not (keys / "staged").exists()


def test_wrong_words(tool, keys):
    tool.refused("usage", "keys", "rotate", "snapshot", "--keys", keys)
    tool.refused("usage", "keys", "rotate", "online", "--keys", keys)
    tool.refused("usage", "keys", "init", "k", "--online", "online.pub", "--key-type", "dsa")
    tool.refused("usage", "keys", "init", "k", "--online", "online.pub", "--root-threshold", "2")
    tool.refused("usage", "keys", "remove", "root", "0000", "--keys", keys)
    keyid = tool.ok("keys", "show", keys)["roles"]["root"]["keys"][0]["keyid"]
    tool.refused("usage", "keys", "remove", "root", keyid, "--keys", keys)
    tool.refused("keys_missing", "keys", "show", "nowhere")
    keys.rename(tool.folder / "elsewhere")
    tool.refused("keys_missing", "keys", "show")


# -- ceremonies


def holders(tool, names, *options):
    for name in names:
        tool.ok("keys", "make", f"{name}.pem", *options)
    return [tool.folder / f"{name}.pub" for name in names]


def test_two_of_three_root_keys_sign_in_turn_on_machines_apart(tool):
    """Alice's folder has one root key; Bob and Carol each hold theirs on a machine of their own."""
    bob, carol = holders(tool, ("bob", "carol"))
    keys = init(tool, "keys", "--root", bob, "--root", carol, "--root-threshold", "2")
    said = tool.refused("signatures_missing", "keys", "rotate", "release", "--keys", keys)
    assert "1.root.json has 1 of 2" in said
    assert tool.ok("keys", "show", keys)["lacking"][0]["name"] == "1.root.json"
    done = tool.ok("keys", "sign", keys / "1.root.json", "--key", "bob.pem", "--yes")
    assert done[0]["complete"]
    root = root_of(keys)
    root.verify_delegate("root", root)

    done = tool.ok("keys", "rotate", "targets", "--keys", keys)
    assert done["published"] is False
    assert [(lack["name"], lack["signed"], lack["threshold"]) for lack in done["lacking"]] == [
        ("2.root.json", 1, 2)
    ] * 2
    air_gapped = tool.folder / "stick"
    shutil.copytree(keys / "staged" / "metadata", air_gapped)
    carols = Tool(tool.folder / "carol", TRUEBOOT_KEY_PASSWORD=PASSWORD)
    carols.folder.mkdir()
    shutil.move(tool.folder / "carol.pem", carols.folder)
    carols.refused("context_missing", "keys", "sign", air_gapped / "2.root.json", "--key", "carol.pem", "--yes")
    shutil.copy(keys / "1.root.json", air_gapped)
    carols.refused("not_confirmed", "keys", "sign", air_gapped / "2.root.json", "--key", "carol.pem")
    done = carols.run("keys", "sign", air_gapped / "2.root.json", "--key", "carol.pem", "--yes")
    assert done.returncode == 0, done.stderr
    assert "targets" in done.stderr and "+" in done.stderr and "-" in done.stderr  # what changes is shown
    shutil.copy(air_gapped / "2.root.json", keys / "staged" / "metadata")
    second = root_of(keys, 2)
    root.verify_delegate("root", second)
    second.verify_delegate("root", second)
    second.verify_delegate("targets", staged(keys, "1.targets.json"))
    assert tool.ok("keys", "show", keys)["lacking"] == []


def test_strangers_sign_nothing(tool, keys):
    tool.ok("keys", "renew", "root", "--keys", keys)
    path = keys / "staged" / "metadata" / "2.root.json"
    before = path.read_bytes()
    eve = Tool(tool.folder / "eve", TRUEBOOT_KEY_PASSWORD=PASSWORD)
    eve.folder.mkdir()
    holders(eve, ("eve",))
    said = eve.refused("key_not_authorised", "keys", "sign", path, "--key", "eve.pem", "--yes")
    assert "takes one of" in said
    assert path.read_bytes() == before


def test_a_holder_signs_nothing_that_rests_on_what_does_not_verify(tool):
    (bob,) = holders(tool, ("bob",), "--no-password")
    keys = init(tool, "keys", "--root", bob, "--root-threshold", "2", "--no-password")
    half = (keys / "1.root.json").read_bytes()
    tool.ok("keys", "sign", keys / "1.root.json", "--key", "bob.pem", "--yes")
    tool.ok("keys", "rotate", "targets", "--keys", keys, "--no-password")
    stick = tool.folder / "stick"
    shutil.copytree(keys / "staged" / "metadata", stick)
    bobs = Tool(tool.folder / "bobs")
    bobs.folder.mkdir()
    shutil.move(tool.folder / "bob.pem", bobs.folder)
    for before in (half, half[:-30], b"{}"):
        (stick / "1.root.json").write_bytes(before)
        bobs.refused("metadata_invalid", "keys", "sign", stick / "2.root.json", "--key", "bob.pem", "--yes")
    # The targets rest on a root that Bob has not signed yet.
    shutil.copy(keys / "1.root.json", stick)
    bobs.refused("metadata_invalid", "keys", "sign", stick / "1.targets.json", "--key", "bob.pem", "--yes")
    bobs.ok("keys", "sign", stick / "2.root.json", "--key", "bob.pem", "--yes")
    bobs.refused("key_not_authorised", "keys", "sign", stick / "1.targets.json", "--key", "bob.pem", "--yes")
    bobs.refused("usage", "keys", "sign", stick / "timestamp.json", "--key", "bob.pem", "--yes")
    bobs.refused("file_unusable", "keys", "sign", stick / "9.root.json", "--key", "bob.pem", "--yes")


def test_a_root_that_others_must_sign_is_amended_and_one_that_is_complete_is_followed(tool, keys):
    (bob,) = holders(tool, ("bob",))
    assert tool.ok("keys", "add", "root", bob, "--threshold", "2", "--keys", keys)["lacking"]
    assert tool.ok("keys", "rotate", "targets", "--keys", keys)["files"] == ["2.root.json", "1.targets.json"]
    assert tool.ok("keys", "show", keys)["lacking"]
    tool.ok("keys", "sign", keys / "staged/metadata/2.root.json", "--key", "bob.pem", "--yes", "--keys", keys)
    assert tool.ok("keys", "show", keys)["lacking"] == []
    again = tool.ok("keys", "renew", "root", "--keys", keys)
    assert again["files"] == ["2.root.json", "3.root.json", "1.targets.json"]
    assert {lack["threshold"] for lack in again["lacking"]} == {2}


def test_each_root_is_signed_by_the_keys_before_and_its_own(tool, keys):
    first = root_of(keys)
    for version in (2, 3, 4):
        tool.ok("keys", "rotate", "root", "--keys", keys)
        following = root_of(keys, version)
        first.verify_delegate("root", following)
        following.verify_delegate("root", following)
        assert not set(first.signed.roles["root"].keyids) & set(following.signed.roles["root"].keyids)
        first = following
    assert len(tool.ok("keys", "show", keys)["unused"]) == 3


def test_holders_come_and_go(tool, keys):
    bob, carol = holders(tool, ("bob", "carol"))
    tool.refused("usage", "keys", "add", "release", bob, "--threshold", "3", "--keys", keys)
    tool.ok("keys", "add", "release", bob, "--keys", keys)
    tool.ok("keys", "add", "release", carol, "--threshold", "2", "--keys", keys)
    roles = staged(keys, "1.targets.json").signed.delegations.succinct_roles
    assert (len(roles.keyids), roles.threshold) == (3, 2)
    gone = roles.keyids[1]
    tool.ok("keys", "remove", "release", gone[:8], "--keys", keys)
    signed = staged(keys, "1.targets.json").signed
    assert gone not in signed.delegations.succinct_roles.keyids and gone not in signed.delegations.keys
    tool.refused("usage", "keys", "add", "release", bob, "--threshold", "9", "--keys", keys)


def test_expiry_and_renewal(tool):
    keys = init(tool, "keys", "--root-days", "30", "--days", "10")
    shown = tool.ok("keys", "show", keys)["roles"]
    assert (shown["root"]["days"], shown["targets"]["days"]) == (30, 10)
    assert tool.ok("keys", "renew", "--within", "5", "--keys", keys)["renewed"] == []
    assert tool.ok("keys", "renew", "--within", "20", "--keys", keys)["renewed"] == ["targets"]
    assert tool.ok("keys", "renew", "--keys", keys)["renewed"] == ["root", "targets"]
    shown = tool.ok("keys", "show", keys)["roles"]
    assert (shown["root"]["days"], shown["targets"]["days"]) == (3650, 365)


def test_staged_files_that_are_damaged_or_misnamed(tool, keys):
    tool.ok("keys", "renew", "--keys", keys)
    folder = keys / "staged" / "metadata"
    good = (folder / "2.root.json").read_bytes()
    (folder / "2.root.json").write_bytes(good[:100])
    tool.refused("metadata_invalid", "keys", "show", keys)
    (folder / "2.root.json").write_bytes(good)
    shutil.copy(folder / "2.root.json", folder / "3.root.json")
    tool.refused("metadata_invalid", "keys", "show", keys)
    (folder / "3.root.json").unlink()
    (folder / "notes.json").write_text("{}")
    tool.refused("usage", "keys", "show", keys)


def test_release_staged_with_nothing_but_the_first_metadata(tool, keys):
    """A developer's laptop in a plane: no server was ever asked."""
    done = tool.ok(
        "release", "add", app(tool.folder / "app"), "--version", "1.0.0", "--stage", "out", "--offline", "--keys", keys
    )
    assert done["lacking"] == []
    assert sorted(path.name for path in (tool.folder / "out/metadata").iterdir()) == ["1.bin-00.json", "1.targets.json"]
    assert (tool.folder / "out/targets/app/sim/1.0.0/app.img").is_file()
