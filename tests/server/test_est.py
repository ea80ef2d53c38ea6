# SPDX-License-Identifier: MIT
"""EST: a device's first certificate and each later one, and every request that must not get one."""

import base64
import datetime
import random

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7
from cryptography.x509.oid import NameOID
from server_client import PATIENCE_S, Device, ServerThread, Session, base64url, csr, jws
from server_client import thumbprint as thumbprint_of_point
from software_tpm import mutated

from trueboot_server import csr as requests_read
from trueboot_server.ca.ceremony import Ceremony
from trueboot_server.errors import ApiError
from trueboot_server.limits import Limits
from trueboot_server.state import State
from trueboot_server.store.schema import certificates

BAD_CREDENTIALS, NOT_AUTHORISED = 134, 135  # paho's spelling of CONNACK 4 and 5


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    server = ServerThread(tmp_path_factory.mktemp("server") / "state", Limits(failed_proofs=10_000))
    yield server
    server.stop()


@pytest.fixture
def server(running):
    return running


@pytest.fixture
def enrolled(device):
    """Enrolled, and its certificate was used."""
    device.ready().close()
    return device


def error(answer):
    return answer.status_code, answer.json()["error"]["code"]


def post(device, name, body, kind="application/pkcs10", label=True, identity=None):
    path = f"/.well-known/est/{device.product_key}/{name}" if label else f"/.well-known/est/{name}"
    with requests.Session() as session:
        session.trust_env = False
        return session.post(
            device.first["https"] + path,
            data=body,
            headers={"Content-Type": kind},
            cert=identity,
            verify=device.ca_file,
            timeout=PATIENCE_S,
        )


def new_key():
    return ec.generate_private_key(ec.SECP256R1())


def thumbprint(key):
    return thumbprint_of_point(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def certificate_of(answer):
    assert answer.status_code == 200, answer.text
    chain = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.content))  # a set: in no order
    return next(one for one in chain if not one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)


def nonce(device):
    answer = requests.post(device.first["https"] + "/api/device/v1/nonce", verify=device.ca_file, timeout=PATIENCE_S)
    assert answer.json()["expires_s"] == 300
    return answer.json()["nonce"]


def renewal(device, key, new, **changed):
    """What a device sends whose certificate has expired."""
    header = {"typ": "trueboot-renewal+jwt", **changed.pop("header", {})}
    claims = {
        "aud": device.product_key,
        "sub": f"{device.product_key}/{device.device_key}",
        "nonce": changed.pop("nonce", None) or nonce(device),
        "csr": base64.b64encode(base64.b64decode(csr(new))).decode(),
        **changed,
    }
    return jws(key, claims, header)


def change(server, device, table, **values):
    """Let time have passed: values may be functions of now."""

    def write(s):
        with s.store.transaction() as t:
            settled = {name: value(t.now) if callable(value) else value for name, value in values.items()}
            own = (table.c.product_key == device.product_key) & (table.c.device_key == device.device_key)
            t.execute(table.update().where(own).values(**settled))

    server.call(write)


def rows(server, device):
    def read(s):
        with s.store.transaction() as t:
            own = certificates.c.device_key == device.device_key
            return t.rows(certificates.select().where(own).order_by(certificates.c.issued_at))

    return server.call(read)


def expire(server, device):
    change(server, device, certificates, not_after=lambda now: now - 1000)


# What every client may ask


@pytest.mark.parametrize("label", [True, False])
def test_csrattrs_says_which_key_the_profile_wants(device, label):
    path = f"/.well-known/est/{device.product_key}/csrattrs" if label else "/.well-known/est/csrattrs"
    answer = requests.get(device.first["https"] + path, verify=device.ca_file, timeout=PATIENCE_S)
    assert answer.headers["Content-Type"] == "application/csrattrs"
    der = base64.b64decode(answer.content)
    assert der[0] == 0x30 and der[1] == len(der) - 2
    for oid in ("06072a8648ce3d0201", "06082a8648ce3d030107", "06082a8648ce3d040302"):
        assert bytes.fromhex(oid) in der  # ecPublicKey, P-256, ecdsa-with-SHA256


