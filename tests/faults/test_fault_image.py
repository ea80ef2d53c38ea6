# SPDX-License-Identifier: MIT
"""Altered, cut and tampered releases, and no room for one: never activated, reported with the reason, healed by the next job.

All the patients fall ill at once; the fault goes; the same release is deployed again and runs.
"""

import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from door import Liar, alter_where
from rig import RUNTIMES, plain

from platform_adapters import imagewalk
from platform_adapters.dirslots import RESERVE_BYTES
from trueboot.demo.story import micropython_lacks

TARGETS = r"/repo/targets/"
BLOCK = 4096  # of a tmpfs
# A private tmpfs over the slots: it goes with the process.
SMALL_DISK = (
    'cp -a slots slots.full && mount -t tmpfs -o size=%s,mode=700 none slots && cp -a slots.full/. slots/ && exec "$@"'
)


def flipped(body):
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def lie(pattern, change):
    def fall_ill(rig, device):
        liar = Liar(rig.server_info, alter_where(pattern, change))
        door = rig.doors[device.name]["https"]
        door.behave(liar)
        return lambda: door.behave(None)

    return fall_ill


def longer(status, body):
    return status, body + b"more", body + b"more"


def cut(status, body):
    """Never more than 1000 bytes of what was asked for, under the right length: too little to be progress."""
    return status, body, body[:1000]


def resigned(status, body):
    """Metadata with another length for every target, and the old signature."""
    metadata = json.loads(body)
    for target in metadata["signed"].get("targets", {}).values():
        target["length"] += 1
    metadata["signed"]["version"] += 1
    said = json.dumps(metadata, separators=(",", ":"), sort_keys=True).encode()
    return status, said, said


def file_at_the_server(rig, device):
    """Somebody alters the published file itself."""
    release = rig.ill[device.name]
    folder, _, name = release.path.rpartition("/")
    stored = Path(rig.server_info["state"]) / "repo" / "targets" / folder / f"{release.sha256}.{name}"
    right = stored.read_bytes()
    assert right == release.image
    stored.write_bytes(flipped(right))
    return lambda: stored.write_bytes(right)


