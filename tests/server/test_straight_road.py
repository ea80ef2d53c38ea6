# SPDX-License-Identifier: MIT
"""A device's whole life as the server sees it: activation to "updated", and the words of each step."""

import datetime
import hashlib

import requests
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

IMAGE = b"trueboot-app 1\n" + bytes(range(256)) * 1024


def test_a_device_from_activation_to_updated(operator, device):
    assert device.activate() == 0
    device.enrol()
    session = device.connect()
    assert session.online
    operator.wait_for("device.activated", device_key=device.device_key)
    operator.wait_for("certificate.issued", device_key=device.device_key)
    operator.wait_for("device.online", device_key=device.device_key)
    assert session.request(device.sys + "ota/device/inform", {"version": "1.0.0"}) == {
        "id": "1",
        "code": 200,
        "message": "",
        "data": {},
    }
    operator.wait_for("version.reported", version="1.0.0")

    operator.publish("app/sim/1.1.0/app.img", IMAGE)
    job = operator.post("/api/v1/jobs", {"target": "app/sim/1.1.0/app.img", "devices": [device.device_key]})
    assert job["state"] == "running" and job["version"] == "1.1.0"
    push = session.get(device.sys + "ota/device/upgrade")
    params = push["params"]
    digest = hashlib.sha256(IMAGE).hexdigest()
    assert params == {
        "version": "1.1.0", "sign": digest, "signMethod": "sha256", "fileSize": len(IMAGE), "target": "app/sim/1.1.0/app.img",
        "fileUrl": f"{device.first['https']}/repo/targets/app/sim/1.1.0/{digest}.app.img",
        "job": job["attempts"][0]["id"], "nonce": params["nonce"],
    }  # fmt: skip
    got = requests.get(params["fileUrl"], cert=device.identity, verify=device.ca_file, timeout=10)
    assert got.content == IMAGE

    for step in ("0", "50", "100"):
        assert (
            session.request(device.sys + "ota/device/progress", {"step": step, "desc": "", "job": params["job"]})[
                "code"
            ]
            == 200
        )
    attempt = operator.get(f"/api/v1/jobs/{job['id']}")["attempts"][0]
    assert (attempt["state"], attempt["step"], attempt["proven"]) == ("in_progress", 100, False)

    session.close()
    session = device.connect()  # on trial: nothing is informed, nothing is pushed
    assert session.request(device.sys + "ota/device/getversion", {})["code"] == 200
    answer = session.request(
        device.sys + "ota/device/inform", {"version": "1.1.0", "report": device.proof(push, IMAGE, "1.1.0")}
    )
    assert answer["code"] == 200
    operator.wait_for("report.accepted", outcome="updated")
    operator.wait_for("attempt.updated", job=job["id"], proven=True)
    operator.wait_for("job.done", job=job["id"])
    job = operator.get(f"/api/v1/jobs/{job['id']}")
    assert (job["state"], job["attempts"][0]["state"], job["attempts"][0]["proven"]) == ("done", "updated", True)
    shown = operator.device(device.device_key)
    assert (shown["claimed_version"], shown["proven_version"], shown["image"], shown["slot"]) == (
        "1.1.0",
        "1.1.0",
        digest,
        "b",
    )
    assert shown["state"] == "enrolled" and shown["online"]
    session.close()
    operator.wait_for("device.offline", device_key=device.device_key)


def test_telemetry_up_and_a_command_down(operator, device):
    session = device.ready()
    post = device.sys + "thing/measurepoint/post"
    assert session.request(post, {"measurepoints": {"temp": 21.5, "arr": ["1"]}, "time": 1700000000000})["code"] == 200
    operator.wait_for("telemetry", points={"temp": 21.5, "arr": ["1"]})
    assert operator.device(device.device_key)["telemetry"]["temp"] == {
        "value": 21.5,
        "time": "2023-11-14T22:13:20.000Z",
    }

    topic = device.sys + "thing/service/reboot"

    def answer(_client, _userdata, message):
        import json

        asked = json.loads(message.payload)
        assert asked["method"] == "thing.service.reboot" and asked["params"] == {"in_s": 3}
        session.client.publish(
            topic + "_reply", json.dumps({"id": asked["id"], "code": 200, "data": {"done": True}}), 1
        )

    session.client.message_callback_add(topic, answer)
    path = f"/api/v1/devices/{device.product_key}/{device.device_key}/commands"
    reply = operator.post(path, {"service": "reboot", "params": {"in_s": 3}, "timeout_s": 10})
    assert reply == {"code": 200, "data": {"done": True}, "message": ""}
    session.close()


def test_the_certificate_follows_the_server_profile(device):
    device.activate()
    certificate = device.enrol().certificate
    assert certificate.subject.rfc4514_string() == f"CN={device.product_key}/{device.device_key}"
    get = certificate.extensions.get_extension_for_class
    assert get(x509.KeyUsage).value.digital_signature and not get(x509.KeyUsage).value.key_cert_sign
    assert list(get(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert get(x509.BasicConstraints).value.ca is False
    assert get(x509.SubjectKeyIdentifier) and get(x509.AuthorityKeyIdentifier)
    base = device.first["https"] + "/ca/"
    assert get(x509.CRLDistributionPoints).value[0].full_name[0].value.startswith(base + "crl/")
    pointers = {
        one.access_method._name: one.access_location.value for one in get(x509.AuthorityInformationAccess).value
    }
    assert pointers["OCSP"] == base + "ocsp" and pointers["caIssuers"].startswith(base + "issuing/")
    names = get(x509.SubjectAlternativeName).value.get_values_for_type(x509.UniformResourceIdentifier)
    assert names == [f"urn:trueboot:{device.product_key}:{device.device_key}"]
    assert certificate.serial_number.bit_length() == 128
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert life == datetime.timedelta(days=730, hours=1)
    assert certificate.serial_number.bit_length() > 64
    assert certificate.public_key() == device.key.public_key()
