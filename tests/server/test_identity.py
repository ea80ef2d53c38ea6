# SPDX-License-Identifier: MIT
"""Who is let in and who gets a certificate: the rules, each broken in every way that was thought of."""

import base64
import datetime
import ssl

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs7
from cryptography.x509.oid import NameOID
from server_client import Device, Operator, ServerThread, Session, csr

from trueboot_server.limits import Limits

BAD_CREDENTIALS, NOT_AUTHORISED = 134, 135  # paho's spelling of CONNACK 4 and 5


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    server = ServerThread(tmp_path_factory.mktemp("server") / "state", Limits(failed_proofs=1000))
    yield server
    server.stop()


@pytest.fixture
def server(running):
    return running


def error(answer):
    return answer.status_code, answer.json()["error"]["code"]


# Activation


def test_a_wrong_product_secret_activates_nothing(operator, device):
    assert Device(device.first, device.device_key, device.folder, product_secret="wrong").activate() == BAD_CREDENTIALS
    assert device.device_key not in [d["device_key"] for d in operator.get("/api/v1/devices")["devices"]]


def test_the_same_secret_is_handed_out_until_it_is_used(device):
    device.activate()
    first = device.device_secret
    device.activate()
    assert device.device_secret == first
    device.enrol()
    assert device.activate() == NOT_AUTHORISED


def test_a_device_key_that_nobody_registered_is_refused_without_open_registration(server, operator, device):
    server.call(lambda s: setattr(s.desk.decada, "_open_registration", False))
    try:
        assert device.activate() == NOT_AUTHORISED
        registered = operator.post("/api/v1/devices", {"device_key": device.device_key})
        assert device.activate() == 0 and device.device_secret == registered["device_secret"]
    finally:
        server.call(lambda s: setattr(s.desk.decada, "_open_registration", True))


def test_the_certificate_listener_activates_nobody(device):
    device.activate()
    device.enrol()
    assert Session(device, device.first["mqtt"], 3, device.product_secret, device.identity).code in (
        BAD_CREDENTIALS,
        NOT_AUTHORISED,
    )


# EST


def test_cacerts_is_the_ca_with_and_without_a_label(device):
    for path in ("/.well-known/est/cacerts", f"/.well-known/est/{device.product_key}/cacerts"):
        answer = requests.get(device.first["https"] + path, verify=device.ca_file, timeout=10)
        assert answer.headers["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"
        found = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.content))
        assert open(device.ca_file, "rb").read() in [one.public_bytes(Encoding.PEM) for one in found]


def test_without_a_label_the_default_product_is_meant(device):
    device.activate()
    assert device.post_csr(csr(device.key), label=False).status_code == 200


def test_the_same_key_again_gets_the_same_certificate(device):
    device.activate()
    serial = device.enrol().certificate.serial_number
    assert device.enrol().certificate.serial_number == serial


def test_another_key_is_refused(device):
    device.activate()
    device.enrol()
    assert error(device.post_csr(csr(ec.generate_private_key(ec.SECP256R1())))) == (403, "another_key")
    assert device.enrol()


def test_another_devices_key_is_refused(device, tmp_path):
    device.activate()
    device.enrol()
    other = Device(device.first, device.device_key + "-other", tmp_path)
    other.activate()
    assert error(other.post_csr(csr(device.key))) == (403, "foreign_key")


@pytest.mark.parametrize("user, secret", [(None, "wrong"), ("nobody", None), ("../x", None), (None, "ä"), ("ä", "ä")])
def test_est_with_a_wrong_secret_or_name_is_refused(device, user, secret):
    device.activate()
    answer = device.post_csr(csr(device.key), user=user, secret=(secret or device.device_secret).encode())
    assert error(answer) == (401, "device_unproven") and answer.headers["WWW-Authenticate"].startswith("Basic")


