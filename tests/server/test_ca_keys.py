# SPDX-License-Identifier: MIT
"""The CA's own keys: made, taken away, renewed, rotated, imported; cut at every file; refused when they do not fit."""

import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.wire import roots
from trueboot_server.ca import Authority, ceremony, files, lists, profiles
from trueboot_server.ca.ceremony import Ceremony
from trueboot_server.ca.files import Unusable
from trueboot_server.errors import StartError
from trueboot_server.names import Identity
from trueboot_server.state import State

URL = "https://fleet.example:8443"
ME = Identity("pk", "dk")


class Folder:
    """A state folder without a server; `chain` is what OpenSSL is given."""

    def __init__(self, path, two_tiers=True):
        self.path, self.two_tiers = path, two_tiers
        path.mkdir(exist_ok=True)
        self.state = State(path)
        self.state.private.mkdir(exist_ok=True)

    def ran(self):
        """A server has run here: there are devices."""
        self.start()
        self.state.database.touch()
        return self

    def start(self):
        return Authority(self.state, ["fleet.example"], self.two_tiers)

    def work(self, **more):
        return Ceremony(self.state, **more)

    def anchor(self, name):
        """A copy of ca.pem as it is now: what a device was given."""
        return shutil.copy(self.state.ca, self.path / name)

    def files(self):
        return {
            str(path.relative_to(self.path)): path.read_bytes()
            for path in sorted(self.path.rglob("*.pem"))
            if not path.name.startswith(".")
        }


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "state").ran()


def issue(authority, life_s=3600):
    key = profiles.new_key()
    return authority.issue(ME, key.public_key(), URL, life_s)


def openssl_verifies(anchor, leaf, chain, purpose="sslclient"):
    folder = anchor.parent
    for name, ders in (("leaf.pem", [leaf]), ("chain.pem", chain)):
        text = b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in ders)
        (folder / name).write_bytes(text)
    command = ["openssl", "verify", "-purpose", purpose, "-CAfile", anchor, folder / "leaf.pem"]
    if chain:
        command[-1:-1] = ["-untrusted", folder / "chain.pem"]
    return subprocess.run(list(map(str, command)), capture_output=True, timeout=30).returncode == 0


