# SPDX-License-Identifier: MIT
"""The CA's keys, certificates and revocations, against a running server with a root that issues nothing itself."""

import base64
import subprocess

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs7
from server_client import ServerThread

from trueboot_server.ca import files

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