# A later certificate, by the one that lives


def test_a_certificate_buys_the_next_one_for_a_new_key(server, enrolled):
    new = new_key()
    later = certificate_of(post(enrolled, "simplereenroll", csr(new), identity=enrolled.identity))
    assert later.public_key() == new.public_key() and later.subject == enrolled.certificate.subject
    assert [row.superseded_at for row in rows(server, enrolled)] == [None, None]  # not before the new one is used
    before = enrolled.identity
    enrolled.keep(later, new)
    assert enrolled.connect().online
    old, used = rows(server, enrolled)
    assert old.superseded_at and not used.superseded_at
    assert Session(enrolled, enrolled.first["mqtt"], 2, enrolled.device_secret, before).code == 0  # for a day


def test_without_a_label_the_certificate_names_the_product(enrolled):
    assert post(enrolled, "simplereenroll", csr(new_key()), label=False, identity=enrolled.identity).status_code == 200


def test_a_request_that_is_repeated_gets_the_same_certificate(enrolled):
    new = new_key()
    serials = {
        certificate_of(post(enrolled, "simplereenroll", csr(new), identity=enrolled.identity)).serial_number
        for _ in range(3)
    }
    assert len(serials) == 1 and serials != {enrolled.certificate.serial_number}


def test_a_device_that_begins_its_renewal_anew_keeps_the_certificate_that_works(server, enrolled):
    """Cut after each answer, with a new key each time: two live certificates, and never without the first."""
    for _ in range(4):
        assert post(enrolled, "simplereenroll", csr(new_key()), identity=enrolled.identity).status_code == 200
    live = [row for row in rows(server, enrolled) if row.revoked_at is None]
    assert len(live) == 2 and int(live[0].serial, 16) == enrolled.certificate.serial_number
    assert enrolled.connect().online


def test_a_superseded_certificate_is_not_handed_out_again(enrolled):
    before, old, first = enrolled.identity, enrolled.key, enrolled.certificate
    new = new_key()
    enrolled.keep(certificate_of(post(enrolled, "simplereenroll", csr(new), identity=before)), new)
    enrolled.connect().close()
    got = certificate_of(post(enrolled, "simplereenroll", csr(old), identity=before))
    assert got.public_key() == old.public_key() and got.serial_number != first.serial_number


def test_a_third_certificate_takes_the_place_of_the_one_that_was_never_used(server, enrolled):
    assert post(enrolled, "simplereenroll", csr(new_key()), identity=enrolled.identity).status_code == 200

    def near_its_end(s):
        with s.store.transaction() as t:
            used = (certificates.c.device_key == enrolled.device_key) & certificates.c.first_used_at.is_not(None)
            times = {"issued_at": t.now - 900_000, "not_after": t.now + 90_000}
            t.execute(certificates.update().where(used).values(**times))

    server.call(near_its_end)
    assert enrolled.post_csr(csr(enrolled.key)).status_code == 200  # by the secret: no certificate asks
    assert [bool(row.revoked_at) for row in rows(server, enrolled)] == [False, True, False]


def test_until_the_new_key_is_used_the_secret_certifies_the_old_one(enrolled):
    new = new_key()
    later = certificate_of(post(enrolled, "simplereenroll", csr(new), identity=enrolled.identity))
    assert enrolled.post_csr(csr(enrolled.key)).status_code == 200
    assert error(enrolled.post_csr(csr(new))) == (403, "another_key")
    old = enrolled.key
    enrolled.keep(later, new)
    enrolled.connect().close()
    assert enrolled.post_csr(csr(new)).status_code == 200
    assert error(enrolled.post_csr(csr(old))) == (403, "another_key")