def device_verifies(_kind, _scheme, public, data, signature):
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + bytes(public)[-64:])
    try:
        key.verify(signature, data, ec.ECDSA(profiles.hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def server_chain(authority):
    path, _ = authority.server_files(URL)
    leaf, *chain = [profiles.der(one) for one in files.read_certificates(path)]
    return leaf, chain


# A first start


@pytest.mark.parametrize("two_tiers", [True, False])
def test_a_first_start_that_is_cut_at_any_file_goes_on(tmp_path, two_tiers, monkeypatch):
    whole = Folder(tmp_path / "whole", two_tiers)
    whole.start()
    write, cuts = files.write_atomically, len(whole.files())
    assert cuts == (4 if two_tiers else 2)
    for cut in range(cuts):
        folder, left = Folder(tmp_path / str(cut), two_tiers), [cut]

        def cut_here(*what, left=left):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            write(*what)

        monkeypatch.setattr(files, "write_atomically", cut_here)
        with pytest.raises(KeyboardInterrupt):
            folder.start()
        monkeypatch.setattr(files, "write_atomically", write)
        before = folder.files()
        issue(folder.start())
        assert before.items() <= folder.files().items()  # what was made is kept


def test_private_files_are_private(folder):
    for path in folder.state.private.rglob("*.pem"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_folder_with_one_root_that_issues_keeps_working(tmp_path):
    folder = Folder(tmp_path / "state", two_tiers=False).ran()
    folder.two_tiers = True
    authority = folder.start()
    assert authority.chain_der() == [] and not folder.work().files.issuing.exists()
    made = x509.load_der_x509_certificate(issue(authority).der)
    made.verify_directly_issued_by(authority.roots[0])


# What is refused


def refused(folder, why):
    with pytest.raises(StartError) as caught:
        folder.start()
    assert why in str(caught.value) and caught.value.exit_code == 78, caught.value


@pytest.mark.parametrize("name", ["ca.pem", "private/issuing.pem"])
@pytest.mark.parametrize("content", [None, b"", b"no PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                                     b"x" * 70_000])  # fmt: skip
def test_files_that_cannot_be_used(folder, name, content):
    (folder.path / name).unlink() if content is None else (folder.path / name).write_bytes(content)
    before = folder.files()
    refused(folder, name.rpartition("/")[2])
    assert folder.files() == before


def test_files_that_do_not_belong_together(folder, tmp_path):
    other = Folder(tmp_path / "other").ran()
    issuing, own = folder.work().files.issuing, folder.files()
    issuing.write_bytes(other.files()["private/issuing.pem"])
    refused(folder, "no root in ca.pem has signed")
    issuing.write_bytes(own["private/issuing.pem"].split(b"-----BEGIN CERT")[0] + other.files()["private/issuing.pem"])
    mixed = other.files()["private/issuing.pem"].partition(b"-----BEGIN CERT")
    issuing.write_bytes(own["private/issuing.pem"].partition(b"-----BEGIN CERT")[0] + mixed[1] + mixed[2])
    refused(folder, "do not belong together")


def test_a_foreign_root_key_beside_a_good_ca_is_not_used(folder, tmp_path):
    (folder.state.private / "ca-key.pem").write_bytes(profiles.private_pem(profiles.new_key()))
    issue(folder.start())  # the server does not need it
    with pytest.raises(Unusable, match="the key of no root"):
        folder.work().renew()


def make_ca(signer=None, signer_key=None, ca=True, length=0, days=(-1, 100), key=None, crl_sign=True, usage=True):
    key = key or profiles.new_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Made {id(key)}")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(signer.subject if signer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca, length if ca else None), critical=True)
    )
    if usage:
        builder = builder.add_extension(profiles._key_usage(key_cert_sign=ca, crl_sign=crl_sign), critical=True)
    return builder.sign(signer_key or key, profiles.hashes.SHA256()), key


def save(folder, root, issuing, key):
    folder.path.mkdir(exist_ok=True)
    paths = [folder.path / name for name in ("key.in", "chain.in", "root.in")]
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for path, data in zip(paths, (private, profiles.pem(issuing), profiles.pem(root)), strict=True):
        path.write_bytes(data)
    return paths


# An existing CA


def test_an_existing_ca_is_imported_before_the_first_start(tmp_path):
    folder = Folder(tmp_path / "state")
    root, root_key = make_ca(length=None)
    issuing, key = make_ca(root, root_key)
    folder.work().import_ca(*save(folder, root, issuing, key))
    authority = folder.start()
    assert authority.roots == [root] and authority.chain_der() == [profiles.der(issuing)]
    made = issue(authority)
    assert openssl_verifies(folder.state.ca, made.der, authority.chain_der())
    assert x509.load_der_x509_certificate(made.der).not_valid_after_utc <= issuing.not_valid_after_utc
    long = x509.load_der_x509_certificate(issue(authority, 10**9).der)
    assert long.not_valid_after_utc == issuing.not_valid_after_utc  # never beyond the issuer's end
    assert not authority.facts()["root_key_here"]


def test_a_second_issuing_ca_of_the_same_root_may_be_imported_later(folder):
    root, root_key = folder.work()._root()
    issuing, key = make_ca(root, root_key)
    before = folder.start().certificate
    folder.work().import_ca(*save(folder, root, issuing, key))
    authority = folder.start()
    assert authority.certificate == issuing and [one.certificate for one in authority.issuers] == [issuing, before]


@pytest.mark.parametrize(
    "why, root_is, issuing_is",
    [
        ("has not|no root in ca.pem has signed", {}, {"signer": None}),
        ("is no CA", {}, {"ca": False}),
        ("expired", {}, {"days": (-10, -1)}),
        ("not valid before", {}, {"days": (5, 10)}),
        ("may not sign CRLs", {}, {"crl_sign": False}),
        ("does not say", {}, {"usage": False}),
        ("path length", {"length": 0}, {}),
        ("expired", {"days": (-10, -1)}, {}),
        ("not P-256", {}, {"key": "rsa"}),
        ("not P-256", {}, {"key": "p384"}),
        ("not the key of", {}, {"other_key": True}),
    ],
)
def test_a_ca_that_cannot_be_imported(tmp_path, why, root_is, issuing_is):
    folder = Folder(tmp_path / "state")
    root, root_key = make_ca(**{"length": None, **root_is})
    made = {"signer": root, "signer_key": root_key, **issuing_is}
    other = made.pop("other_key", False)
    if made["signer"] is None:
        made["signer_key"] = None
    kinds = {
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    }
    if made.get("key"):
        made["key"] = kinds[made["key"]]()
    issuing, key = make_ca(**made)
    with pytest.raises(Unusable, match=why):
        folder.work().import_ca(*save(folder, root, issuing, profiles.new_key() if other else key))
    assert folder.files() == {}


def test_imports_that_would_lose_devices_or_name_the_wrong_file(folder, tmp_path):
    root, root_key = make_ca(length=None)
    issuing, key = make_ca(root, root_key)
    before = folder.files()
    with pytest.raises(Unusable, match="would be lost"):
        folder.work().import_ca(*save(folder, root, issuing, key))
    paths = save(Folder(tmp_path / "x"), root, root, root_key)
    with pytest.raises(Unusable, match="one CA below the root"):
        Folder(tmp_path / "x").work().import_ca(*paths)
    with pytest.raises(Unusable, match="nowhere is missing"):
        Folder(tmp_path / "x").work().import_ca(tmp_path / "nowhere", *paths[1:])
    another, _ = make_ca(root, root_key)
    with pytest.raises(Unusable, match="is no root"):
        Folder(tmp_path / "x").work().import_ca(*save(Folder(tmp_path / "x"), another, issuing, key))
    assert folder.files() == before


# The root's key


def test_the_server_runs_without_the_roots_key_and_a_copy_brings_it_back(folder, tmp_path):
    key = folder.work().export_root_key()
    copy = tmp_path / "copy.pem"
    copy.write_bytes(profiles.private_pem(profiles.new_key()))
    with pytest.raises(Unusable, match="another key"):
        folder.work().remove_root_key(copy, None)
    copy.write_bytes(profiles.private_pem(key))
    folder.work().remove_root_key(copy, None)
    authority = folder.start()
    assert openssl_verifies(folder.state.ca, issue(authority).der, authority.chain_der())
    with pytest.raises(Unusable, match="name its file"):
        folder.work().renew()
    folder.work(root_key=copy).renew()
    assert not (folder.state.private / "ca-key.pem").exists()


def test_a_root_that_issues_keeps_its_key(tmp_path):
    folder = Folder(tmp_path / "state", two_tiers=False).ran()
    with pytest.raises(Unusable, match="needs its key"):
        folder.work().remove_root_key(folder.state.private / "ca-key.pem", None)
    for act in ("renew", "rotate_issuing"):
        with pytest.raises(Unusable, match="rotate-root"):
            getattr(folder.work(), act)()


# Renewal and rotation


def test_an_issuing_ca_past_half_of_its_life_is_renewed_at_a_start_where_the_roots_key_is(folder, monkeypatch):
    first = folder.start().certificate
    assert folder.start().certificate == first
    monkeypatch.setattr(profiles, "ISSUING_LIFE", timedelta(minutes=30))  # backdated by an hour: more than half is over
    folder.work().renew()
    old = folder.start().certificate
    monkeypatch.undo()
    second = folder.start().certificate
    assert old not in (first, second)
    assert second.not_valid_after_utc > old.not_valid_after_utc and second.public_key() == first.public_key()
    assert folder.start().certificate == second


def test_an_issuing_ca_that_has_ended_is_said_and_renewed(folder, tmp_path, monkeypatch):
    made = issue(folder.start())
    key = folder.work().export_root_key()
    (tmp_path / "stick.pem").write_bytes(profiles.private_pem(key))
    monkeypatch.setattr(profiles, "ISSUING_LIFE", timedelta(seconds=-1))
    folder.work().renew()
    monkeypatch.undo()
    folder.work().remove_root_key(tmp_path / "stick.pem", None)
    refused(folder, "has expired")
    refused(folder, "trueboot ca renew")
    folder.work(root_key=tmp_path / "stick.pem").renew()
    authority = folder.start()
    assert openssl_verifies(
        folder.state.ca, made.der, authority.chain_der()
    )  # same key: nothing has changed for devices


def test_another_issuing_ca_leaves_the_certificates_of_the_one_before_good(folder):
    before = folder.start()
    made, chain = issue(before), before.chain_der()
    folder.work().rotate_issuing()
    authority = folder.start()
    assert [one.id for one in authority.issuers][1:] == [before.issuers[0].id] and authority.chain_der() != chain
    assert openssl_verifies(folder.state.ca, made.der, chain)
    assert openssl_verifies(folder.state.ca, issue(authority).der, authority.chain_der())
    (folder.path / "trusted.pem").write_text(authority.client_anchors())
    assert openssl_verifies(folder.path / "trusted.pem", made.der, [])  # a client that sends its leaf alone


def test_a_revoked_issuing_ca_is_trusted_no_longer_and_on_the_roots_crl(folder):
    before = folder.start().certificate
    folder.work().rotate_issuing(lists.REASONS["keyCompromise"])
    authority = folder.start()
    assert len(authority.issuers) == 1
    crl = x509.load_pem_x509_crl(authority.root_crl())
    entry = crl.get_revoked_certificate_by_serial_number(before.serial_number)
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason == x509.ReasonFlags.key_compromise
    folder.work().renew()
    assert len(x509.load_pem_x509_crl(folder.start().root_crl())) == 1  # what is on it stays on it


def test_a_root_is_replaced_with_both_as_anchors_meanwhile(folder):
    before = folder.start()
    made, old_only = issue(before), folder.anchor("old.pem")
    new = folder.work().begin_root()
    assert folder.work().begin_root() == new
    both, during = folder.anchor("both.pem"), folder.start()
    assert during.roots == [*before.roots, new]
    found = [x509.load_der_x509_certificate(der) for der in during.cacerts()]
    names = {(one.subject, one.issuer) for one in found}
    old = before.roots[0].subject
    assert {(old, old), (new.subject, new.subject), (new.subject, old), (old, new.subject)} <= names
    for anchor in (old_only, both):
        assert openssl_verifies(anchor, *server_chain(during), "sslserver")
    folder.work().finish_root()
    new_only, after = folder.anchor("new.pem"), folder.start()
    for told in (during, after):  # what a device makes of EST's cacerts
        known, issuing = [profiles.der(before.roots[0])], before.chain_der()
        found = roots.linked(told.cacerts(), known, issuing, int(time.time()), device_verifies)
        assert found == [profiles.der(new)]
        assert roots.linked(told.cacerts(), [profiles.der(new)], issuing, int(time.time()), device_verifies) in (
            [],
            known,
        )
    assert after.roots == [new] and after.certificate.public_key() == before.certificate.public_key()
    for anchor in (old_only, both, new_only):  # the link leads whoever knows the old root only
        assert openssl_verifies(anchor, *server_chain(after), "sslserver"), anchor
    (folder.path / "trusted.pem").write_text(after.client_anchors())
    assert openssl_verifies(folder.path / "trusted.pem", made.der, before.chain_der())
    assert openssl_verifies(folder.path / "trusted.pem", made.der, [])
    assert openssl_verifies(new_only, issue(after).der, after.chain_der())
    with pytest.raises(Unusable, match="begin with"):
        folder.work().finish_root()
    folder.work().renew()  # with the new key
    third = folder.work().begin_root()  # and so on
    assert folder.start().roots == [new, third]


def test_a_root_whose_key_is_in_wrong_hands_signs_nothing_off(folder):
    old_only = folder.anchor("old.pem")
    folder.work().begin_root()
    folder.work().finish_root(bridge=False)
    after = folder.start()
    assert not openssl_verifies(old_only, *server_chain(after), "sslserver")
    assert len(after.cacerts()) == 2


def test_from_one_root_that_issues_to_two_tiers(tmp_path):
    folder = Folder(tmp_path / "state", two_tiers=False).ran()
    before = folder.start()
    made, old_only = issue(before), folder.anchor("old.pem")
    folder.work().begin_root()
    assert openssl_verifies(old_only, *server_chain(folder.start()), "sslserver")
    folder.work().finish_root()
    after = folder.start()
    assert len(after.chain_der()) == 1 and after.issuers[1].certificate == before.roots[0]
    (folder.path / "trusted.pem").write_text(after.client_anchors())
    assert openssl_verifies(folder.path / "trusted.pem", made.der, [])
    assert openssl_verifies(folder.anchor("new.pem"), *server_chain(after), "sslserver")


@pytest.mark.parametrize("act", ["renew", "rotate_issuing", "begin_root", "finish_root", "finish_old"])
def test_every_ceremony_may_be_cut_at_every_file_and_repeated(tmp_path, act, monkeypatch):
    """After each cut the server starts, devices' certificates are good, and the ceremony can be carried out."""
    base = Folder(tmp_path / "base", two_tiers=act != "finish_old").ran()
    made = issue(base.start())
    if act.startswith("finish"):
        base.work().begin_root()
        act = "finish_root"
    write = ceremony.write_atomically
    cut = 0
    while True:
        folder = Folder(shutil.copytree(base.path, tmp_path / str(cut)), base.two_tiers)
        left = [cut]

        def cut_here(*what, left=left):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            write(*what)

        for module in (ceremony, files):
            monkeypatch.setattr(module, "write_atomically", cut_here)
        try:
            getattr(folder.work(), act)()
            done = True
        except KeyboardInterrupt:
            done = False
        for module in (ceremony, files):
            monkeypatch.setattr(module, "write_atomically", write)
        for again in range(2):
            authority = folder.start()
            (folder.path / "trusted.pem").write_text(authority.client_anchors())
            assert openssl_verifies(folder.path / "trusted.pem", made.der, []), (cut, again)
            assert openssl_verifies(folder.state.ca, issue(authority).der, authority.chain_der()), (cut, again)
            if done or again:
                break
            getattr(folder.work(), act)()
        if done:
            break
        cut += 1
    assert cut >= 2
