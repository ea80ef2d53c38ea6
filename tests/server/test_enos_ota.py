# SPDX-License-Identifier: MIT
"""Firmwares and OTA jobs over EnOS's REST, as an application of EnOS's speaks it."""

import hashlib
import itertools
import json
import urllib.parse

import pytest
from enos_client import Enos, now_ms, signature
from server_client import Device, Operator, ServerThread

from trueboot_server.limits import Limits

IMAGE, PATH = b"an image of 1.1.0\r\n--x\r\n" + bytes(range(256)), "app/sim/1.1.0/app.img"
FIRMWARES, JOBS = "/connect-service/v2.1/ota-firmwares", "/connect-service/v2.1/ota-jobs"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    limits = Limits(failed_proofs=1000, enos_firmware_bytes=64 * 1024)
    running = ServerThread(tmp_path_factory.mktemp("server") / "state", limits)
    Operator(running.first).publish(PATH, IMAGE)
    yield running
    running.stop()


class Ota(Enos):
    def upload(self, file=IMAGE, sign_body=True, boundary="b0und4ry", raw=None, **metadata):
        told = {
            "name": {"defaultValue": f"firmware {next(_numbers)}"},
            "version": "1.1.0",
            "signMethod": "sha256",
            "sign": hashlib.sha256(file or b"").hexdigest(),
            "enableVerification": False,
            "whatever": [1],
            **metadata,
        }
        told = {name: value for name, value in told.items() if value is not ...}
        parts = [b'Content-Disposition: form-data; name="metadata"\r\n\r\n' + json.dumps(told).encode()]
        if file is not None:
            parts.append(b'Content-Disposition: form-data; name="file"; filename="fw.bin"\r\n\r\n' + file)
        mark = b"--" + boundary.encode()
        body = raw or b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts) + mark + b"--\r\n"
        query = {"action": "create", "orgId": self.org_id, "productKey": self.first["product_key"]}
        timestamp = str(now_ms())
        proof = signature(self.token, list(query.items()), body if sign_body else b"", timestamp, self.secret_key)
        headers = {"apim-accesstoken": self.token, "apim-signature": proof, "apim-timestamp": timestamp}
        headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
        url = f"{self.url}{FIRMWARES}?{urllib.parse.urlencode(query)}"
        return self.session.post(url, data=body, headers=headers, timeout=20).json()

    def firmware(self, **metadata):
        answer = self.upload(**metadata)
        assert answer["code"] == 0, answer
        return answer["data"]["firmwareId"]

    def firmwares(self, action, method="GET", **query):
        return self.call(method, FIRMWARES, {"action": action, **query}).json()

    def job(self, action, method="POST", body=None, **query):
        return self.call(method, JOBS, {"action": action, **query}, body).json()

    def make(self, firmware, devices, **body):
        told = {"type": "upgrade", "upgradePolicy": "snapshot", "enableUpgradeRequest": False}
        told["upgradeScope"] = {"type": "partial", "deviceKeys": [device.device_key for device in devices]}
        answer = self.job("create", body={**told, "unknown": 1, **body}, firmwareId=firmware)
        assert answer["code"] == 0, answer
        return answer["data"]["jobId"]


@pytest.fixture
def enos(server):
    return Ota(server.first)


@pytest.fixture
def sessions(server, tmp_path):
    devices = [Device(server.first, f"ota-{next(_numbers)}", tmp_path) for _ in range(2)]
    found = {device: device.ready() for device in devices}
    yield found
    for session in found.values():
        session.close()


def test_a_firmware_is_a_name_for_a_signed_release(enos):
    number = enos.firmware(desc="spring", firmwareTags={"ring": "a"})
    shown = enos.firmwares("get", firmwareId=number)["data"]
    assert (shown["version"], shown["target"], shown["published"], shown["verified"]) == ("1.1.0", PATH, True, True)
    assert (shown["desc"], shown["firmwareTags"], shown["fileSize"]) == ("spring", {"ring": "a"}, len(IMAGE))
    assert number in [one["firmwareId"] for one in enos.firmwares("search", "POST")["data"]]
    by_md5 = enos.firmware(signMethod="md5", sign=hashlib.md5(IMAGE).hexdigest().upper(), sign_body=False)
    assert enos.firmwares("delete", "POST", firmwareId=by_md5)["code"] == 0
    assert enos.firmwares("get", firmwareId=by_md5)["code"] == 99400


