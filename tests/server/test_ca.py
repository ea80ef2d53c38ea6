# SPDX-License-Identifier: MIT
"""The CA's keys, certificates and revocations, against a running server with a root that issues nothing itself."""

import base64
import subprocess
import urllib.parse
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs7
from cryptography.x509 import ocsp
from server_client import ServerThread, Session

from trueboot_server.ca import files
from trueboot_server.state import State
from trueboot_server.store.schema import certificates

NOT_AUTHORISED = 135


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "TWO_TIERS", True)
        running = ServerThread(tmp_path_factory.mktemp("server") / "state")
        yield running
        running.stop()


@pytest.fixture
def enrolled(device):
    device.activate()
    return device.enrol()


def openssl(*command, code=0):
    done = subprocess.run(["openssl", *map(str, command)], capture_output=True, text=True, timeout=30)
    assert done.returncode == code, done.stderr + done.stdout
    return done.stdout + done.stderr


def get(device, path, **more):
    return requests.get(device.first["https"] + path, verify=device.ca_file, timeout=10, **more)


def test_a_device_goes_its_whole_road_under_an_issuing_ca(operator, enrolled):
    root = x509.load_pem_x509_certificate(open(enrolled.ca_file, "rb").read())
    issuing = x509.load_der_x509_certificate(get(enrolled, "/ca/issuing.der").content)
    enrolled.certificate.verify_directly_issued_by(issuing)
    issuing.verify_directly_issued_by(root)
    with pytest.raises(ValueError):
        enrolled.certificate.verify_directly_issued_by(root)
    session = enrolled.connect()  # with the leaf alone
    assert session.online
    assert get(enrolled, "/healthz", cert=enrolled.identity).status_code == 200
    session.close()


def test_cacerts_holds_the_root_and_the_issuing_ca(enrolled):
    answer = get(enrolled, "/.well-known/est/cacerts")
    found = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.content))
    assert sorted(one.subject.rfc4514_string()[:16] for one in found) == ["CN=Trueboot Issu", "CN=Trueboot Root"]


# Revocation


@pytest.fixture
def chain(enrolled, tmp_path):
    """The files that OpenSSL wants: issuing CA, its CRL as of now."""
    (tmp_path / "issuing.der").write_bytes(get(enrolled, "/ca/issuing.der").content)
    openssl("x509", "-inform", "DER", "-in", tmp_path / "issuing.der", "-out", tmp_path / "issuing.pem")

    def crl():
        lists = get(enrolled, "/ca/crl.pem").content + get(enrolled, "/ca/root.crl").content
        (tmp_path / "crl.pem").write_bytes(lists)
        return tmp_path / "crl.pem"

    return tmp_path / "issuing.pem", crl


def serial_of(device):
    return format(device.certificate.serial_number, "x")


def verify(device, chain, check="-crl_check", code=0):
    issuing, crl = chain
    more = ("-CAfile", device.ca_file, "-untrusted", issuing, check, "-CRLfile", crl())
    return openssl("verify", "-purpose", "sslclient", *more, device.identity[0], code=code)


def ask(device, chain, *more, about=None, code=0):
    command = (
        "-issuer",
        chain[0],
        *(about or ("-cert", device.identity[0])),
        "-url",
        device.first["https"] + "/ca/ocsp",
    )
    trust = ("-CAfile", device.ca_file, "-verify_other", chain[0])
    return openssl("ocsp", *command, *trust, *more, code=code)


