# SPDX-License-Identifier: MIT
"""The read-back of Linux's slots: what it hashes comes from the files, whole, and as they are now."""

import hashlib
import time

import pytest

from agent.errors import DeviceError
from agent.wire import appimage
from platform_adapters import linux_slots
from platform_adapters.linux_slots import LinuxSlots

IMAGE = appimage.build({"main.py": b"print(1)\n", "data/big.bin": bytes(range(256)) * 400, "empty": b""})
NOTE = {"version": "1", "size": len(IMAGE)}


@pytest.fixture(params=[7, 1000, linux_slots.PIECE_BYTES])
def slots(tmp_path, request):
    slots = LinuxSlots(str(tmp_path / "slots"), str(tmp_path / "state"), "a")
    slots.begin(NOTE)
    for at in range(0, len(IMAGE), request.param):
        slots.write(at, IMAGE[at : at + request.param])
    return slots


def digest(slots, slot="b"):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if (found := slots.digest(slot)) is not None:
            return found
        time.sleep(0.001)
    raise AssertionError("the read-back does not end")


def test_it_is_the_hash_of_the_whole_image_each_time(slots):
    slots.sync()
    for _ in range(2):
        assert digest(slots) == (len(IMAGE), hashlib.sha256(IMAGE).digest())


def test_it_goes_on_after_a_restart(slots, tmp_path):
    slots.sync()
    again = LinuxSlots(str(tmp_path / "slots"), str(tmp_path / "state"), "a")
    assert digest(again) == (len(IMAGE), hashlib.sha256(IMAGE).digest())


def test_it_reads_the_files_not_what_was_written(slots, tmp_path):
    slots.sync()
    digest(slots)
    big = tmp_path / "slots/b/data/big.bin"
    spoilt = bytearray(big.read_bytes())
    spoilt[5000] ^= 1
    big.write_bytes(spoilt)
    length, found = digest(slots)
    assert length == len(IMAGE) and found != hashlib.sha256(IMAGE).digest()


def test_a_part_is_shorter(slots, tmp_path):
    slots.sync()
    digest(slots)
    (tmp_path / "slots/b/main.py").unlink()
    assert digest(slots)[0] < len(IMAGE)


def test_a_file_too_many_is_damage(slots, tmp_path):
    slots.sync()
    digest(slots)
    (tmp_path / "slots/b/extra.py").write_text("")
    with pytest.raises(DeviceError, match="does not name"):
        digest(slots)


def test_what_goes_to_the_medium_beside_the_writing_is_waited_for_and_heard(tmp_path, monkeypatch):
    image = appimage.build({"big.bin": bytes(1000)})
    monkeypatch.setattr(linux_slots, "SETTLE_BYTES", 300)
    slots = LinuxSlots(str(tmp_path / "slots"), str(tmp_path / "state"), "a")
    slots.begin({"version": "1", "size": len(image)})
    slots.write(0, image[:-600])
    slots.sync()
    assert slots.filled() == len(image) - 600

    def broken(handle):
        raise OSError(5, "the medium is broken")

    monkeypatch.setattr(linux_slots.os, "fdatasync", broken)
    slots.write(len(image) - 600, image[-600:-100])
    with pytest.raises(DeviceError, match="broken"):
        slots.sync()
    assert slots.filled() == len(image) - 600


def test_an_emptied_slot_forgets_its_reading(slots):
    slots.begin(NOTE)
    assert digest(slots) == (0, hashlib.sha256().digest())
