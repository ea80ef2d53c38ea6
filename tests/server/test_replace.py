# SPDX-License-Identifier: MIT
"""A board that was erased: recognised, refused, and made the same device again when the operator says so."""

import json
import queue
import threading

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from server_client import PATIENCE_S, Device, csr

NOT_AUTHORISED = 135


def error(answer):
    return answer.status_code, answer.json()["error"]["code"]


def path(device, verb):
    return f"/api/v1/devices/{device.product_key}/{device.device_key}/{verb}"


def erased(device):
    """The same board after its flash was erased: new key, no secret."""
    (device.folder / "again").mkdir(exist_ok=True)
    return Device(device.first, device.device_key, device.folder / "again")


def told(operator, device, name):
    return [e for e in operator.events() if e["event"] == name and e.get("device_key") == device.device_key]


def test_an_erased_board_is_recognised_refused_and_let_in_by_order(operator, device):
    session = device.ready()
    session.close()
    board = erased(device)
    for _ in range(3):
        assert board.activate() == NOT_AUTHORISED
    assert operator.device(device.device_key)["reflashed_at"]
    assert len(told(operator, device, "device.reflashed")) == 1  # however often it asks
    answer = operator.post(path(device, "replace"), {})
    assert (answer["state"], answer["reflashed_at"], answer["certificate"]) == ("registered", None, None)
    assert board.ready().online
    assert board.device_secret == answer["device_secret"] != device.device_secret
    names = [d["device_key"] for d in operator.get("/api/v1/devices")["devices"]]
    assert names.count(device.device_key) == 1
    assert device.connect().code == NOT_AUTHORISED  # what it was is over
    assert device.post_csr(csr(device.key)).status_code == 401
    with requests.Session() as plain:
        plain.trust_env = False
        gone = plain.post(
            device.first["https"] + "/.well-known/est/simplereenroll",
            data=csr(ec.generate_private_key(ec.SECP256R1())),
            headers={"Content-Type": "application/pkcs10"},
            cert=device.identity,
            verify=device.ca_file,
            timeout=PATIENCE_S,
        )
    assert error(gone) == (401, "certificate_required")


def test_a_board_with_its_secret_and_a_new_key_is_recognised_too(operator, device):
    device.ready().close()
    assert error(device.post_csr(csr(ec.generate_private_key(ec.SECP256R1())))) == (403, "another_key")
    (event,) = told(operator, device, "device.reflashed")
    assert event["how"] == "another key" and operator.device(device.device_key)["reflashed_at"]


def test_a_device_that_lives_on_settles_a_strangers_question(operator, device):
    device.ready().close()
    assert erased(device).activate() == NOT_AUTHORISED
    assert device.connect().online
    assert operator.device(device.device_key)["reflashed_at"] is None
    assert told(operator, device, "device.not_reflashed")


def test_replace_is_the_same_however_often_it_is_said(operator, device):
    device.ready().close()
    first = operator.post(path(device, "replace"), {})
    assert operator.post(path(device, "replace"), {})["device_secret"] == first["device_secret"]
    board = erased(device)
    board.activate()
    assert operator.post(path(device, "replace"), {})["device_secret"] == board.device_secret
    assert len(told(operator, device, "device.replaced")) == 1
    board.enrol()
    assert operator.post(path(device, "replace"), {})["device_secret"] != board.device_secret


def test_replace_cuts_the_session_and_brings_back_a_revoked_device(operator, device):
    session = device.ready()
    operator.post(path(device, "replace"), {})
    assert session.ended.wait(PATIENCE_S)
    board = erased(device)
    board.ready().close()
    operator.post(path(device, "revoke"), {})
    assert erased(device).activate() == NOT_AUTHORISED
    operator.post(path(device, "replace"), {})
    assert erased(device).ready().online


def test_replace_of_nothing_and_with_nonsense_is_refused(operator, device):
    assert error(operator.call("POST", path(device, "replace"), {})) == (404, "no_such_device")
    device.activate()
    assert error(operator.call("POST", path(device, "replace"), {"tpm_too": "yes"})) == (400, "bad_parameter")
    assert error(operator.call("POST", path(device, "replace"), {"tpm": True})) == (400, "unknown_member")


def test_a_tpm_is_pre_registered_once(operator, device):
    body = {"device_key": device.device_key, "ek": "ab" * 32}
    assert operator.post("/api/v1/devices", body)["key"]["ek"] == "ab" * 32
    again = {"device_key": device.device_key + "-b", "ek": "ab" * 32}
    assert error(operator.call("POST", "/api/v1/devices", again)) == (409, "foreign_ek")
    assert error(operator.call("POST", "/api/v1/devices", {**again, "ek": "AB" * 32})) == (400, "bad_ek")
    assert operator.post(path(device, "replace"), {})["key"]["ek"] == "ab" * 32
    assert operator.post(path(device, "replace"), {"tpm_too": True})["key"]["ek"] is None
    operator.post("/api/v1/devices", again)


@pytest.mark.parametrize("code", [200, 404])
def test_a_connected_device_is_asked_to_renew(operator, device, code):
    session = device.ready()
    topic = device.sys + "thing/service/trueboot.renew"
    answers = queue.Queue()
    asking = threading.Thread(target=lambda: answers.put(operator.call("POST", path(device, "renew"), {})))
    asking.start()
    request = session.get(topic)
    assert request["params"] == {}
    session.client.publish(topic + "_reply", json.dumps({"id": request["id"], "code": code, "message": "no"}), 1)
    asking.join(PATIENCE_S)
    answer = answers.get(timeout=PATIENCE_S)
    if code == 200:
        assert answer.status_code == 200 and told(operator, device, "device.renewal_asked")
    else:
        assert error(answer) == (409, "renewal_declined")


def test_a_device_that_is_away_cannot_be_asked_to_renew(operator, device):
    device.activate()
    assert error(operator.call("POST", path(device, "renew"), {})) == (409, "device_offline")
