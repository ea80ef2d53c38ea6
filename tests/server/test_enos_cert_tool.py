# SPDX-License-Identifier: MIT
"""EnOS's interface of 2018, with the requests of enos-cert-tool (github.com/EnvisionIot/enos-cert-tool, get_cert.py), and
with that program itself, unmodified, where TRUEBOOT_TEST_ENOS_CERT_TOOL names the folder that it lies in: get_cert.py, and
a `venv` with what its requirements.txt lists.
"""

import hashlib
import itertools
import json
import os
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from enos_client import Enos
from server_client import Device, ServerThread, jws

from trueboot_server.keyprint import keyprint
from trueboot_server.limits import Limits

COPIED = (NameOID.COUNTRY_NAME, NameOID.STATE_OR_PROVINCE_NAME, NameOID.ORGANIZATION_NAME, NameOID.LOCALITY_NAME)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerThread(tmp_path_factory.mktemp("server") / "state", Limits(failed_proofs=1000))
    yield running
    running.stop()


@pytest.fixture
def enos(server):
    return Enos(server.first)


@pytest.fixture
def edge(server, enos, tmp_path):
    device = Device(server.first, f"edge-{next(_numbers)}", tmp_path)
    device.device_secret = enos.create(deviceKey=device.device_key)["data"]["deviceSecret"]
    device.key = rsa.generate_private_key(65537, 2048)
    return device


def csr_of_the_tool(key, root, name):
    """The subject is copied from the root, and a root without these attributes ends the tool."""
    subject = [x509.NameAttribute(oid, root.subject.get_attributes_for_oid(oid)[0].value) for oid in COPIED]
    subject += [*root.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)]
    subject += [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    return x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject)).sign(key, hashes.SHA256())


def signed_query(enos, body="", timestamp=None, **params):
    timestamp = str(int(time.time() * 1000)) if timestamp is None else timestamp
    signed = {"requestTimestamp": timestamp, "orgId": enos.org_id, **params}
    text = enos.access_key + "".join(name + signed[name] for name in sorted(signed)) + body + enos.secret_key
    sign = hashlib.sha1(text.encode()).hexdigest().upper()
    more = "".join(f"&{name}={value}" for name, value in params.items())
    return f"?accessKey={enos.access_key}&requestTimestamp={timestamp}&orgId={enos.org_id}&sign={sign}{more}"


def path(device, verb):
    return f"/connectService/products/{device.product_key}/devices/{device.device_key}/certificates/{verb}"


def post(enos, device, body, query=None):
    """As EnOSDefaultClient does: urllib, which raises for a status of 400 and more."""
    url = enos.url + path(device, "apply") + (query or signed_query(enos, body))
    request = urllib.request.Request(
        url, data=body.encode(), headers={"content-type": "application/json;charset=UTF-8"}
    )
    context = ssl.create_default_context(cafile=enos.first["ca_file"])
    with urllib.request.urlopen(request, timeout=20, context=context) as answer:
        found = json.loads(answer.read())
    assert {"status", "requestId", "submsg", "data", "msg"} <= set(found)
    return found


def root_of(enos):
    answer = requests.get(enos.url + "/enos/CA/cacert", verify=enos.first["ca_file"], timeout=10)
    answer.raise_for_status()
    return x509.load_pem_x509_certificate(answer.content)


def body_of(enos, device):
    request = csr_of_the_tool(device.key, root_of(enos), device.device_key)
    return json.dumps(request.public_bytes(Encoding.PEM).decode())