def test_a_device_that_went_back_to_the_last_certificate_may_renew_with_it(server, enrolled):
    """It logged in with the new one, and lost it: for a day the one before is as good."""
    before, old = enrolled.identity, enrolled.key
    new = new_key()
    enrolled.keep(certificate_of(post(enrolled, "simplereenroll", csr(new), identity=before)), new)
    enrolled.connect().close()
    third = new_key()
    assert post(enrolled, "simplereenroll", csr(third), identity=before).status_code == 200
    states = [(bool(row.superseded_at), bool(row.revoked_at)) for row in rows(server, enrolled)]
    assert states == [(False, False), (False, True), (False, False)]
    assert enrolled.post_csr(csr(old)).status_code == 200  # it is the secret's key again
    change(server, enrolled, certificates, superseded_at=lambda now: now - 25 * 3600 * 1000)
    assert error(post(enrolled, "simplereenroll", csr(third), identity=before)) == (401, "certificate_required")


@pytest.mark.parametrize("name", ["simplereenroll", "simplereenroll?x"])
def test_reenrolment_without_a_certificate_is_refused(enrolled, name):
    assert error(post(enrolled, name, csr(new_key()))) == (401, "certificate_required")


def test_a_revoked_device_renews_by_no_road(operator, enrolled):
    operator.post(f"/api/v1/devices/{enrolled.product_key}/{enrolled.device_key}/revoke", {})
    assert error(post(enrolled, "simplereenroll", csr(new_key()), identity=enrolled.identity)) == (
        401,
        "certificate_required",
    )
    signed = renewal(enrolled, enrolled.key, new_key())
    assert error(post(enrolled, "simplereenroll", signed, "application/jose")) == (401, "renewal_unproven")
    assert error(enrolled.post_csr(csr(enrolled.key))) == (401, "device_unproven")


def test_another_products_label_is_refused(enrolled):
    enrolled.product_key = "pk-other"
    assert error(post(enrolled, "simplereenroll", csr(new_key()), identity=enrolled.identity)) == (403, "est_label")


def test_another_devices_key_is_no_later_key(enrolled, tmp_path):
    other = Device(enrolled.first, enrolled.device_key + "-b", tmp_path)
    other.ready().close()
    answer = post(enrolled, "simplereenroll", csr(other.key), identity=enrolled.identity)
    assert error(answer) == (403, "foreign_key")


# A later certificate, after the last one's end


def test_the_last_key_signs_for_the_next_one_when_no_certificate_lives(server, enrolled):
    expire(server, enrolled)
    new = new_key()
    signed = renewal(enrolled, enrolled.key, new)
    later = certificate_of(post(enrolled, "simplereenroll", signed, "application/jose"))
    assert error(post(enrolled, "simplereenroll", signed, "application/jose")) == (401, "nonce_stale")
    enrolled.keep(later, new)
    assert enrolled.connect().online


def test_a_first_certificate_that_expired_before_its_first_use_is_no_dead_end(server, device):
    device.activate()
    device.enrol()
    expire(server, device)
    signed = renewal(device, device.key, new_key())
    assert post(device, "simplereenroll", signed, "application/jose", label=False).status_code == 200


def test_a_key_that_was_never_promoted_may_not_speak(server, enrolled):
    new = new_key()
    assert post(enrolled, "simplereenroll", csr(new), identity=enrolled.identity).status_code == 200
    expire(server, enrolled)
    signed = renewal(enrolled, new, new_key())
    assert error(post(enrolled, "simplereenroll", signed, "application/jose")) == (401, "renewal_unproven")


def test_the_key_before_the_last_may_not_speak_after_a_day(server, enrolled):
    old, before = enrolled.key, enrolled.identity
    new = new_key()
    enrolled.keep(certificate_of(post(enrolled, "simplereenroll", csr(new), identity=before)), new)
    enrolled.connect().close()
    expire(server, enrolled)

    def a_day_later(s):
        with s.store.transaction() as t:
            t.execute(
                certificates.update()
                .where(certificates.c.superseded_at.is_not(None))
                .values(superseded_at=t.now - 25 * 3600 * 1000)
            )

    server.call(a_day_later)
    signed = renewal(enrolled, old, new_key())
    assert error(post(enrolled, "simplereenroll", signed, "application/jose")) == (401, "renewal_unproven")
    signed = renewal(enrolled, enrolled.key, new_key())
    assert post(enrolled, "simplereenroll", signed, "application/jose").status_code == 200


