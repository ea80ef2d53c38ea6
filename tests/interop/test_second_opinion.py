# SPDX-License-Identifier: MIT
"""OpenSSL and curl about what we make: certificate requests, certificates, EST answers, TLS."""

import base64
import json
import re
import shutil
import subprocess

import pytest

from agent.wire import csr
from live_server import live_server
from platform_adapters.keystores.software import SoftwareKeys

pytestmark = [
    pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed (debian-packages.txt)")
    for program in ("openssl", "curl")
]


def run(*command, data=None):
    done = subprocess.run(command, input=data, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode() + done.stderr.decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with live_server(tmp_path_factory.mktemp("server") / "state") as first_line:
        yield first_line


@pytest.fixture
def keys(tmp_path):
    store = SoftwareKeys(tmp_path / "keys")
    store.make("a")
    return store


def request(keys, name):
    return csr.build(name, keys.public("a"), lambda message: keys.sign("a", message))


def curl(server, path, *more, data=None):
    return run("curl", "--silent", "--fail", "--cacert", server["ca_file"], *more, server["https"] + path, data=data)


def is_of(certificate, name):
    return name in run("openssl", "x509", "-noout", "-subject", data=certificate.encode())


def test_certificate_request(keys, tmp_path):
    (tmp_path / "csr.der").write_bytes(request(keys, "product/device"))
    said = run(
        "openssl", "req", "-inform", "DER", "-in", str(tmp_path / "csr.der"), "-noout", "-verify", "-subject", "-text"
    )
    assert "verify OK" in said
    assert "product/device" in said
    assert "NIST CURVE: P-256" in said
    assert "Digital Signature" in said


def test_enrolment_with_curl(server, keys, tmp_path):
    """A device made of curl and OpenSSL: EST by RFC 7030, and then a connection with the certificate."""
    token = "Authorization: Bearer " + server["admin_token"]
    made = curl(
        server, "/api/v1/devices", "-H", token, "-H", "Content-Type: application/json", "-d", '{"device_key": "curl-1"}'
    )
    secret = json.loads(made)["device_secret"]
    body = base64.encodebytes(request(keys, f"{server['product_key']}/curl-1"))
    answer = curl(
        server,
        f"/.well-known/est/{server['product_key']}/simpleenroll",
        "--user",
        f"curl-1:{secret}",
        "-H",
        "Content-Type: application/pkcs10",
        "--data-binary",
        "@-",
        data=body,
    )
    chain = run("openssl", "pkcs7", "-inform", "DER", "-print_certs", data=base64.b64decode(answer))
    # A PKCS#7 message holds a set, in no order; a server or a client wants its own certificate first.
    found = sorted(re.findall("-----BEGIN.*?-----END[^\n]*\n", chain, re.S), key=lambda one: not is_of(one, "curl-1"))
    (tmp_path / "device.pem").write_text("".join(found))
    (tmp_path / "issuing.pem").write_text("".join(found[1:] or found))
    trust = ("-CAfile", server["ca_file"], "-untrusted", str(tmp_path / "issuing.pem"))
    assert "OK" in run("openssl", "verify", "-purpose", "sslclient", *trust, str(tmp_path / "device.pem"))
    shown = run("openssl", "x509", "-in", str(tmp_path / "device.pem"), "-noout", "-subject")
    assert f"{server['product_key']}/curl-1" in shown
    identity = ("--cert", str(tmp_path / "device.pem"), "--key", str(keys.file("a")))
    assert curl(server, "/healthz", *identity)


def test_ca_certificates(server):
    answer = curl(server, "/.well-known/est/cacerts")
    chain = run("openssl", "pkcs7", "-inform", "DER", "-print_certs", data=base64.b64decode(answer))
    assert "BEGIN CERTIFICATE" in chain


def test_mqtt_listeners_offer_tls_1_2(server):
    """Boards speak 1.2 only; the listener for devices with certificates asks for one."""
    for name in ("mqtt", "mqtt_activate"):
        address = server[name].removeprefix("mqtts://")
        command = (
            "openssl",
            "s_client",
            "-connect",
            address,
            "-CAfile",
            server["ca_file"],
            "-verify_return_error",
            "-tls1_2",
        )
        said = subprocess.run(command, input=b"", capture_output=True, timeout=30).stdout.decode()
        assert "Verify return code: 0" in said
        assert ("Client Certificate Types" in said) == (name == "mqtt")