def test_a_bundle_is_taken_for_the_image_in_it(enos):
    bundle = b"trueboot-bundle 1\n3 1.root\nabc" + b"%d target:%s\n" % (len(IMAGE), PATH.encode()) + IMAGE
    number = enos.firmware(file=bundle)
    assert enos.firmwares("get", firmwareId=number)["data"]["target"] == PATH
    for broken in (bundle[:20], b"trueboot-bundle 1\n" + b"9" * 99, b"trueboot-bundle 1\nx y\n"):
        assert enos.upload(file=broken)["code"] == 99400


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"file": b"anything"}, "not the image of a signed release"), ({"file": None}, "the part file is missing"),
        ({"enableVerification": ...}, "enableVerification is missing"), ({"enableVerification": "no"}, "enableVerification is missing"),
        ({"sign": "0" * 64}, "sign is not the sha256"), ({"sign": ...}, "sign is missing"), ({"signMethod": "crc"}, "md5 or sha256"),
        ({"version": "1.2.0"}, "it was signed as 1.1.0"), ({"version": 1.1}, "version is missing"), ({"name": "x"}, "name.defaultValue"),
        ({"minSuccessForVerified": 0}, "minSuccessForVerified"), ({"desc": "x" * 9000}, "metadata is longer"),
        ({"raw": b"--b0und4ry"}, "cut short"), ({"raw": b"\x00" * 99}, "cut short"), ({"raw": b"--b0und4ry\r\nx\r\n--b0und4ry--"}, "without a name"),
        ({"boundary": "\xfc"}, ""),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(enos, wrong, said):
    if wrong.get("boundary"):
        wrong = {"raw": b"x", "boundary": "a b c" * 30}
    answer = enos.upload(**wrong)
    assert answer["code"] == 99400 and said in answer["msg"], answer


def test_an_upload_is_signed_and_bounded(enos):
    assert enos.upload(file=b"x" * 70_000).get("code", 99400) == 99400
    enos.secret_key, kept = "wrong", enos.secret_key
    assert enos.upload()["code"] == 1003
    enos.secret_key, enos._token = kept, "not a token"
    assert enos.upload()["code"] == 1203


def test_a_job_is_made_started_and_proven(enos, sessions):
    job = enos.make(enos.firmware(), sessions, name={"defaultValue": "spring"}, maximumConcurrency=5)
    shown = enos.job("get", "GET", jobId=job)["data"]
    assert (shown["status"], shown["name"], shown["maximumConcurrency"]) == ("created", {"defaultValue": "spring"}, 5)
    for device, session in sessions.items():
        assert session.request(device.sys + "ota/device/getversion", {})["data"] == []
    assert enos.job("start", jobId=job)["code"] == 0
    assert enos.job("start", jobId=job)["code"] == 24615
    operator = Operator(enos.first)
    for device, session in sessions.items():
        push = session.get(device.sys + "ota/device/upgrade")
        params = {"version": "1.1.0", "report": device.proof(push, IMAGE, "1.1.0")}
        assert session.request(device.sys + "ota/device/inform", params)["code"] == 200
    while enos.job("get", "GET", jobId=job)["data"]["status"] != "done":
        operator.wait_for("job.done", job=job)
    assert enos.job("get", "GET", jobId=job)["data"]["statistics"]["proven"] == 2
    assert job in [one["jobId"] for one in enos.job("search")["data"]]
    assert enos.job("delete", jobId=job)["code"] == 0
    assert enos.job("get", "GET", jobId=job)["code"] == 24404


def test_stop_cancel_and_retry(enos, sessions):
    [a, b] = sessions
    job = enos.make(enos.firmware(), sessions)
    enos.job("start", jobId=job)
    for device, session in sessions.items():
        push = session.get(device.sys + "ota/device/upgrade")
        told = {"step": "-2", "job": push["params"]["job"]}
        assert session.request(device.sys + "ota/device/progress", told)["code"] == 200
    operator = Operator(enos.first)
    while (state := enos.job("get", "GET", jobId=job)["data"])["status"] != "done":  # EnOS halts nothing
        operator.wait_for("job.done", job=job)
    assert state["statistics"]["failed"] == 2
    assert enos.job("retry", jobId=job)["code"] == 0
    for device, session in sessions.items():
        assert session.get(device.sys + "ota/device/upgrade")["params"]["retry"] is True
    assert enos.job("delete", jobId=job)["code"] == 99400
    assert enos.job("stop", jobId=job)["code"] == 0 and enos.job("start", jobId=job)["code"] == 0
    assert enos.job("cancel", jobId=job)["code"] == 0
    assert enos.job("get", "GET", jobId=job)["data"]["status"] == "cancelled"