def test_the_tools_requests_get_a_certificate_that_logs_in(enos, edge):
    answer = post(enos, edge, body_of(enos, edge))
    assert answer["status"] == 0 and {"certChainURL", "cert", "certSN"} <= set(answer["data"])
    cert, private = edge.folder / "edge.pem", edge.folder / "edge.key"
    cert.write_text(answer["data"]["cert"])
    private.write_bytes(edge.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    edge.identity = (str(cert), str(private))
    session = edge.connect()
    assert session.online
    session.close()
    assert post(enos, edge, body_of(enos, edge))["data"] == answer["data"]


def test_a_report_of_a_key_that_signs_none_is_refused_and_the_session_goes_on(enos, edge):
    """An RSA key: such a device ends its jobs by claiming the version."""
    answer = post(enos, edge, body_of(enos, edge))
    cert, private = edge.folder / "edge.pem", edge.folder / "edge.key"
    cert.write_text(answer["data"]["cert"])
    private.write_bytes(edge.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    edge.identity = (str(cert), str(private))
    session = edge.connect()
    kid = keyprint(edge.key.public_key())
    report = jws(ec.generate_private_key(ec.SECP256R1()), {"aud": edge.product_key}, {"kid": kid})
    refused = session.request(edge.sys + "ota/device/inform", {"version": "1.0.0", "report": report})
    assert refused["code"] != 200
    assert session.request(edge.sys + "ota/device/inform", {"version": "1.0.0"})["code"] == 200
    session.close()


def test_list_and_revoke_of_the_same_interface(enos, edge):
    number = post(enos, edge, body_of(enos, edge))["data"]["certSN"]
    listed = enos.session.get(enos.url + path(edge, "list") + signed_query(enos), timeout=20).json()
    assert [(found["certSN"], found["certStatus"]) for found in listed["data"]] == [(number, 0)]
    query = signed_query(enos, certSN=number)
    revoked = enos.session.delete(enos.url + path(edge, "revoke") + query, timeout=20).json()
    assert (revoked["status"], revoked["data"]) == (0, None)
    listed = enos.session.get(enos.url + path(edge, "list") + signed_query(enos), timeout=20).json()
    assert listed["data"][0]["certStatus"] == 1
    assert "revoked" in post(enos, edge, body_of(enos, edge))["msg"]


def test_a_refusal_is_one_that_the_tool_can_read(enos, edge):
    body = body_of(enos, edge)
    assert post(enos, edge, body.replace("C", "D", 1))["status"] == 99400
    assert post(enos, edge, '"x"')["status"] == 99400
    assert post(enos, edge, "{")["status"] == 99400
    assert post(enos, edge, body, signed_query(enos, body) + "0")["status"] == 1003
    assert post(enos, edge, body, signed_query(enos, body).replace("orgId=", "orgId=x"))["status"] == 1003
    assert post(enos, edge, body, signed_query(enos, body, timestamp="1"))["status"] == 1004
    assert post(enos, edge, body, "?orgId=x")["status"] == 1202
    edge.device_key = "edge-none"
    assert post(enos, edge, body)["status"] == 11404


def test_the_unmodified_tool(enos, edge):
    given = os.environ.get("TRUEBOOT_TEST_ENOS_CERT_TOOL")
    if not given:
        pytest.skip("TRUEBOOT_TEST_ENOS_CERT_TOOL is not set: the folder of enos-cert-tool's get_cert.py and its venv")
    folder = Path(given).resolve()
    named = {"productKey": edge.product_key, "deviceKey": edge.device_key}
    values = {
        "root_cert_url": enos.url + "/enos/CA/cacert",
        "CN": enos.get(named)["data"]["assetId"],
        "org_id": enos.org_id,
        "product_key": edge.product_key,
        "device_key": edge.device_key,
        "api_url": enos.url,
        "access_key": enos.access_key,
        "secret_key": enos.secret_key,
    }
    lines = ["[required]", *(f"{name}={value}" for name, value in values.items())]
    (edge.folder / "get_cert.ini").write_text("\n".join([*lines, "[option]", "LOCATION=", "OU=", "password=", ""]))
    # The tool trusts what the machine trusts: of its two HTTP libraries each has its own name for that.
    trust = {"REQUESTS_CA_BUNDLE": enos.first["ca_file"], "SSL_CERT_FILE": enos.first["ca_file"]}
    done = subprocess.run(
        [folder / "venv" / "bin" / "python", folder / "get_cert.py"],
        cwd=edge.folder,
        env={**os.environ, **trust},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    edge.identity = (str(edge.folder / "edge.pem"), str(edge.folder / "edge.key"))
    assert edge.connect().online
