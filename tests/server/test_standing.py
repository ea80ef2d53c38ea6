# SPDX-License-Identifier: MIT
"""How a certificate stands: what the road tells of a serial number, and all that it does not tell."""

import time

import pytest
import requests
from server_client import Device, ServerThread

from trueboot_server.limits import Limits


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    limits = Limits(status_questions=30, status_window_s=3600.0)
    running = ServerThread(tmp_path_factory.mktemp("server") / "state", limits)
    yield running
    running.stop()


def ask(device, serial):
    session = requests.Session()
    session.trust_env = False
    return session.get(f"{device.first['https']}/ca/status/{serial}", verify=device.ca_file, timeout=10)


def told(device, serial):
    answer = ask(device, serial)
    assert answer.status_code == 200 and answer.headers["Cache-Control"] == "no-store", answer.text
    return answer.json()


def set_all(server, device, **values):
    from trueboot_server.store.schema import certificates

    def change(s):
        with s.store.transaction() as t:
            t.execute(certificates.update().where(certificates.c.device_key == device.device_key).values(**values))

    server.call(change)


def test_a_certificate_of_each_kind(server, operator, device):
    device.activate()
    device.enrol()
    serial = format(device.certificate.serial_number, "x")
    good = told(device, serial)
    assert set(good) == {"serial", "status", "reason", "revoked_at", "time"}
    assert (good["serial"], good["status"], good["revoked_at"]) == (serial, "good", None)
    assert abs(good["time"] - time.time()) < 60
    # However it is spelt, the answer spells it one way.
    assert told(device, serial.upper())["serial"] == serial and told(device, "0001")["serial"] == "1"
    set_all(server, device, not_after=1)
    assert told(device, serial)["status"] == "expired"
    set_all(server, device, superseded_at=1)
    assert told(device, serial)["status"] == "superseded"
    set_all(server, device, revoked_at=1, reason=4)  # pushed aside by newer ones: nobody condemned the device
    assert told(device, serial)["status"] == "superseded"
    set_all(server, device, revoked_at=1_800_000_000_000, reason=1)
    revoked = told(device, serial)
    assert (revoked["status"], revoked["reason"]) == ("revoked", "keyCompromise")
    assert revoked["revoked_at"] == "2027-01-15T08:00:00.000Z"
    set_all(server, device, reason=None)
    assert told(device, serial)["reason"] == "unspecified"


def test_a_revoked_device_is_told_so_and_its_name_is_not_in_the_answer(operator, device):
    device.activate()
    device.enrol()
    serial = format(device.certificate.serial_number, "x")
    operator.post(f"/api/v1/devices/{device.product_key}/{device.device_key}/revoke", {})
    answer = ask(device, serial)
    assert answer.json()["status"] == "revoked"
    assert device.device_key not in answer.text and device.product_key not in answer.text


def test_a_serial_that_was_never_issued_is_unknown(device):
    for serial in ("0", "1", "f" * 40):
        found = told(device, serial)
        assert (found["serial"], found["status"], found["revoked_at"]) == (serial, "unknown", None)


@pytest.mark.parametrize("odd", ["x", "0x1", "-1", "1" * 41, "1%20", "%00", "1%0A", "%C3%A9", "1,2", "*", "%25"])
def test_odd_serials_are_refused(device, odd):
    answer = ask(device, odd)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_serial")


def test_other_spellings_of_the_road_are_no_road(device):
    for path in ("", "1/2", "1/"):
        assert ask(device, path).status_code == 404


def test_askers_are_limited_by_their_address(server, device, tmp_path):
    answers = [ask(device, "1") for _ in range(31)]
    assert answers[-1].status_code == 429 and answers[-1].json()["error"]["code"] == "too_many_questions"
    assert int(answers[-1].headers["Retry-After"]) > 0
    # Nothing else is shut for them.
    assert Device(device.first, device.device_key + "-2", tmp_path).activate() == 0
