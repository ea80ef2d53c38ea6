# SPDX-License-Identifier: MIT
"""The dialect: login signatures by the published vectors, messages out and in, garbage refused."""

import binascii
import hashlib
import json

from agent import token
from agent.clouds.decada import DYNAMIC, STATIC, Decada
from expect import refused, value_or_agent_error

SYS = "/sys/pk/dk/"


def body(**message):
    return json.dumps(message).encode()


def test_login_signs_the_sorted_pairs():
    client, user, password = Decada("654321", "test").login(STATIC, "abcdefg", 1548753362502)
    assert client == "test|securemode=2,signmethod=sha256,timestamp=1548753362502|"
    assert user == "test&654321"
    text = b"clientIdtestdeviceKeytestproductKey654321timestamp1548753362502abcdefg"
    assert password == binascii.hexlify(hashlib.sha256(text).digest()).decode()
    assert "securemode=3" in Decada("p", "d").login(DYNAMIC, "s", 1)[0]


def test_login_agrees_with_the_vector_of_the_documentation():
    # clientId=123456 there, a device key here: the one place where our client id is always the device key.
    text = b"clientId123456deviceKeytestproductKey654321timestamp1548753362502abcdefg"
    digest = binascii.hexlify(hashlib.sha256(text).digest()).decode()
    assert digest == "b99032d49c706f7b27b22ab5cd2dd3c56a31e1bcbbc83ba0a2a6bb3272fbb166"


def test_inform_carries_the_version_and_the_report_beside_it():
    identifier, topic, payload = Decada("pk", "dk").report_version("1.2.3", "a.b.c")
    message = json.loads(payload)
    assert topic == SYS + "ota/device/inform" and message["method"] == "ota.device.inform"
    assert message["params"] == {"version": "1.2.3", "report": "a.b.c"} and message["id"] == identifier
    assert isinstance(identifier, str)


def test_progress_sends_its_step_as_a_text():
    message = json.loads(Decada("pk", "dk").progress(-3, "why", "7", "")[2])
    assert message["params"] == {"step": "-3", "desc": "why", "job": "7"}


def test_an_upgrade_push_is_an_offer():
    params = {"version": "2.0.0", "sign": "AB", "signMethod": "SHA256", "fileUrl": "https://h/x", "fileSize": 9}
    params.update({"target": "app/x", "job": "7", "nonce": "n", "unknown": 1})
    kind, offer, topic, identifier = Decada("pk", "dk").read(SYS + "ota/device/upgrade", body(id="901", params=params))
    assert (kind, topic, identifier) == ("offered", SYS + "ota/device/upgrade", "901")
    assert offer["digest"] == "ab" and offer["method"] == "sha256" and offer["length"] == 9 and offer["job"] == "7"


def test_replies_commands_and_activation_are_told_apart():
    cloud = Decada("pk", "dk")
    assert cloud.read(SYS + "ota/device/inform_reply", body(id="4", code=200)) == (
        "replied", "ota/device/inform", "4", 200, "",
    )  # fmt: skip
    assert cloud.read(SYS + "ota/device/inform_reply", body(id="4", code="200"))[3] == 200
    assert cloud.read(SYS + "thing/service/reset", body(id="5", params={"a": 1}))[:3] == ("command", "reset", {"a": 1})
    topic = "/ext/session/pk/dk/thing/activate/info"
    assert cloud.read(topic, body(id="1", params={"deviceSecret": "s"})) == ("activated", "s", topic, "1")
    assert cloud.read("/sys/pk/other/ota/device/upgrade", body(id="1", params={})) is None


def test_messages_that_break_the_protocol_are_refused():
    cloud = Decada("pk", "dk")
    upgrade = SYS + "ota/device/upgrade"
    for payload in (b"", b"[]", b"\xff", b"{", body(id="1"), body(id="1", params=[]), body(params={"version": "1"})):
        refused("cloud_message", cloud.read, upgrade, payload)
    good = {"version": "2", "sign": "a", "signMethod": "sha256", "fileUrl": "u", "fileSize": 9}
    for name, value in (("fileSize", -1), ("fileSize", "9"), ("fileSize", True), ("version", 2), ("sign", "")):
        bad = dict(good)
        bad[name] = value
        refused("cloud_message", cloud.read, upgrade, body(id="1", params=bad))
    refused("cloud_message", cloud.read, upgrade, b" " * 9000)


def test_any_bytes_give_an_event_or_our_own_error():
    cloud = Decada("pk", "dk")
    whole = body(id="1", code=200, params={"deviceSecret": "s", "version": "1"})
    for topic in (SYS + "ota/device/upgrade", SYS + "thing/service/x", SYS + "a_reply"):
        for cut in range(len(whole)):
            value_or_agent_error(cloud.read, topic, whole[:cut])
            value_or_agent_error(cloud.read, topic, whole[:cut] + b"\x00\xff" + whole[cut:])


def test_base64url_has_no_padding_and_the_thumbprint_is_that_of_rfc_7638():
    assert token.base64url(b"\xfb\xff\xfe") == "-__-" and token.base64url(b"a") == "YQ"
    point = b"\x04" + b"\x01" * 32 + b"\x02" * 32
    x, y = token.base64url(b"\x01" * 32), token.base64url(b"\x02" * 32)
    members = '{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}' % (x, y)
    assert token.thumbprint(point) == token.base64url(hashlib.sha256(members.encode()).digest())
