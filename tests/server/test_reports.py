# SPDX-License-Identifier: MIT
"""Boot reports: the strict form, alone and then against the server: forged, replayed, borrowed, wrong."""

import hashlib
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from server_client import Device, base64url, jws

from trueboot_server import jws as jws_form
from trueboot_server import reports
from trueboot_server.errors import RefusedReport

KEY = ec.generate_private_key(ec.SECP256R1())
POINT = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
CLAIMS = {
    "aud": "pk", "sub": "pk/dk", "outcome": "running", "version": "1.0.0", "image": "0" * 64, "slot": "a", "boot": 1, "seq": 1,
    "job": None, "nonce": None, "target_version": None, "reason": "", "floor": 0, "measured": "boot",
}  # fmt: skip
IMAGE = b"an image"


def verify(text):
    return reports.verify(reports.parse(text, 4096), POINT)


def signed(header, payload):
    text = base64url(header) + "." + base64url(payload)
    r, s = utils.decode_dss_signature(KEY.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return text + "." + base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def header(**changed):
    return json.dumps({"alg": "ES256", "typ": reports.TYPE, "kid": jws_form.thumbprint(POINT), **changed}).encode()


GOOD = jws(KEY, CLAIMS)
HEAD, BODY, SIGNATURE = GOOD.split(".")


def test_a_good_report_is_read():
    assert verify(GOOD) == CLAIMS
    assert reports.parse(GOOD, 4096).kid == jws_form.thumbprint(POINT)


def test_the_thumbprint_is_rfc_7638():
    # Independent of the code under test: the members in order, no spaces, SHA-256, base64url.
    jwk = json.dumps(
        {"crv": "P-256", "kty": "EC", "x": base64url(POINT[1:33]), "y": base64url(POINT[33:])}, separators=(",", ":")
    )
    assert jws_form.thumbprint(POINT) == base64url(hashlib.sha256(jwk.encode()).digest())


BROKEN = {
    "nothing": "",
    "a number": 7,
    "two parts": f"{HEAD}.{BODY}",
    "four parts": f"{GOOD}.x",
    "padding": f"{HEAD}.{BODY}=.{SIGNATURE}",
    "a space": f"{HEAD}. {BODY}.{SIGNATURE}",
    "standard base64": f"{HEAD}.+{BODY[1:]}.{SIGNATURE}",
    "an empty part": f"{HEAD}..{SIGNATURE}",
    "loose bits": f"{HEAD}.{BODY}.{SIGNATURE[:-1]}" + chr(ord(SIGNATURE[-1]) + 1),
    "not ASCII": f"{HEAD}.{BODY}ä.{SIGNATURE}",
    "too long": "a" * 5000,
    "alg none": signed(header(alg="none"), b"{}"),
    "alg HS256": signed(header(alg="HS256"), json.dumps(CLAIMS).encode()),
    "no alg": signed(b'{"typ":"x"}', json.dumps(CLAIMS).encode()),
    "another typ": signed(header(typ="JWT"), json.dumps(CLAIMS).encode()),
    "a key of its own": signed(header(jwk={}), json.dumps(CLAIMS).encode()),
    "crit": signed(header(crit=["b64"]), json.dumps(CLAIMS).encode()),
    "kid that is no text": signed(header(kid=7), json.dumps(CLAIMS).encode()),
    "a header key twice": signed(b'{"alg":"ES256","alg":"ES256","typ":"x","kid":"y"}', json.dumps(CLAIMS).encode()),
    "a claim twice": signed(header(), json.dumps(CLAIMS).encode()[:-1] + b',"outcome":"updated"}'),
    "claims that are a list": signed(header(), b"[]"),
    "claims that are no JSON": signed(header(), b"{"),
    "NaN": signed(header(), json.dumps({**CLAIMS, "boot": float("nan")}).encode()),
    "a short signature": f"{HEAD}.{BODY}.{base64url(b'x' * 63)}",
    "a zero signature": f"{HEAD}.{BODY}.{base64url(bytes(64))}",
    "another's signature": f"{HEAD}.{BODY}.{jws(ec.generate_private_key(ec.SECP256R1()), CLAIMS).rpartition('.')[2]}",
    "changed claims": f"{HEAD}.{base64url(json.dumps({**CLAIMS, 'outcome': 'updated'}).encode())}.{SIGNATURE}",
}
WRONG_CLAIMS = [
    {"boot": -1}, {"boot": True}, {"boot": "1"}, {"boot": 1.0}, {"boot": 2**53}, {"seq": None}, {"floor": "0"}, {"outcome": "fine"},
    {"image": "0" * 63}, {"image": "A" * 64}, {"image": None}, {"version": ""}, {"version": 1}, {"version": "x" * 257},
    {"version": "\x1b[2J"}, {"job": 7}, {"nonce": []}, {"reason": None}, {"reason": "x" * 257}, {"slot": None}, {"aud": None}, {"sub": 1},
]  # fmt: skip


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_what_is_not_exactly_a_report_is_refused(text):
    with pytest.raises(RefusedReport):
        verify(text)


@pytest.mark.parametrize("wrong", WRONG_CLAIMS, ids=str)
def test_claims_of_another_shape_are_refused(wrong):
    with pytest.raises(RefusedReport):
        verify(jws(KEY, {**CLAIMS, **wrong}))


@given(st.text(max_size=300) | st.tuples(*[st.text("abcdefghijkl-_AZ09", max_size=60)] * 3).map(".".join))
def test_garbage_is_refused_and_nothing_else_happens(text):
    with pytest.raises(RefusedReport):
        verify(text)


@given(st.integers(0, len(GOOD) - 1), st.sampled_from("ABCdef019-_.="))
def test_no_changed_character_passes(at, char):
    changed = GOOD[:at] + char + GOOD[at + 1 :]
    if changed != GOOD:
        with pytest.raises(RefusedReport):
            verify(changed)


# Against the server


def send(session, device, report, version="1.1.0"):
    reply = session.request(device.sys + "ota/device/inform", {"version": version, "report": report})
    if reply["code"] != 200:
        assert reply["code"] == 1261 and reply["message"].startswith("report rejected: ")
        return reply["message"].removeprefix("report rejected: ")
    return "accepted"


@pytest.fixture
def offered(operator, device):
    """A connected device that was offered 1.1.0: (session, push, job)."""
    session = device.ready()
    path = f"app/{device.device_key}/1.1.0/app.img"
    operator.publish(path, IMAGE)
    job = operator.post("/api/v1/jobs", {"target": path, "devices": [device.device_key]})
    push = session.get(device.sys + "ota/device/upgrade")
    yield session, push, job
    session.close()


def state(operator, job):
    attempt = operator.get(f"/api/v1/jobs/{job['id']}")["attempts"][0]
    return attempt["state"], attempt["proven"]


CASES = {
    "the wrong image": ({"image": "1" * 64}, "the running image is not the release's"),
    "another version": ({"version": "1.2.0"}, "the running version is not the release's"),
    "another target version": ({"target_version": "9.9.9"}, "the target version is not this job's"),
    "a wrong nonce": ({"nonce": "guessed"}, "the nonce is not this job's"),
    "no nonce": ({"nonce": None}, "the nonce is not this job's"),
    "an unknown job": ({"job": "999999"}, "the job is not one of this device's"),
    "a job that is no number": ({"job": "1 or 1=1"}, "the job is not one of this device's"),
    "a nonce without a job": ({"job": None}, "a nonce without a job"),
    "another audience": ({"aud": "pk-other"}, "the report is another device's"),
    "another subject": ({"sub": "pk/other"}, "the report is another device's"),
}


@pytest.mark.parametrize("changed, why", CASES.values(), ids=CASES)
def test_a_report_that_proves_nothing_changes_nothing(operator, device, offered, changed, why):
    session, push, job = offered
    version = changed.get("version", "1.1.0")
    assert send(session, device, device.proof(push, IMAGE, "1.1.0", **changed), version) == why
    assert operator.wait_for("report.rejected", device_key=device.device_key)["why"] == why
    assert state(operator, job) == ("pushed", False)
    shown = operator.device(device.device_key)
    assert (shown["claimed_version"], shown["proven_version"], shown["last_report"]) == (None, None, None)
    # and the honest report still passes
    assert send(session, device, device.proof(push, IMAGE, "1.1.0")) == "accepted"
    assert state(operator, job) == ("updated", True)


def test_reports_by_other_keys_are_refused(operator, device, offered, tmp_path):
    session, push, job = offered
    other = Device(device.first, device.device_key + "-other", tmp_path)
    other.ready().close()
    claims = device.claims(
        outcome="updated",
        version="1.1.0",
        image=hashlib.sha256(IMAGE).hexdigest(),
        job=push["params"]["job"],
        nonce=push["params"]["nonce"],
    )
    unknown = ec.generate_private_key(ec.SECP256R1())
    assert send(session, device, jws(unknown, claims)) == "the key is not one of this device's"
    assert send(session, device, jws(other.key, claims)) == "the key is not one of this device's"
    borrowed_kid = jws(device.key, {}).partition(".")[0]
    forged = jws(unknown, claims, json.loads(jws_form.decode(borrowed_kid)))
    assert send(session, device, forged) == "the signature is wrong"
    other_session = other.connect()
    assert send(other_session, other, jws(device.key, claims)) == "the key is not one of this device's"
    assert (
        send(other_session, other, jws(other.key, {**claims, "sub": f"{other.product_key}/{other.device_key}"}))
        == "the job is not one of this device's"
    )
    assert state(operator, job) == ("pushed", False)
    other_session.close()


def test_a_repetition_is_accepted_and_anything_older_or_other_is_not(operator, device, offered):
    session, push, job = offered
    first = device.claims(boot=5)
    report = jws(device.key, first)
    assert send(session, device, report, "1.0.0") == "accepted"
    assert send(session, device, report, "1.0.0") == "accepted"
    assert (
        send(session, device, jws(device.key, first), "1.0.0") == "accepted"
    )  # signed again: other bytes, same claims
    assert (
        send(session, device, jws(device.key, {**first, "floor": 1}), "1.0.0")
        == "this sequence number was used with other claims"
    )
    assert send(session, device, device.report(boot=4), "1.0.0") == "the boot counter has fallen"
    proof = device.proof(push, IMAGE, "1.1.0", boot=6)
    assert send(session, device, proof) == "accepted"
    assert send(session, device, jws(device.key, {**first, "seq": 2}), "1.0.0") == "the sequence number has not risen"
    assert send(session, device, report, "1.0.0") == "accepted"  # an old one once more: known, so nothing happens
    assert send(session, device, proof) == "accepted"
    assert operator.device(device.device_key)["proven_version"] == "1.1.0"
    assert send(session, device, device.proof(push, IMAGE, "1.1.0", boot=7)) == "this job's outcome is already proven"
    accepted = [
        e for e in operator.events() if e["event"] == "report.accepted" and e["device_key"] == device.device_key
    ]
    assert len(accepted) == 2
    assert state(operator, job) == ("updated", True)


def test_the_informed_version_must_be_the_reported_one(operator, device, offered):
    session, push, job = offered
    assert send(session, device, device.proof(push, IMAGE, "1.1.0"), "1.2.0") == "it is about another version"
    assert state(operator, job) == ("pushed", False)


def test_a_report_under_a_revoked_key_is_refused(operator, server, device, tmp_path):
    session = device.ready()
    import sqlite3

    with sqlite3.connect(server.state / "server.db") as database:
        database.execute("UPDATE certificates SET revoked_at = 1 WHERE device_key = ?", (device.device_key,))
    assert send(session, device, device.report(), "1.0.0") == "the key is not one of this device's"
    session.close()


def test_reports_kept_per_key_are_bounded_and_counters_survive(tmp_path):
    from trueboot_server.ca import Issued
    from trueboot_server.fleet import proof, registry
    from trueboot_server.limits import Limits
    from trueboot_server.names import Identity
    from trueboot_server.store import Store
    from trueboot_server.store.schema import products
    from trueboot_server.store.schema import reports as table

    store, me, limits = Store(tmp_path / "db"), Identity("pk", "dk"), Limits(reports_per_key=3)
    with store.transaction() as t:
        t.execute(
            products.insert().values(
                product_key="pk", product_secret="s", allow_password_login=False, claims_count=False, created_at=0
            )
        )
        registry.register(t, me)
        registry.store_certificate(
            t,
            me,
            jws_form.thumbprint(POINT),
            Issued("1", certificate(KEY), 2**50, "ca"),
            limits,
            registry.live_certificates(t, me, limits),
        )
    for seq in range(1, 8):
        with store.transaction() as t:
            proof.accept(t, me, jws(KEY, {**CLAIMS, "seq": seq}), limits)
    with store.transaction() as t:
        assert [row.seq for row in t.rows(table.select().order_by(table.c.seq))] == [5, 6, 7]
        with pytest.raises(RefusedReport):
            proof.accept(t, me, jws(KEY, {**CLAIMS, "seq": 2}), limits)


def test_a_report_that_waited_under_the_last_key_decides_its_attempt_and_changes_no_view(tmp_path):
    from trueboot_server.ca import Issued
    from trueboot_server.fleet import jobs, proof, registry
    from trueboot_server.limits import Limits
    from trueboot_server.names import Identity
    from trueboot_server.store import Store
    from trueboot_server.store.schema import products, releases

    now = [1000]
    store, me, limits = Store(tmp_path / "db", lambda: now[0]), Identity("pk", "dk"), Limits()
    new_key = ec.generate_private_key(ec.SECP256R1())
    new_point = new_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    with store.transaction() as t:
        product = {"product_secret": "s", "allow_password_login": False, "claims_count": False, "created_at": 0}
        t.execute(products.insert().values(product_key="pk", **product))
        registry.register(t, me)
        registry.store_certificate(
            t,
            me,
            jws_form.thumbprint(POINT),
            Issued("1", certificate(KEY), 2**50, "ca"),
            limits,
            registry.live_certificates(t, me, limits),
        )
        release = {"target": "t", "version": "1.1.0", "sha256": "2" * 64, "length": 1, "custom": {}, "published_at": 0}
        t.execute(releases.insert().values(**release))
        jobs.create(t, t.row(releases.select()), "pk", ["dk"], 0)
        attempt = jobs.open_attempt(t, me)
    now[0] = 2000
    with store.transaction() as t:
        registry.store_certificate(
            t,
            me,
            jws_form.thumbprint(new_point),
            Issued("2", certificate(new_key), 2**50, "ca"),
            limits,
            registry.live_certificates(t, me, limits),
        )
        claims = {**CLAIMS, "version": "1.1.0", "image": "2" * 64, "boot": 9}
        proof.accept(t, me, jws(KEY, {**CLAIMS, "seq": 1}), limits)
        proof.accept(t, me, jws(new_key, {**claims, "seq": 7}), limits)
        failed = {
            "outcome": "failed",
            "job": str(attempt.id),
            "nonce": attempt.nonce,
            "seq": 3,
            "boot": 2,
            "reason": "x",
        }
        proof.accept(t, me, jws(KEY, {**CLAIMS, **failed}), limits)
        row = registry.device(t, me)
        assert (row.proven_version, row.last_report["boot"], row.fell_back) == ("1.1.0", 9, None)
        assert jobs.attempt(t, me, str(attempt.id)).state == "failed"
        proof.accept(t, me, jws(new_key, {**claims, "seq": 8, "version": "1.2.0", "image": "3" * 64}), limits)
        assert registry.device(t, me).proven_version == "1.2.0"
        registry.revoke(t, me)
        with pytest.raises(RefusedReport):
            proof.accept(t, me, jws(KEY, {**CLAIMS, "seq": 4}), limits)


def certificate(key):
    import datetime

    from cryptography import x509

    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    )
    made = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.DER)