def test_a_device_that_went_back_may_speak_with_the_key_before_for_a_day_after_its_end_too(server, enrolled):
    """Certificates of a few seconds: both have ended, and the device stands on the first."""
    old, new = enrolled.key, new_key()
    later = certificate_of(post(enrolled, "simplereenroll", csr(new), identity=enrolled.identity))
    enrolled.keep(later, new)
    enrolled.connect().close()
    expire(server, enrolled)
    third = new_key()
    got = certificate_of(post(enrolled, "simplereenroll", renewal(enrolled, old, third), "application/jose"))
    enrolled.keep(got, third)
    assert enrolled.connect().online


BROKEN = {
    "no JWS": lambda d: b"hello",
    "not ASCII": lambda d: b"\xff.\xff.\xff",
    "a report's type": lambda d: renewal(d, d.key, new_key(), header={"typ": "trueboot-report+jwt"}),
    "alg none": lambda d: renewal(d, d.key, new_key(), header={"alg": "none"}),
    "an unknown key": lambda d: renewal(d, new_key(), new_key()),
    "signed by the new key": lambda d: renewal(d, new_key(), new_key(), header={"kid": thumbprint(d.key)}),
    "another product": lambda d: renewal(d, d.key, new_key(), aud="pk-other"),
    "another device": lambda d: renewal(d, d.key, new_key(), sub=f"{d.product_key}/somebody"),
    "a claim more": lambda d: renewal(d, d.key, new_key(), admin="yes"),
    "a claim of another kind": lambda d: renewal(d, d.key, new_key(), csr=7),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_statement_that_proves_nothing_is_refused(enrolled, name):
    assert error(post(enrolled, "simplereenroll", BROKEN[name](enrolled), "application/jose")) == (
        401,
        "renewal_unproven",
    )


def test_a_nonce_of_somebody_else_is_refused(enrolled):
    for text in ("x", "", "A" * 54, "é", base64url(b"\0" * 40)):
        signed = renewal(enrolled, enrolled.key, new_key(), nonce=text or "-")
        assert error(post(enrolled, "simplereenroll", signed, "application/jose")) == (401, "nonce_stale")


def test_a_statement_that_fails_costs_no_nonce(enrolled):
    kept = nonce(enrolled)
    wrong = renewal(enrolled, new_key(), new_key(), nonce=kept)
    assert post(enrolled, "simplereenroll", wrong, "application/jose").status_code == 401
    signed = renewal(enrolled, enrolled.key, new_key(), nonce=kept)
    assert post(enrolled, "simplereenroll", signed, "application/jose").status_code == 200


def test_the_request_inside_a_statement_is_checked_like_any_other(enrolled):
    signed = renewal(enrolled, enrolled.key, new_key(), csr=base64.b64encode(b"no request").decode())
    assert error(post(enrolled, "simplereenroll", signed, "application/jose")) == (400, "csr_refused")


def test_the_user_may_name_the_product(device):
    device.activate()
    own = f"{device.product_key}/{device.device_key}"
    for label in (True, False):
        assert device.post_csr(csr(device.key), label=label, user=own).status_code == 200
        for wrong in (f"pk-other/{device.device_key}", f"{own}/", f"/{own}", f"x/{own}"):
            answer = device.post_csr(csr(device.key), label=label, user=wrong)
            assert error(answer) == (401, "device_unproven"), wrong


# Guessing


def test_statements_and_nonces_are_limited_by_address(tmp_path):
    limits = Limits(failed_proofs=3, failed_proofs_window_s=3600, nonce_asks=5, nonce_asks_window_s=3600)
    server = ServerThread(tmp_path / "state", limits)
    try:
        device = Device(server.first, "a", tmp_path)
        device.ready().close()
        nonces = [nonce(device) for _ in range(5)]
        refused = requests.post(server.first["https"] + "/api/device/v1/nonce", verify=device.ca_file, timeout=10)
        assert error(refused) == (429, "too_many_requests") and int(refused.headers["Retry-After"]) > 3000
        for _ in range(3):
            assert post(device, "simplereenroll", b"x.y.z", "application/jose").status_code == 401
        signed = renewal(device, device.key, new_key(), nonce=nonces[0])
        assert error(post(device, "simplereenroll", signed, "application/jose")) == (429, "too_many_failures")
        # A certificate is no guess.
        assert post(device, "simplereenroll", csr(new_key()), identity=device.identity).status_code == 200
    finally:
        server.stop()


# Requests


def request_for(key, *names, more=()):
    name = x509.Name([*(x509.NameAttribute(NameOID.COMMON_NAME, text) for text in names), *more])
    return csr(key, name)


def test_the_subject_is_taken_from_nothing(device):
    device.activate()
    odd = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ünïcode ☃ " * 20)
    for body in (request_for(device.key), request_for(device.key, "my gateway", more=[odd])):
        got = certificate_of(device.post_csr(body))
        assert got.subject.rfc4514_string() == f"CN={device.product_key}/{device.device_key}"


def test_a_request_for_another_device_is_refused(device, tmp_path):
    device.activate()
    other = Device(device.first, device.device_key + "-b", tmp_path)
    other.activate()
    for name in (other.device_key, f"{device.product_key}/{other.device_key}", "pk-x/y"):
        assert error(device.post_csr(request_for(device.key, name))) == (400, "csr_subject")
    own = f"{device.product_key}/{device.device_key}"
    assert error(device.post_csr(request_for(device.key, own, other.device_key))) == (400, "csr_subject")
    assert device.post_csr(request_for(device.key, own)).status_code == 200


def test_a_subject_is_bounded(device):
    device.activate()
    many = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "x")] * 17
    long = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "x" * 300, _validate=False)]
    for more in (many, long):
        assert error(device.post_csr(request_for(device.key, more=more))) == (400, "csr_subject")


