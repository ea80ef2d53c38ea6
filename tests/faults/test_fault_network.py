# SPDX-License-Identifier: MIT
"""Between a device and its server: each fault gives a clear reason, tells the other side nothing, and ends by itself.

All the patients fall ill at once, are healed at once, and are examined one by one.  None of them is started again.
"""

import shutil
from pathlib import Path

import pytest
from door import DAY, Authority, Impostor, silent
from rig import RUNTIMES, configure, environment

from trueboot.demo.story import micropython_lacks

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
YEARS = 365 * DAY
AT_1970, AT_2000 = "@1970-01-01 00:01:00", "@2000-01-01 00:01:00"


@pytest.fixture(scope="module", autouse=True)
def unheard(shared_rig):
    """Their server never answers.  They need 20 s to say so, which they spend beside the tests that come before theirs;
    no longer than this file takes, since each try makes the next one wait longer."""
    devices = {one: shared_rig.device(one) for one in RUNTIMES if one == "cpython" or not micropython_lacks()}
    for device in devices.values():
        shared_rig.doors[device.name]["mqtt_activate"].behave(silent)
        device.power_on()
    yield devices
    shared_rig.retire(*devices.values())


class Patient:
    """A device with one fault, and how it is healed."""

    def __init__(self, device, code, words, heal, impostor=None):
        self.device, self.code, self.words, self.heal, self.impostor = device, code, words, heal, impostor
        self.restarted = device.runtime == "cpython" and heal.__qualname__.startswith("clock_at")


def impostor_at(way, foreign=False, **certificate):
    def fall_ill(rig, runtime, folder):
        authority = Authority(None if foreign else Path(rig.server_info["state"]))
        device = rig.device(runtime)
        door = rig.doors[device.name][way]
        impostor = Impostor(authority.server(folder, **certificate))
        door.behave(impostor)
        return device, lambda: door.behave(None), impostor

    return fall_ill