def test_openssl_verifies_chain_crl_and_ocsp_before_and_after_a_revocation(operator, enrolled, chain):
    assert ": OK" in verify(enrolled, chain)
    assert ": OK" in verify(enrolled, chain, check="-crl_check_all")
    said = ask(enrolled, chain)
    assert "Response verify OK" in said and ": good" in said and "WARNING" not in said
    operator.post(f"/api/v1/certificates/{serial_of(enrolled)}/revoke", {"reason": "keyCompromise"})
    assert "certificate revoked" in verify(enrolled, chain, code=2)
    text = openssl("crl", "-in", chain[1](), "-noout", "-text", "-CAfile", chain[0])
    assert "verify OK" in text and "Key Compromise" in text and serial_of(enrolled).upper() in text
    said = ask(enrolled, chain, "-no_nonce")
    assert "Response verify OK" in said and ": revoked" in said and "keyCompromise" in said
    assert ": unknown" in ask(enrolled, chain, about=("-serial", "0x1234"))


def test_crls_are_numbered_upwards_and_keep_their_number_while_nothing_changes(server, operator, device):
    def crl():
        return x509.load_der_x509_crl(get(device, "/ca/crl").content)

    def number(of):
        return of.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number

    device.activate()
    device.enrol()
    first = crl()
    assert crl() == first
    operator.post(f"/api/v1/certificates/{serial_of(device)}/revoke", {"reason": 4})
    second = crl()
    assert number(second) > number(first)
    entry = second.get_revoked_certificate_by_serial_number(device.certificate.serial_number)
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason == x509.ReasonFlags.superseded
    hour_ms, clock = 3600 * 1000, server.call(lambda s: s.store._clock)
    try:
        server.call(lambda s: setattr(s.store, "_clock", lambda: clock() + 13 * hour_ms))
        third = crl()  # with less than half of its life left it is made anew
        assert number(third) > number(second) and third.next_update_utc > second.next_update_utc
        server.call(lambda s: setattr(s.store, "_clock", lambda: clock() + 732 * 24 * hour_ms))
        assert device.certificate.serial_number not in [entry.serial_number for entry in crl()]  # it ended long ago
    finally:
        server.call(lambda s: setattr(s.store, "_clock", clock))


def test_a_revocation_without_a_reason_says_none(operator, enrolled):
    operator.post(f"/api/v1/devices/{enrolled.product_key}/{enrolled.device_key}/revoke", {})
    crl = x509.load_der_x509_crl(get(enrolled, "/ca/crl").content)
    entry = crl.get_revoked_certificate_by_serial_number(enrolled.certificate.serial_number)
    assert len(entry.extensions) == 0
    assert operator.get(f"/api/v1/certificates/{serial_of(enrolled)}")["reason"] == "unspecified"


def test_a_serial_ends_its_own_session_and_the_last_one_its_device(server, operator, device):
    session = device.ready()
    older = device.identity, serial_of(device)

    def near_its_end(s):
        with s.store.transaction() as t:
            own = certificates.c.device_key == device.device_key
            t.execute(certificates.update().where(own).values(not_after=t.now + 1_000_000, issued_at=t.now - 9_000_000))

    server.call(near_its_end)
    device.folder = device.folder / "new"
    device.folder.mkdir()
    device.enrol()
    operator.post(f"/api/v1/certificates/{serial_of(device)}/revoke", {})
    assert not session.ended.is_set()  # it goes on under the other certificate
    assert operator.device(device.device_key)["state"] == "enrolled"
    assert device.connect().code == NOT_AUTHORISED
    by_handle = operator.get(f"/api/v1/certificates/{older[1]}")["handle"]
    answer = operator.post(f"/api/v1/certificates/{by_handle}/revoke", {"reason": "cessationOfOperation"})
    assert (answer["status"], answer["reason"]) == ("revoked", "cessationOfOperation")
    assert session.ended.wait(10)
    assert operator.device(device.device_key)["state"] == "revoked"
    again = operator.post(f"/api/v1/certificates/{older[1]}/revoke", {"reason": "keyCompromise"})
    assert again == answer  # the first word stands