def test_base64_may_have_line_breaks_or_none(device):
    device.activate()
    der = base64.b64decode(csr(device.key))
    plain = base64.b64encode(der)
    for body in (plain, plain + b"\n", base64.encodebytes(der), base64.encodebytes(der).replace(b"\n", b"\r\n")):
        assert device.post_csr(body).status_code == 200
    assert error(device.post_csr(b"-----BEGIN CERTIFICATE REQUEST-----\n" + plain)) == (400, "csr_unreadable")


def test_no_request_makes_its_reader_fail_in_another_way():
    chance, good = random.Random(1), base64.b64decode(csr(new_key()))
    codes = set()
    for changed in mutated(chance, good, 1500):
        try:
            requests_read.read(changed)
        except ApiError as error:
            codes.add(error.code)
    assert codes <= {"csr_refused", "csr_key", "csr_subject"} and "csr_refused" in codes


def test_a_body_of_another_kind_is_refused(enrolled):
    for kind in ("application/x-www-form-urlencoded", "application/pkcs7-mime", "application/json"):
        answer = post(enrolled, "simplereenroll", csr(new_key()), kind, identity=enrolled.identity)
        assert error(answer) == (415, "media_type")
    kind = "application/pkcs10; charset=us-ascii"
    assert post(enrolled, "simplereenroll", csr(enrolled.key), kind, identity=enrolled.identity).status_code == 200


# The life of certificates


def test_a_product_says_how_long_certificates_live(operator, device):
    path = f"/api/v1/products/{device.product_key}/policy"
    device.activate()
    try:
        assert operator.post(path, {"certificate_life_s": 60})["certificate_life_s"] == 60
        got = certificate_of(device.post_csr(csr(device.key)))
        shown = operator.device(device.device_key)["certificate"]
        assert int(shown["serial"], 16) == got.serial_number
        left = got.not_valid_after_utc.timestamp() - rows_issued(operator, device)
        assert 58 <= left <= 61
    finally:
        assert operator.post(path, {"certificate_life_s": None})["certificate_life_s"] is None