def test_est_without_a_proof_is_refused(device):
    url = device.first["https"] + "/.well-known/est/simpleenroll"
    for headers in ({}, {"Authorization": "Basic ???"}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eA=="}):
        assert (
            requests.post(url, data=csr(device.key), headers=headers, verify=device.ca_file, timeout=10).status_code
            == 401
        )


def test_est_of_another_product_is_refused(device):
    device.activate()
    device.product_key = "pk-other"
    assert error(device.post_csr(csr(device.key))) == (401, "device_unproven")


def broken_signature(key):
    der = bytearray(base64.b64decode(csr(key)))
    der[-5] ^= 1
    return base64.b64encode(der)


@pytest.mark.parametrize(
    "body, code",
    [
        (b"", "csr_refused"),
        (b"not base64!", "csr_unreadable"),
        (base64.b64encode(b"not a request"), "csr_refused"),
        (csr(rsa.generate_private_key(65537, 2048)), "csr_key"),
        (csr(ec.generate_private_key(ec.SECP384R1())), "csr_key"),
        (broken_signature(ec.generate_private_key(ec.SECP256R1())), "csr_refused"),
        (base64.b64encode(b"0" * 9000), "csr_refused"),
    ],
)
def test_a_csr_that_proves_nothing_is_refused(device, body, code):
    device.activate()
    assert error(device.post_csr(body)) == (400, code)
    assert device.enrol()


def test_a_huge_csr_is_refused_before_it_is_read(device):
    device.activate()
    assert error(device.post_csr(b"A" * 100_000)) == (413, "body_too_long")


# Login


def test_a_login_needs_certificate_and_secret_and_both_of_the_same_device(device, tmp_path):
    session = device.ready()
    session.close()
    other = Device(device.first, device.device_key + "-b", tmp_path)
    other.activate()
    other.enrol()
    url = device.first["mqtt"]
    assert Session(device, url, 2, "wrong", device.identity).code == BAD_CREDENTIALS
    assert Session(device, url, 2, device.device_secret, other.identity).code == NOT_AUTHORISED
    assert Session(other, url, 2, other.device_secret, device.identity).code == NOT_AUTHORISED
    mixed = Session(
        device, url, 2, device.device_secret, device.identity, user=f"{other.device_key}&{device.product_key}"
    )
    assert mixed.code != 0
    assert Session(device, url, 2, device.device_secret, None).code is None  # the handshake itself fails


def own_ca(folder, device):
    """A certificate for the right name from the wrong CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.load_pem_x509_certificates(open(device.ca_file, "rb").read())[0].subject
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{device.product_key}/{device.device_key}")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(name)
        .public_key(device.key.public_key())
        .serial_number(device.certificate.serial_number)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "foreign.pem", folder / "foreign.key"
    cert.write_bytes(certificate.public_bytes(Encoding.PEM))
    private.write_bytes(device.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return str(cert), str(private)


def test_a_certificate_of_another_ca_is_refused_by_both_servers(device, tmp_path):
    device.activate()
    device.enrol()
    foreign = own_ca(tmp_path, device)
    assert Session(device, device.first["mqtt"], 2, device.device_secret, foreign).code is None
    with pytest.raises((requests.exceptions.SSLError, requests.exceptions.ConnectionError)):
        requests.get(device.first["https"] + "/healthz", cert=foreign, verify=device.ca_file, timeout=10)


def test_the_servers_own_certificate_is_no_client_certificate(server, device):
    device.activate()
    device.enrol()
    private = server.first["state"] + "/private/"
    identity = (private + "server.pem", private + "server-key.pem")
    assert Session(device, device.first["mqtt"], 2, device.device_secret, identity).code in (None, NOT_AUTHORISED)


def test_revocation_ends_secret_certificate_and_session_together(operator, device):
    session = device.ready()
    operator.post(f"/api/v1/devices/{device.product_key}/{device.device_key}/revoke", {})
    assert session.ended.wait(10)
    assert operator.device(device.device_key)["state"] == "revoked"
    assert device.connect().code == NOT_AUTHORISED
    assert device.activate() in (BAD_CREDENTIALS, NOT_AUTHORISED)
    assert device.post_csr(csr(device.key)).status_code == 401
    target = device.first["https"] + "/repo/targets/app/sim/1.0.0/x"
    assert requests.get(target, cert=device.identity, verify=device.ca_file, timeout=10).status_code == 401
    crl = requests.get(device.first["https"] + "/ca/crl", verify=device.ca_file, timeout=10).content
    revoked = x509.load_der_x509_crl(crl)
    assert revoked.get_revoked_certificate_by_serial_number(device.certificate.serial_number)


def test_a_newer_certificate_supersedes_the_older_which_may_log_in_for_a_day(server, device):
    from trueboot_server.fleet import registry
    from trueboot_server.names import Identity
    from trueboot_server.store.schema import certificates

    device.ready().close()
    older = device.identity

    def near_its_end(s):
        with s.store.transaction() as t:
            own = certificates.c.device_key == device.device_key
            t.execute(certificates.update().where(own).values(issued_at=t.now - 9_000_000, not_after=t.now + 1_000_000))

    server.call(near_its_end)
    device.folder = device.folder / "new"
    device.folder.mkdir()
    device.enrol()
    assert device.connect().online
    assert Session(device, device.first["mqtt"], 2, device.device_secret, older).code == 0

    def a_day_later(s):
        with s.store.transaction() as t:
            long_ago = t.now - 25 * 3600 * 1000
            t.execute(
                certificates.update().where(certificates.c.superseded_at.is_not(None)).values(superseded_at=long_ago)
            )
            return len(registry.live_certificates(t, Identity(device.product_key, device.device_key), Limits()))

    assert server.call(a_day_later) == 1
    assert Session(device, device.first["mqtt"], 2, device.device_secret, older).code == NOT_AUTHORISED


# Guessing


def test_guessing_is_slowed_down_per_address_and_harms_no_enrolled_device(tmp_path):
    server = ServerThread(tmp_path / "state", Limits(failed_proofs=3, failed_proofs_window_s=3600))
    try:
        device = Device(server.first, "a", tmp_path)
        device.activate()
        device.enrol()
        for _ in range(3):
            assert device.post_csr(csr(device.key), secret="wrong").status_code == 401
        blocked = device.post_csr(csr(device.key))
        assert error(blocked) == (429, "too_many_failures") and int(blocked.headers["Retry-After"]) > 3000
        assert device.activate() not in (0, BAD_CREDENTIALS)
        assert Operator(server.first, token="x").call("GET", "/api/v1/devices").status_code == 429
        assert device.connect().online  # it proved a certificate: that is no guess
    finally:
        server.stop()


def test_tls_below_1_2_is_refused_and_1_2_is_spoken(device):
    at = device.first["https"].rpartition(":")
    context = ssl.create_default_context(cafile=device.ca_file)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    import socket

    with (
        socket.create_connection(("127.0.0.1", int(at[2]))) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        assert tls.version() == "TLSv1.2"
