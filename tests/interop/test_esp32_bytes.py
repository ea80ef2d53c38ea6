# SPDX-License-Identifier: MIT
"""esp-idf-defs about what the simulated ESP32 writes: entries of `otadata`, and images.

The adapter's own reading is compared, too: three independent ones agree.
"""

import hashlib
import itertools
import struct

import pytest
from esp_idf_defs import ImageMetadata, OtaDataSelectEntry
from esp_idf_defs.otadata import OtaImageState

from platform_adapters import esp32_otadata, memory_esp32_boot
from platform_adapters.esp32_flash import image_length
from platform_adapters.esp32_slots import Esp32Slots
from platform_adapters.memory_esp32 import Board, image

SECTOR = 4096


def copies(board):
    data = bytes(board.flash["otadata"])
    return data[:32], data[SECTOR : SECTOR + 32]


def check(board):
    """Both copies, read by all three; the slot and state that decide."""
    read = [OtaDataSelectEntry.from_bytes(copy) for copy in copies(board)]
    for entry, copy, ours in zip(read, copies(board), esp32_otadata.entries(partition(board)), strict=True):
        if entry is None:
            assert ours is None and copy == b"\xff" * 32
        else:
            assert (entry.seq, entry.ota_state) == ours
            assert entry.to_bytes() == copy  # with its CRC, and nothing else in the sector
    bad = (OtaImageState.INVALID, OtaImageState.ABORTED)
    chosen, _ = OtaDataSelectEntry.select(*[None if e and e.ota_state in bad else e for e in read])
    assert esp32_otadata.chosen(esp32_otadata.entries(partition(board))) == (
        "ab"[chosen.ota_slot(2)],
        chosen.ota_state,
    )
    return "ab"[chosen.ota_slot(2)], chosen.ota_state.name


def partition(board):
    class OfTheBoard:
        def readblocks(self, block, buffer):
            buffer[:] = board.flash["otadata"][block * SECTOR : block * SECTOR + len(buffer)]

    return OfTheBoard()


def test_the_life_of_otadata():
    board = Board()
    board.install("ota_0", image(b"one" * 1000))
    seen = []
    for number, confirmed in enumerate((True, False, True, True, False)):
        esp32 = board.power_on()
        slots = Esp32Slots(esp32.Partition, esp32.store)
        seen.append(check(board))
        data = image(b"%d" % number * 3000)
        slots.begin({"version": "%d.0.0" % number, "length": len(data)})
        slots.write(0, data)
        slots.sync()
        slots.activate()
        seen.append(check(board))
        esp32 = board.power_on()
        slots = Esp32Slots(esp32.Partition, esp32.store)
        seen.append(check(board))
        if confirmed:
            slots.confirm()
    assert [state for _, state in seen] == ["VALID", "NEW", "PENDING_VERIFY"] * 5
    assert "".join(slot for slot, _ in seen) == "abbbaabaaabbbaa"


@pytest.mark.parametrize("seq", [1, 2, 3, 255, 256, 65537, 0xFFFFFFFE])
def test_any_entry(seq):
    for state in OtaImageState:
        data = memory_esp32_boot.pack(seq, int(state))
        assert data == OtaDataSelectEntry(seq, state).to_bytes()


def test_the_crc_that_esp_idf_documents():
    """The `ota_data_initial.bin` of a device that chose slot 0."""
    assert memory_esp32_boot.pack(1, 2)[28:] == bytes.fromhex("9a984347")


def test_every_pair_of_entries():
    """What all pairs of states and numbers choose; ties and both refused are the boot loader's own matter."""
    states = [state for state in OtaImageState if state.name != "PENDING_VERIFY"]
    for (first, a), (second, b) in itertools.product(
        itertools.product((1, 2, 5), states), itertools.product((3, 4, 6), states)
    ):
        board = Board()
        for copy, (seq, state) in enumerate(((first, a), (second, b))):
            data = memory_esp32_boot.pack(seq, int(state))
            board.flash["otadata"][copy * SECTOR : copy * SECTOR + 32] = data
        if memory_esp32_boot.active(memory_esp32_boot.otadata(board)) >= 0:
            check(board)


@pytest.mark.parametrize("size", [1, 4, 300, 4096, 9999])
def test_images(size):
    data = image(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    read = ImageMetadata.from_bytes(data)
    assert (read.header.segment_count, int(read.header.chip_id), read.header.hash_appended) == (1, 0, True)
    assert read.digest == hashlib.sha256(data[:-32]).digest() == data[-32:]
    assert memory_esp32_boot.bootable(data + b"\xff" * 50)
    board = Board()
    board.install("ota_0", data)
    assert image_length(board.power_on().Partition("ota_0")) == len(data)
    for at in range(24, len(data), 1 + len(data) // 40):
        bad = bytearray(data)
        bad[at] ^= 1
        assert not memory_esp32_boot.bootable(bytes(bad))
        with pytest.raises((ValueError, struct.error)):
            ImageMetadata.from_bytes(bytes(bad))
