# SPDX-License-Identifier: MIT
"""Signing without a server: keys with and without a password, bins, thresholds, several people one after another."""

import os

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from repository_rig import custom_for
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Targets

from trueboot_server.repo import paths, signing

PATH = "app/sim/1.1.0/app.img"
CUSTOM = custom_for(PATH)


def key():
    return CryptoSigner.generate_ecdsa()


def test_keys_are_made_private_and_never_overwritten(tmp_path):
    path = tmp_path / "key.pem"
    signer = signing.make_key(path)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert signing.load_signer(path).public_key.keyid == signer.public_key.keyid == signing.load_public(path).keyid
    assert signing.load_signer(path, b"needless").public_key.keyid == signer.public_key.keyid
    (tmp_path / "pub.pem").write_bytes(signing.public_pem(signer))
    assert signing.load_public(tmp_path / "pub.pem").keyid == signer.public_key.keyid
    with pytest.raises(signing.SigningError, match="never overwritten"):
        signing.make_key(path)
    for junk in (b"junk", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        path.write_bytes(junk)
        for load in (signing.load_signer, signing.load_public):
            with pytest.raises(signing.SigningError):
                load(path)
    with pytest.raises(signing.SigningError, match="cannot be read"):
        signing.load_signer(tmp_path / "none.pem")


def test_a_key_with_a_password_opens_with_that_password_only(tmp_path):
    path = tmp_path / "key.pem"
    signer = signing.make_key(path, b"open sesame")
    assert b"ENCRYPTED PRIVATE KEY" in path.read_bytes() and os.stat(path).st_mode & 0o777 == 0o600
    assert signing.load_signer(path, b"open sesame").public_key.keyid == signer.public_key.keyid
    with pytest.raises(signing.PasswordNeeded, match="needs a password"):
        signing.load_signer(path)
    with pytest.raises(signing.PasswordNeeded, match="does not open"):
        signing.load_signer(path, b"wrong")
    with pytest.raises(signing.SigningError):
        signing.load_public(path)


@pytest.mark.parametrize(
    "private, keytype, scheme",
    [
        (ec.generate_private_key(ec.SECP256R1()), "ecdsa", "ecdsa-sha2-nistp256"),
        (ed25519.Ed25519PrivateKey.generate(), "ed25519", "ed25519"),
        (rsa.generate_private_key(65537, 2048), "rsa", "rsassa-pss-sha256"),
    ],
)
def test_every_key_type_that_devices_verify_signs_every_role(tmp_path, private, keytype, scheme):
    file, public = tmp_path / "key.pem", tmp_path / "pub.pem"
    file.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    signer = signing.load_signer(file)
    assert (signer.public_key.keytype, signer.public_key.scheme) == (keytype, scheme)
    known = signing.load_public(public)
    root = signing.read(signing.new_root([signer], [known], known), Root)
    root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
    targets = signing.read_targets(signing.new_targets([signer], [known]))
    root.signed.verify_delegate("targets", targets.signed_bytes, targets.signatures)
    role = signing.read_targets(signing.add_target(None, PATH, 10, "0" * 64, CUSTOM, [signer]))
    name = signing.role_for(signing.to_bytes(targets), PATH)
    targets.signed.verify_delegate(name, role.signed_bytes, role.signatures)


def test_keys_that_devices_do_not_verify_are_refused(tmp_path):
    for number, private in enumerate(
        (
            ec.generate_private_key(ec.SECP384R1()),
            rsa.generate_private_key(65537, 1024),
            x25519.X25519PrivateKey.generate(),
        )
    ):
        file, public = tmp_path / f"{number}.pem", tmp_path / f"{number}.pub"
        file.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        with pytest.raises(signing.SigningError):
            signing.load_signer(file)
        with pytest.raises(signing.SigningError):
            signing.load_public(public)


def test_targets_are_added_removed_and_renewed_without_a_server():
    signer = key()
    first = signing.add_target(None, PATH, 10, "0" * 64, CUSTOM, [signer])
    second = signing.add_target(first, "app/sim/1.2.0/x", 10, "1" * 64, custom_for("app/sim/1.2.0/x"), [signer])
    third = signing.remove_target(second, PATH, [signer])
    fourth = signing.renew(third, [signer])
    found = [Metadata[Targets].from_bytes(data).signed for data in (first, second, third, fourth)]
    assert [signed.version for signed in found] == [1, 2, 3, 4]
    assert [len(signed.targets) for signed in found] == [1, 2, 1, 1]
    with pytest.raises(signing.SigningError, match="not in this role"):
        signing.remove_target(third, PATH, [signer])
    for path, custom in (("app/sim/1.1/x", CUSTOM), (PATH, CUSTOM | {"requires": ">1"})):
        with pytest.raises(paths.BadTarget):
            signing.add_target(first, path, 10, "0" * 64, custom, [signer])
    for junk in (b"", b"{}", b"[" * 9999, b"\xff", signing.new_root([signer], [signer.public_key], signer.public_key)):
        with pytest.raises(signing.SigningError):
            signing.add_target(junk, PATH, 10, "0" * 64, CUSTOM, [signer])


def test_the_bins_take_all_paths_and_share_them_evenly():
    signer = key()
    targets = signing.new_targets([signer], [signer.public_key])
    roles = [signing.role_for(targets, f"app/sim/1.{n}.0/app.img") for n in range(640)]
    assert len(set(roles)) == 32 and min(roles) == "bin-00" and max(roles) == "bin-1f"
    assert max(roles.count(role) for role in roles) < 45
    one_bit = signing.new_targets([signer], [signer.public_key], bit_length=1)
    assert {signing.role_for(one_bit, f"x{n}") for n in range(20)} == {"bin-0", "bin-1"}


def test_a_flat_layout_holds_its_targets_itself():
    flat = signing.add_target(None, PATH, 10, "0" * 64, CUSTOM, [key()])
    assert signing.role_for(flat, "any") == "targets"


def test_a_threshold_is_met_by_people_who_sign_one_after_another():
    people = [key(), CryptoSigner.generate_ed25519(), CryptoSigner.generate_rsa(size=2048)]
    online = key().public_key
    publics = [person.public_key for person in people]
    # The first makes it, and knows the public keys of the others only.
    data = signing.new_root([people[0], *publics[1:]], publics, online, root_threshold=2, targets_threshold=2)

    def verify(data):
        root = signing.read(data, Root)
        root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
        return root

    with pytest.raises(UnsignedMetadataError):
        verify(data)
    with pytest.raises(UnsignedMetadataError):
        verify(signing.add_signatures(data, [people[0]]))  # the same person twice
    both = signing.add_signatures(data, [people[2]])
    assert set(verify(both).signatures) == {publics[0].keyid, publics[2].keyid}
    assert set(verify(signing.add_signatures(both, [people[1]])).signatures) == {public.keyid for public in publics}
    alone = signing.read(signing.sign(signing.read(both, Root), [people[1]]), Root)
    assert set(alone.signatures) == {publics[1].keyid}  # `sign` begins anew
    with pytest.raises(signing.SigningError):
        signing.add_signatures(b"{}", people)


def test_what_is_written_is_canonical():
    import json

    signer = key()
    for data in (
        signing.new_root([signer], [signer.public_key], signer.public_key),
        signing.new_targets([signer], [signer.public_key]),
        signing.add_target(None, PATH, 10, "0" * 64, CUSTOM | {"requires": ">=1.0.0"}, [signer]),
    ):
        assert data == json.dumps(json.loads(data), separators=(",", ":"), sort_keys=True).encode()
        assert signing.to_bytes(Metadata.from_bytes(data)) == data