def rows_issued(operator, device):
    (found,) = [
        e for e in operator.events() if e["event"] == "certificate.issued" and e["device_key"] == device.device_key
    ]
    return datetime.datetime.fromisoformat(found["time"]).timestamp()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"certificate_life_s": 4},
        {"certificate_life_s": 60.0},
        {"certificate_life_s": True},
        {"certificate_life_s": 10**10},
        {"attestation": "maybe"},
        {"attestation": None},
        {"claims_count": "yes"},
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(operator, body):
    answer = operator.call("POST", f"/api/v1/products/{operator.first['product_key']}/policy", body)
    assert error(answer) == (400, "bad_policy")


def test_a_key_that_was_compromised_gets_no_certificate_again(operator, enrolled):
    serial = format(enrolled.certificate.serial_number, "x")
    operator.post(f"/api/v1/certificates/{serial}/revoke", {"reason": "keyCompromise"})
    secret = operator.post(f"/api/v1/devices/{enrolled.product_key}/{enrolled.device_key}/replace", {})["device_secret"]
    assert error(enrolled.post_csr(csr(enrolled.key), secret=secret)) == (403, "revoked_key")
    assert enrolled.post_csr(csr(new_key()), secret=secret).status_code == 200


def test_a_key_that_was_compromised_speaks_for_no_other(server, operator, enrolled):
    """Also under a second certificate for the same key, which nobody thought of."""
    change(server, enrolled, certificates, issued_at=lambda now: now - 900_000, not_after=lambda now: now + 90_000)
    first = enrolled.certificate
    enrolled.enrol()
    assert enrolled.certificate.serial_number != first.serial_number
    operator.post(f"/api/v1/certificates/{first.serial_number:x}/revoke", {"reason": "keyCompromise"})
    answer = post(enrolled, "simplereenroll", csr(new_key()), identity=enrolled.identity)
    assert error(answer) == (403, "revoked_key")
    signed = renewal(enrolled, enrolled.key, new_key())
    assert error(post(enrolled, "simplereenroll", signed, "application/jose")) == (403, "revoked_key")


# Cuts


def test_a_renewal_that_fails_anywhere_changes_nothing_and_may_be_repeated(server, enrolled):
    from trueboot_server.ca import Authority
    from trueboot_server.fleet import registry

    def failing(*_arguments, **_more):
        raise OSError("the disk is full")

    new, before = new_key(), rows(server, enrolled)
    request = csr(new)
    for owner, name in ((Authority, "issue"), (registry, "store_certificate"), (registry, "update")):
        kept = getattr(owner, name)
        setattr(owner, name, failing)
        try:
            answer = post(enrolled, "simplereenroll", request, identity=enrolled.identity)
        finally:
            setattr(owner, name, kept)
        assert error(answer) == (500, "internal") and "disk" not in answer.text
        assert rows(server, enrolled) == before
    assert post(enrolled, "simplereenroll", request, identity=enrolled.identity).status_code == 200


def test_after_another_issuing_ca_the_same_request_gets_a_certificate_that_fits_the_chain(tmp_path):
    state = tmp_path / "state"
    server = ServerThread(state)
    device = Device(server.first, "a", tmp_path)
    device.ready().close()
    server.stop()
    Ceremony(State(state)).rotate_issuing()
    server = ServerThread(state)
    try:
        device.first = server.first
        assert device.connect().online  # the one before is as good as ever
        chain = pkcs7.load_der_pkcs7_certificates(base64.b64decode(device.post_csr(csr(device.key)).content))
        leaf, issuing = sorted(chain, key=lambda one: one.public_key() != device.key.public_key())
        leaf.verify_directly_issued_by(issuing)
        again = certificate_of(device.post_csr(csr(device.key)))
        assert again.serial_number == leaf.serial_number != device.certificate.serial_number
    finally:
        server.stop()