def small_disk(size):
    """`size(blocks, length)`: bytes of the disk, from what the factory's image takes in whole blocks, and its length."""

    def fall_ill(rig, device):
        image = rig.factory.image
        blocks = sum((entry[1] + BLOCK - 1) // BLOCK * BLOCK for entry in imagewalk.entries(io.BytesIO(image)))
        wrap = ["unshare", "-rm", "/bin/sh", "-c", SMALL_DISK % size(blocks + 8 * BLOCK, len(image)), "sh"]
        device._command[:0] = wrap

        def heal():
            device.power_off()
            del device._command[: len(wrap)]
            device.power_on()

        return heal

    return fall_ill


def disk_fills_up(rig, device):
    """There is room when the download begins, and none soon after."""
    heal = small_disk(lambda blocks, length: 2 * blocks + 2 * RESERVE_BYTES)(rig, device)

    def fill(status, body):
        slots = Path(f"/proc/{device._process.pid}/root") / device.folder.relative_to("/") / "slots"
        room = shutil.disk_usage(slots).free
        (slots / "filler").write_bytes(b"\xff" * max(0, room - 24 * 1024))
        return status, body, body

    unlie = lie(TARGETS, fill)(rig, device)
    return lambda: (unlie(), heal())


def tmpfs_lacks():
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        return "no private mounts on this machine (unshare -rm)"
    return ""


# name -> (how, what the reason begins with, words of it)
ILL = {
    "always_cut": (lie(TARGETS, cut), ("http_truncated", "truncated"), ""),
    "altered_at_the_server": (file_at_the_server, ("image_file", "image_hash"), ""),
    "too_long": (lie(TARGETS, longer), ("image_length", "image_size"), ""),
    "targets_tampered": (lie(r"targets\.json", resigned), ("metadata_",), ""),
    "timestamp_tampered": (lie(r"timestamp\.json", resigned), ("metadata_signature",), "timestamp"),
}
if not tmpfs_lacks():
    ILL["slot_too_small"] = (small_disk(lambda blocks, length: blocks), ("slot_full",), "into a slot that takes")
    ILL["slot_too_small_in_blocks"] = (
        small_disk(lambda blocks, length: blocks + RESERVE_BYTES + length + 64 * 1024),
        ("slot_full",),
        "its files take",
    )
    ILL["slot_fills_up"] = (disk_fills_up, ("slot_full",), "")


class Patient:
    def __init__(self, device, release):
        self.device, self.release = device, release
        self.since = 0
        self.starts = 0
        self.offered = False


class CutTwice:
    """The first two answers break in the middle."""

    def __init__(self):
        self.sent = []

    def __call__(self, status, body):
        self.sent.append((status, len(body)))
        return status, body, body if len(self.sent) > 2 else body[: len(body) // 2]


@pytest.fixture(scope="module")
def ward(shared_rig):
    rig, patients = shared_rig, {}
    rig.ill = {}
    runtimes = [one for one in RUNTIMES if one == "cpython" or not micropython_lacks()]
    heal = {}
    for name in ["always_cut", "cut_twice", *ILL]:  # first those that take long
        for runtime in runtimes:
            if (name, runtime) in patients:
                continue
            device = rig.device(runtime)
            rig.ill[device.name] = rig.release(rig.next_version())
            one = patients[name, runtime] = Patient(device, rig.ill[device.name])
            if name in ILL:
                heal[one] = ILL[name][0](rig, device)
            else:
                one.cut = CutTwice()
                lie(TARGETS, one.cut)(rig, device)
            device.power_on()
            if name not in ILL or name == "always_cut":
                rig.until(lambda device=device: rig.said(device, "version.reported"), 60)
                rig.deploy(one.release, device)
                one.offered = True
    for one in patients.values():
        rig.until(lambda one=one: rig.said(one.device, "version.reported"), 60)
        if not one.offered:
            rig.deploy(one.release, one.device)
    ill = list(heal)
    rig.until(lambda: all(rig.said(one.device, "report.accepted") for one in patients.values()), 60)
    rig.until(lambda: all(rig.seen(one.device.name, "server", "attempt.failed") for one in ill), 60)
    for one in ill:
        one.events = rig.of(one.device.name)
        one.stored = rig.stored(one.device)
        one.starts = one.device.starts
        one.since = len(rig.events)
        heal[one]()
        rig.deploy(one.release, one.device)
    rig.until(lambda: all(rig.seen(one.device.name, "server", "attempt.updated") for one in ill), 60)
    yield patients
    rig.retire(*[one.device for one in patients.values()])


@pytest.fixture
def patient(ward, runtime, request):
    return ward[request.param, runtime]


every_fault = pytest.mark.parametrize("patient", ILL, indirect=True)


@every_fault
def test_never_activated_and_reported_with_the_reason(shared_rig, patient, request):
    names = [event["event"] for event in patient.events]
    assert "update.activated" not in names, shared_rig.told(patient.device)
    assert "update.staged" not in names
    assert "attempt.updated" not in names
    assert patient.starts == 1, "it was reset"
    _, codes, words = ILL[request.node.callspec.params["patient"]]
    failed = [event for event in patient.events if event["event"] == "attempt.failed"]
    assert len(failed) == 1, shared_rig.told(patient.device)
    assert plain(failed[0]["reason"]).startswith(codes), failed
    assert words in failed[0]["reason"]
    assert failed[0]["proven"] is True
    assert "\n" not in failed[0]["reason"]
    assert patient.stored["proven_version"] == "1.0.0"


@every_fault
def test_the_same_release_runs_when_the_fault_is_gone(shared_rig, patient):
    assert shared_rig.seen(patient.device.name, "server", "attempt.updated", patient.since), shared_rig.told(
        patient.device
    )
    stored = shared_rig.stored(patient.device)
    assert (stored["proven_version"], stored["image"]) == (patient.release.version, patient.release.sha256)


def test_full_slots_can_be_tried_here():
    if tmpfs_lacks():
        pytest.skip(tmpfs_lacks())


def test_a_download_that_breaks_goes_on_where_it_ended(shared_rig, ward, runtime):
    patient = ward["cut_twice", runtime]
    assert shared_rig.seen(patient.device.name, "server", "attempt.updated"), shared_rig.told(patient.device)
    sent = patient.cut.sent
    assert [status for status, _ in sent] == [200, 206, 206]
    assert sent[0][1] > sent[1][1] > sent[2][1]