def clock_at(moment):
    """The process's wall clock stands at `moment`, and its healing sets it.

    On CPython the healing is a start without faketime: from 3.11 on `time.sleep` waits until a moment of the monotonic
    clock, which libfaketime 0.9.10 shifts too, so that the second wait never ends.  MicroPython's clock is set as it runs.
    """

    def fall_ill(rig, runtime, folder):
        clock = folder / f"clock-{runtime}-{moment[1:5]}"
        clock.parent.mkdir(parents=True, exist_ok=True)
        clock.write_text(moment)
        fake = {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        wrap = environment(**fake)
        device = rig.device(runtime, wrap=wrap)

        def heal():
            clock.write_text("+0")
            if runtime == "cpython":
                del device._command[: len(wrap)]
                device.pull_power()

        return device, heal, None

    return fall_ill


ILL = {
    "foreign_ca-https": (impostor_at("https", foreign=True), "tls_untrusted", "not vouched for by ca_file"),
    "expired-mqtt": (impostor_at("mqtt", start=-2 * YEARS, end=-DAY), "tls_expired", "has expired"),
    "expired-https": (impostor_at("https", start=-2 * YEARS, end=-DAY), "tls_expired", "has expired"),
    "wrong_name-mqtt": (
        impostor_at("mqtt", names=["elsewhere.example", "127.0.0.2"]),
        "tls_name",
        "is not for 127.0.0.1",
    ),
    "wrong_name-https": (impostor_at("https", names=["elsewhere.example"]), "tls_name", "is not for 127.0.0.1"),
    "not_yet_valid-https": (
        impostor_at("https", start=30 * DAY, end=60 * DAY),
        "clock_unset",
        "set this device's clock",
    ),
}
if FAKETIME:
    ILL["clock_1970"] = (clock_at(AT_1970), "clock_unset", "set this device's clock")
    ILL["clock_2000"] = (clock_at(AT_2000), "clock_unset", "set this device's clock")


@pytest.fixture(scope="module")
def ward(shared_rig, tmp_path_factory):
    folder = tmp_path_factory.mktemp("impostors")
    runtimes = [one for one in RUNTIMES if one == "cpython" or not micropython_lacks()]
    patients = {}
    for name, (fall_ill, code, words) in ILL.items():
        for runtime in runtimes:
            device, heal, impostor = fall_ill(shared_rig, runtime, folder)
            patients[name, runtime] = Patient(device, code, words, heal, impostor)
            device.power_on()

    def complained(patient):
        return shared_rig.said(patient.device, "error") + shared_rig.said(patient.device, "session.offline")

    shared_rig.until(lambda: all(complained(one) for one in patients.values()), 60)
    for one in patients.values():
        one.complaints = complained(one)
        one.heal()
    shared_rig.until(lambda: all(shared_rig.said(one.device, "version.reported") for one in patients.values()), 60)
    yield patients
    shared_rig.retire(*[one.device for one in patients.values()])


@pytest.fixture
def patient(ward, runtime, request):
    return ward[request.param, runtime]


every_fault = pytest.mark.parametrize("patient", ILL, indirect=True)


@every_fault
def test_the_reason_is_told_clearly(shared_rig, patient):
    assert patient.complaints, shared_rig.told(patient.device)
    complaint = patient.complaints[0]
    assert complaint["code"] == patient.code, complaint
    assert patient.words in complaint["detail"]
    assert "127.0.0.1" in complaint["detail"]
    assert "\n" not in complaint["detail"]


@every_fault
def test_it_goes_on_by_itself_when_the_fault_is_gone(shared_rig, patient):
    assert shared_rig.said(patient.device, "version.reported"), shared_rig.told(patient.device)
    assert patient.device.starts == (2 if patient.restarted else 1)
    assert shared_rig.stored(patient.device)["state"] == "enrolled"


@every_fault
def test_nothing_was_told_to_an_impostor(patient):
    if patient.impostor is not None:
        assert bytes(patient.impostor.heard) == b""


def test_faketime_is_here():
    if FAKETIME is None:
        pytest.skip("no faketime: clocks that stand in 1970 or 2000 are not tried")
    assert shutil.which("faketime")


def test_wrong_product_secret(rig, runtime):
    device = rig.device(runtime, secret="not-the-secret-of-this-product")
    device.power_on()
    error = rig.wait(device, "error")
    assert error["code"] == "mqtt_refused"
    assert "user name or password" in error["detail"] or "not authorized" in error["detail"]
    assert rig.stored(device)["state"] == "registered"
    device.power_off()
    configure(device, product_secret=rig.server_info["product_secret"])
    device.power_on()
    rig.wait(device, "version.reported", version="1.0.0")


def test_foreign_ca_on_the_device(rig, runtime):
    device = rig.device(runtime)
    file = device.folder / ("ca.pem" if runtime == "cpython" else "ca.der")
    right, foreign = file.read_bytes(), Authority()
    file.write_bytes(foreign.pem() if runtime == "cpython" else foreign.der())
    device.power_on()
    error = rig.wait(device, "error")
    assert error["code"] == "tls_untrusted"
    assert "ca_file" in error["detail"]
    device.power_off()
    file.write_bytes(right)
    device.power_on()
    rig.wait(device, "version.reported", version="1.0.0")


def test_server_goes_away_and_says_nothing_when_called_again(rig, runtime):
    device = rig.device(runtime)
    device.power_on()
    rig.wait(device, "version.reported")
    since = len(rig.events)
    rig.doors[device.name]["mqtt"].behave(silent)
    assert rig.wait(device, "session.offline", since=since)["code"] == "closed"
    called = rig.doors[device.name]["mqtt"].visits
    assert rig.until(lambda: rig.doors[device.name]["mqtt"].visits > called, 10), "it does not call again"
    device.pull_power()  # nobody waits here for the 20 s after which it would give up
    rig.doors[device.name]["mqtt"].behave(None)
    rig.wait(device, "version.reported", since=since)


def test_a_server_that_never_says_a_word(shared_rig, unheard, runtime):
    """The device gives up after 20 s, says so, and tries again."""
    device = unheard[runtime]
    door = shared_rig.doors[device.name]["mqtt_activate"]
    error = shared_rig.wait(device, "error")
    assert error["code"] == "timeout"
    assert "127.0.0.1" in error["detail"]
    assert "is silent" in error["detail"] or "sends no CONNACK" in error["detail"]
    door.behave(None)
    shared_rig.wait(device, "version.reported")
    assert device.starts == 1