def test_a_failed_device_is_tried_again_as_often_as_the_retry_policy_says(enos, sessions):
    device = next(iter(sessions))
    job = enos.make(enos.firmware(), [device], retryPolicy={"retryTimes": 1, "interval": 60})
    enos.job("start", jobId=job)
    for _ in range(2):
        push = sessions[device].get(device.sys + "ota/device/upgrade")
        told = {"step": "-2", "job": push["params"]["job"]}
        sessions[device].request(device.sys + "ota/device/progress", told)
    operator = Operator(enos.first)
    while (state := enos.job("get", "GET", jobId=job)["data"])["status"] != "done":
        operator.wait_for("job.done", job=job)
    assert state["statistics"]["failed"] == 1


def test_verification_comes_before_the_roll_out(enos, sessions):
    [a, b] = sessions
    firmware = enos.firmware(enableVerification=True, maxAllowedForVerification=1)
    told = {"type": "upgrade", "upgradeScope": {"type": "all"}, "upgradePolicy": "snapshot"}
    refused = enos.job("create", body=told, firmwareId=firmware)
    assert refused["code"] == 99400 and "enableVerification" in refused["msg"]
    both = {
        "type": "verify",
        "upgradeScope": {"type": "partial", "devices": [a.device_key, {"deviceKey": b.device_key}]},
    }
    assert "may verify" in enos.job("create", body=both, firmwareId=firmware)["msg"]
    job = enos.make(firmware, [a], type="verify")
    enos.job("start", jobId=job)
    push = sessions[a].get(a.sys + "ota/device/upgrade")
    report = a.proof(push, IMAGE, "1.1.0")
    assert sessions[a].request(a.sys + "ota/device/inform", {"version": "1.1.0", "report": report})["code"] == 200
    assert enos.firmwares("get", firmwareId=firmware)["data"]["verified"] is True
    assert enos.make(firmware, [b])
    assert enos.firmwares("delete", "POST", firmwareId=firmware)["code"] == 99400


def test_incremental_is_dynamic_and_a_schedule_is_kept(enos, sessions):
    policy = {"startTime": "2099-01-01T00:00:00", "dailyStartTime": "22:00:00", "dailyEndTime": "04:00:00"}
    device = next(iter(sessions))
    job = enos.make(enos.firmware(), [device], upgradePolicy="incremental", schedulePolicy=policy, upgradeTimeout=600)
    enos.job("start", jobId=job)
    shown = enos.job("get", "GET", jobId=job)["data"]
    assert (shown["status"], shown["upgradePolicy"], shown["upgradeTimeout"]) == ("scheduled", "incremental", 600)
    ours = Operator(enos.first).get(f"/api/v1/campaigns/{job}")
    assert (ours["window"], ours["start_at"], ours["dynamic"]) == ("22:00-04:00", "2099-01-01T00:00:00.000Z", True)
    enos.job("cancel", jobId=job)


def test_a_job_that_cannot_be_meant_is_refused(enos, sessions):
    firmware = enos.firmware()
    device = next(iter(sessions))
    good = {"type": "upgrade", "upgradeScope": {"type": "all"}, "upgradePolicy": "snapshot"}
    for changed in (
        {"type": "other"}, {"upgradeScope": None}, {"upgradeScope": {"type": "partial"}}, {"upgradePolicy": "always"},
        {"upgradeTimeout": 299}, {"upgradeTimeout": "600"}, {"maximumConcurrency": 0}, {"enableUpgradeRequest": "yes"},
        {"name": "x"}, {"schedulePolicy": {"startTime": "soon"}}, {"upgradeScope": {"versionList": ["one"]}},
    ):  # fmt: skip
        assert enos.job("create", body=good | changed, firmwareId=firmware)["code"] == 99400, changed
    unknown = {"upgradeScope": {"type": "partial", "deviceKeys": ["nobody"]}}
    assert enos.job("create", body=good | unknown, firmwareId=firmware)["code"] == 11404
    assert enos.job("create", body=good, firmwareId="7777")["code"] == 99400
    assert enos.job("explode", jobId="1")["code"] == 99400
    for action in ("start", "stop", "cancel", "retry", "delete"):
        for number in ("", "x", "999999", "1" * 30):
            assert enos.job(action, jobId=number)["code"] == 24404
    versions = {"upgradeScope": {"versionList": ["1.0.0", "1.0.1"], "deviceKeys": [device.device_key]}}
    assert enos.job("create", body=good | versions, firmwareId=firmware)["code"] == 0
