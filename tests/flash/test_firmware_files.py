# SPDX-License-Identifier: MIT
"""Firmware files: what is for this chip is taken, and everything else is refused by name before a board is touched."""

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueboot.flash import boards, firmware
from trueboot.flash.simulated import image
from trueboot.problem import Problem

ESP, C3, PICO, PICO2 = (
    boards.named(name) for name in ("ESP32_GENERIC", "ESP32_GENERIC_C3", "RPI_PICO_W", "RPI_PICO2_W")
)
GOOD = {board.name: image.make(board, 4096) for board in (ESP, C3, PICO, PICO2)}


def read(tmp_path, board, data, unverified=True):
    path = tmp_path / "firmware.bin"
    path.write_bytes(data)
    return firmware.read(path, board, unverified)


def code(function, *arguments):
    try:
        function(*arguments)
    except Problem as problem:
        return problem.code
    return ""


@pytest.mark.parametrize("board", [ESP, C3, PICO, PICO2], ids=lambda board: board.name)
def test_a_firmware_is_for_its_own_board(tmp_path, board):
    found = read(tmp_path, board, GOOD[board.name])
    assert found.sha256 == hashlib.sha256(GOOD[board.name]).hexdigest()
    for other in GOOD:
        if other != board.name:
            assert code(read, tmp_path, board, GOOD[other]) == "firmware_wrong"


def test_the_partition_table_says_where_files_go(tmp_path):
    found = read(tmp_path, ESP, GOOD["ESP32_GENERIC"])
    assert found.vfs == (0x310000, 0xF0000) and found.end == 4 * 1024 * 1024
    firmware.must_fit(found, 4 * 1024 * 1024)
    assert code(firmware.must_fit, found, 2 * 1024 * 1024) == "flash_small"


def test_nobody_vouches_for_it_unless_board_json_or_a_person_does(tmp_path):
    data = GOOD["ESP32_GENERIC"]
    assert code(read, tmp_path, ESP, data, False) == "firmware_unverified"
    known = ESP._replace(known=frozenset({hashlib.sha256(data).hexdigest()}))
    assert read(tmp_path, known, data, False)
    assert code(read, tmp_path, known, data + b"\0", False) == "firmware_unverified"


def test_an_app_image_is_not_the_whole(tmp_path):
    app = GOOD["ESP32_GENERIC"][0x10000 - ESP.offset :]
    assert code(read, tmp_path, ESP, app) == "firmware_wrong"


def uf2_block(**changes):
    fields = {"first": 0x0A324655, "second": 0x9E5D5157, "flags": 0x2000, "address": 0x10000000, "size": 256}
    fields |= {"number": 0, "total": 1, "family": PICO.family, "last": 0x0AB16F30} | changes
    *head, last = fields.values()
    return (struct.pack("<8I", *head) + bytes(256)).ljust(508, b"\0") + struct.pack("<I", last)


@pytest.mark.parametrize(
    "change",
    [
        {"first": 1},
        {"second": 1},
        {"last": 1},
        {"flags": 0},
        {"family": PICO2.family},
        {"number": 1},
        {"total": 2},
        {"size": 0},
        {"size": 477},
        {"address": 0x20000000 - 0x18000000},
        {"flags": 0x2001},
    ],
    ids=str,
)
def test_every_block_of_a_uf2_is_looked_at(tmp_path, change):
    assert read(tmp_path, PICO, uf2_block()).end == 256
    assert code(read, tmp_path, PICO, uf2_block(**change)) == "firmware_wrong"


def test_the_block_that_an_rp2350_needs_first_is_no_other_family(tmp_path):
    absolute = uf2_block(family=0xE48BFF57, address=0x10FFFF00, total=2)
    own = uf2_block(family=PICO2.family)
    assert read(tmp_path, PICO2, absolute + own).end == 256
    assert code(read, tmp_path, PICO, absolute + uf2_block()) == "firmware_wrong"
    assert code(read, tmp_path, PICO2, own + absolute) == "firmware_wrong"


@given(st.binary(max_size=2048), st.sampled_from([ESP, PICO2]), st.integers(0, 3000))
def test_no_bytes_do_more_than_be_refused(tmp_path_factory, data, board, at):
    folder = tmp_path_factory.mktemp("bytes", numbered=True)
    good = GOOD[board.name]
    for text in (data, good[:at], good[:at] + data):
        assert code(read, folder, board, text) in ("", "firmware_wrong", "flash_small")
