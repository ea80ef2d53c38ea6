# SPDX-License-Identifier: MIT
"""Policies, lives, endorsement keys and makers of TPMs, as they are typed."""

import datetime
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from trueboot import ek_roots, fleet, lifecycle, products
from trueboot.problem import Problem


@pytest.mark.parametrize("text, seconds", [("90", 90), ("90s", 90), ("5m", 300), ("12h", 43200), ("730d", 63072000)])
def test_a_life_is_seconds_or_has_a_unit(text, seconds):
    assert products.policy({}, text) == {"certificate_life_s": seconds}


@pytest.mark.parametrize("text", ["d", "1w", "1.5h", "-3d", "3dd", "3 d", "٣d", "1" * 10, "forever"])
def test_a_life_that_is_none_is_refused(text):
    with pytest.raises(Problem) as problem:
        products.policy({}, text)
    assert problem.value.code == "usage"


def test_a_policy_holds_what_was_said_and_no_more():
    assert products.policy({}, "default") == {"certificate_life_s": None}
    assert products.policy({"claims_count": "no", "allow_password_login": "", "attestation": "required"}) == {
        "claims_count": False,
        "attestation": "required",
    }
    assert products.policy({"registration": "open-with-secret"}) == {"registration": "OPEN_WITH_SECRET"}
    for wrong in ({}, {"claims_count": ""}, {"claims_count": "maybe"}, {"attestation": "sometimes"}, {"tokens": "no"}):
        with pytest.raises(Problem):
            products.policy(wrong)


def certificate(ca):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Maker")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    return builder.sign(key, hashes.SHA256())


def test_an_endorsement_key_is_read_from_all_that_holds_one(tmp_path):
    made = certificate(ca=False)
    spki = made.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for data in (made.public_bytes(Encoding.PEM), made.public_bytes(Encoding.DER), spki, pem):
        (tmp_path / "ek").write_bytes(data)
        assert lifecycle.fingerprint(tmp_path / "ek") == hashlib.sha256(spki).hexdigest()
    (tmp_path / "ek").write_bytes(b"nothing")
    for file in (tmp_path / "ek", tmp_path / "nowhere"):
        with pytest.raises(Problem) as problem:
            lifecycle.fingerprint(file)
        assert problem.value.code == "file_unusable"


def test_makers_are_added_listed_and_removed(tmp_path, capsys):
    maker, file = certificate(ca=True), tmp_path / "maker.der"
    file.write_bytes(maker.public_bytes(Encoding.DER))
    name = maker.fingerprint(hashes.SHA256()).hex()[:16]
    for _ in range(2):
        ek_roots.add(str(tmp_path), file, as_json=True)
    assert [p.name for p in (tmp_path / "ek-roots").iterdir()] == [f"{name}.pem"]
    assert name in capsys.readouterr().out
    for wrong in ("../" + name, "elsewhere", ""):
        with pytest.raises(Problem):
            ek_roots.remove(str(tmp_path), wrong, as_json=True)
    ek_roots.remove(str(tmp_path), name, as_json=True)
    assert list((tmp_path / "ek-roots").iterdir()) == []


def test_what_is_no_maker_is_trusted_in_nothing(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(certificate(ca=False).public_bytes(Encoding.PEM))
    with pytest.raises(Problem, match="no CA's"):
        ek_roots.add(str(tmp_path), file, as_json=True)
    file.write_bytes(b"-----BEGIN nonsense")
    with pytest.raises(Problem, match="no certificate"):
        ek_roots.add(str(tmp_path), file, as_json=True)
    with pytest.raises(Problem, match="no state folder"):
        ek_roots.show(str(tmp_path / "nowhere"), as_json=True)


def test_a_device_shows_where_its_key_is_and_what_to_do():
    device = {
        "device_key": "dk",
        "reflashed_at": "2026-01-01T00:00:00.000Z",
        "running": None,
        "key": {"attested": True, "tpm": {"manufacturer": "id:1", "model": "x", "version": ""}},
    }
    assert fleet.key(device) == "in TPM, attested (id:1 x)"
    assert "trueboot device replace dk" in fleet.reflashed(device)
    assert "begin anew" in fleet.remark(device)
    assert fleet.key({"key": {"attested": False}}) is None
    assert fleet.remark({"reflashed_at": None, "running": None}) is None