def test_a_revoked_certificate_of_the_server_is_replaced_while_it_runs(server, operator, enrolled, chain):
    session = enrolled.connect()
    (first,) = [one for one in operator.get("/api/v1/certificates")["server"] if one["status"] == "good"]
    operator.post(f"/api/v1/certificates/{first['serial']}/revoke", {"reason": "keyCompromise"})
    at = enrolled.first["https"].removeprefix("https://")
    more = ("-CAfile", enrolled.ca_file, "-crl_check", "-CRL", chain[1](), "-verify_return_error")
    openssl("s_client", "-connect", at, *more)
    shown = {one["serial"]: one["status"] for one in operator.get("/api/v1/certificates")["server"]}
    assert shown.pop(first["serial"]) == "revoked" and set(shown.values()) == {"good"}
    assert session.online and not session.ended.is_set()  # what stands goes on
    session.close()


# Bad input


@pytest.mark.parametrize("reason", ["", "keycompromise", 2, 7, 8, 10, -1, True, 1.0, None, [], {}, "9"])
def test_reasons_that_there_are_not(operator, enrolled, reason):
    for path in (f"certificates/{serial_of(enrolled)}", f"devices/{enrolled.product_key}/{enrolled.device_key}"):
        answer = operator.call("POST", f"/api/v1/{path}/revoke", {"reason": reason})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_reason")
    assert operator.device(enrolled.device_key)["state"] == "enrolled"


def test_certificates_that_there_are_not(operator, enrolled):
    for name in ("0", "ff", "x", "-1", "%00", "9" * 99, "ffff" * 30, "1' or 1=1", "99999999999", "2147483647"):
        for call in (operator.call("GET", f"/api/v1/certificates/{name}"),
                     operator.call("POST", f"/api/v1/certificates/{name}/revoke", {})):  # fmt: skip
            assert (call.status_code, call.json()["error"]["code"]) == (404, "no_such_certificate")
    assert operator.call("POST", f"/api/v1/certificates/{serial_of(enrolled)}/revoke", {"why": 1}).status_code == 400
    spelt = ":".join(serial_of(enrolled).upper()[at : at + 2] for at in range(0, 32, 2))
    assert operator.get(f"/api/v1/certificates/{spelt}")["device_key"] == enrolled.device_key
    for path in ("crl/00", "crl/..%2f..", "issuing/00.der"):
        assert get(enrolled, "/ca/" + path).status_code == 404


def test_nobody_but_the_operator_lists_or_revokes(enrolled):
    for method, path in (("GET", ""), ("GET", f"/{serial_of(enrolled)}"), ("POST", f"/{serial_of(enrolled)}/revoke")):
        url = enrolled.first["https"] + "/api/v1/certificates" + path
        assert requests.request(method, url, json={}, verify=enrolled.ca_file, timeout=10).status_code == 401


def test_the_list_comes_in_pages(operator, enrolled):
    pages, before = [], 0
    while before is not None:
        page = operator.get(f"/api/v1/certificates?limit=3&before={before}")
        pages += page["certificates"]
        before = page["before"]
    handles = [one["handle"] for one in pages]
    assert handles == sorted(handles, reverse=True) and len(set(handles)) == len(handles) > 3
    mine = operator.get(f"/api/v1/certificates?device_key={enrolled.device_key}")
    assert [one["serial"] for one in mine["certificates"]] == [serial_of(enrolled)] and mine["server"] == []


def ocsp_request(device, issuing, algorithm=None, nonce=None):
    builder = ocsp.OCSPRequestBuilder().add_certificate(device.certificate, issuing, algorithm or hashes.SHA1())
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def post_ocsp(device, data):
    answer = requests.post(device.first["https"] + "/ca/ocsp", data=data, verify=device.ca_file, timeout=10)
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/ocsp-response"
    return ocsp.load_der_ocsp_response(answer.content), answer


def test_ocsp_by_get_and_post_with_and_without_nonce(enrolled):
    issuing = x509.load_der_x509_certificate(get(enrolled, "/ca/issuing.der").content)
    for algorithm in (hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()):
        data = ocsp_request(enrolled, issuing, algorithm)
        found, answer = post_ocsp(enrolled, data)
        assert found.certificate_status == ocsp.OCSPCertStatus.GOOD and found.hash_algorithm.name == algorithm.name
        assert "max-age=3600" in answer.headers["Cache-Control"]
        for text in (base64.b64encode(data).decode(), urllib.parse.quote(base64.b64encode(data).decode(), safe="")):
            by_get = ocsp.load_der_ocsp_response(get(enrolled, "/ca/ocsp/" + text).content)
            assert by_get.serial_number == enrolled.certificate.serial_number
    for length in (1, 16, 32, 128):
        found, answer = post_ocsp(enrolled, ocsp_request(enrolled, issuing, nonce=b"n" * length))
        assert found.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"n" * length
        assert answer.headers["Cache-Control"] == "no-store"


def test_ocsp_requests_that_cannot_be_answered(enrolled):
    issuing = x509.load_der_x509_certificate(get(enrolled, "/ca/issuing.der").content)
    root = x509.load_pem_x509_certificate(open(enrolled.ca_file, "rb").read())
    good = ocsp_request(enrolled, issuing)
    malformed, unauthorised = ocsp.OCSPResponseStatus.MALFORMED_REQUEST, ocsp.OCSPResponseStatus.UNAUTHORIZED
    for data in (b"", b"\x30", b"\xff" * 100, good[:-1], good + b"\0", ocsp_request(enrolled, issuing, nonce=b""),
                 ocsp_request(enrolled, issuing, nonce=b"n" * 129), two_requests(good)):  # fmt: skip
        assert post_ocsp(enrolled, data)[0].response_status == malformed, data
    foreign = ocsp.OCSPRequestBuilder().add_certificate(issuing, root, hashes.SHA1()).build().public_bytes(Encoding.DER)
    assert post_ocsp(enrolled, foreign)[0].response_status == unauthorised  # the root answers by its CRL
    for text in ("%%%", "not base64!", "MEE", "/" * 50):
        assert ocsp.load_der_ocsp_response(get(enrolled, "/ca/ocsp/" + text).content).response_status == malformed
    url = enrolled.first["https"] + "/ca/ocsp"
    assert requests.post(url, data=b"x" * 5000, verify=enrolled.ca_file, timeout=10).status_code == 413


def two_requests(one):
    """The same question twice in one request."""
    # OCSPRequest ::= SEQUENCE { TBSRequest ::= SEQUENCE { SEQUENCE OF Request } }
    request = one[6:]
    tail = b"\x30" + bytes([2 * len(request)]) + 2 * request
    tbs = b"\x30\x81" + bytes([len(tail)]) + tail if len(tail) > 127 else b"\x30" + bytes([len(tail)]) + tail
    return b"\x30\x81" + bytes([len(tbs)]) + tbs


def test_a_certificate_with_the_serial_of_another_is_nobodys(server, enrolled, tmp_path):
    """Whoever has stolen the issuing CA's key makes one with a device's name and serial, and another key."""
    thief = ec.generate_private_key(ec.SECP256R1())
    issuer = files.Files(State(Path(enrolled.first["state"]))).load().issuer
    real = enrolled.certificate
    builder = x509.CertificateBuilder(
        issuer.certificate.subject, real.subject, thief.public_key(), real.serial_number,
        real.not_valid_before_utc, real.not_valid_after_utc, list(real.extensions),
    )  # fmt: skip
    forged = tmp_path / "forged.pem"
    private = thief.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    forged.write_bytes(builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.PEM) + private)
    target = "/repo/targets/app/sim/1.0.0/x"
    real_answer, forged_answer = (
        get(enrolled, target, cert=cert).status_code for cert in (enrolled.identity, str(forged))
    )
    assert (real_answer, forged_answer) == (404, 401)
    session = Session(enrolled, enrolled.first["mqtt"], 2, enrolled.device_secret, (str(forged),))
    assert session.code == NOT_AUTHORISED
