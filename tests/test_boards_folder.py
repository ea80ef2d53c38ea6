# SPDX-License-Identifier: MIT
"""The folders in boards/: true as far as this machine can tell, and a wrong one is found."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest

from manifest_reader import Manifest
from trueboot import board_files, mpy
from trueboot.device_files import device_files

ROOT = Path(__file__).parent.parent
BOARDS = ROOT / "boards"
_spec = importlib.util.spec_from_file_location("check_boards", ROOT / "tools" / "check" / "boards.py")
check_boards = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check_boards)
ABOUT = {path.parent.name: json.loads(path.read_text()) for path in sorted(BOARDS.glob("*/board.json"))}
MICROPYTHON = [name for name, about in ABOUT.items() if about["runtime"] == "micropython"]
WANTED = (
    "ESP32_GENERIC ESP32_GENERIC_C3 ESP32_GENERIC_S3 LINUX_GENERIC RASPBERRY_PI_4 RASPBERRY_PI_5 RPI_PICO2_W RPI_PICO_W"
)


def test_nothing_is_wrong_with_our_boards():
    assert check_boards.check(BOARDS) == []
    assert set(WANTED.split()) <= set(ABOUT)
    for name in ABOUT:
        assert "[%s](%s/README.md)" % (name, name) in (BOARDS / "README.md").read_text()


@pytest.mark.parametrize("page", sorted(BOARDS.glob("**/README.md")), ids=lambda page: page.parent.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.fixture
def esp32(tmp_path):
    """A folder that may be spoilt."""
    return Path(shutil.copytree(BOARDS / "ESP32_GENERIC", tmp_path / "ESP32_GENERIC"))


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "red"},
        {"name": "ESP32_OTHER"},
        {"name": "esp 32"},
        {"runtime": "lua"},
        {"runtime": "cpython"},
        {"adapter": "os.system"},
        {"adapter": "platform_adapters.esp32.ESP33"},
        {"adapter": "platform_adapters.pico_w.PicoW"},
        {"slots": []},
        {"slots": [{"kind": "data", "needs": "stock"}]},
        {"slots": [{"kind": "app", "needs": "stock"}]},
        {"chip": "esp32s3"},
        {"chip": "esp32c3"},
        {"mpy": {"version": 5, "arch": "xtensawin"}},
        {"mpy": {"version": 6, "arch": "armv6m"}},
        {"file_system": "fat"},
        {"file_system_bytes": 0x100000},
        {"file_system_bytes": 8 << 20},
        {"flash_bytes": 4_000_000},
        {"flash_bytes": 2 << 20},
        {"flash_bytes": 8 << 20},
        {"usb": [{"id": "10C4:EA60", "as": "bridge"}]},
        {"firmware": {"page": "https://x/", "tool": "esptool"}},
        {"firmware": {"page": "http://x/", "tool": "esptool", "file": "x.bin", "offset": 0x1000}},
        {"firmware": {"page": "https://x/", "tool": "esptool", "file": "x.bin", "offset": 0x1000}},
        {"firmware": {"page": "https://x/", "tool": "uf2", "file": "x.uf2", "family": "0xe48bff56"}},
    ],
)
def test_a_wrong_board_is_found(esp32, change):
    (esp32 / "board.json").write_text(json.dumps(ABOUT["ESP32_GENERIC"] | change))
    assert list(check_boards.problems(esp32))


def test_a_hash_is_whole_or_absent(esp32):
    for digest, wrong in (("0" * 64, False), ("", True), ("0" * 63, True), ("X" * 64, True)):
        about = json.loads((BOARDS / "ESP32_GENERIC" / "board.json").read_text())
        about["firmware"]["known"] = [{"file": "ESP32_GENERIC-OTA-20260101-v1.28.0.bin", "sha256": digest}]
        (esp32 / "board.json").write_text(json.dumps(about))
        assert bool(list(check_boards.problems(esp32))) == wrong


def test_a_broken_folder_is_found(esp32):
    for name in ("partitions.csv", "manifest.py", "README.md", "board.json"):
        kept = (esp32 / name).read_text()
        (esp32 / name).unlink()
        assert any(line.startswith(name) for line in check_boards.problems(esp32)), name
        (esp32 / name).write_text(kept)
    (esp32 / "board.json").write_text("{")
    assert len(list(check_boards.problems(esp32))) == 1


@pytest.mark.parametrize(
    "old, new",
    [
        ("from platform_adapters.esp32 import ESP32\n", ""),
        ("write-flash 0x1000 ", "write-flash 0x0 "),
        ("ESP32_GENERIC-OTA-DATE", "ESP32_GENERIC-DATE"),
        ("## Wire it", "## Wire"),
        ("# ESP32_GENERIC", "# An ESP32"),
        ("CP210x", "CP210x (`10c4:ea61`)"),
    ],
)
def test_a_readme_that_says_something_else_is_found(esp32, old, new):
    text = (esp32 / "README.md").read_text()
    assert old in text
    (esp32 / "README.md").write_text(text.replace(old, new, 1))
    assert list(check_boards.problems(esp32))


@pytest.mark.parametrize(
    "old, new",
    [
        ("0x190000, 0x180000", "0x180000, 0x180000"),  # they overlap
        ("ota_1,    app,  ota_1,   0x190000, 0x180000", ""),
        ("ota_1,    app,  ota_1,  ", "ota_1,    app,  factory,"),
        ("0x310000, 0xf0000", "0x310000, 0x100000"),  # does not fit
        ("0x310000, 0xf0000", "0x310000, 0xe0000"),  # something is left over
        ("0x10000,  0x180000", "0x11000,  0x17f000"),  # not aligned
        ("0x10000,  0x180000", "0x10000,  0x170000"),  # slots of two sizes
        ("otadata,  data, ota,     0xd000,   0x2000", ""),
        ("otadata,  data, ota,     0xd000,   0x2000", "otadata,  data, ota,     0xd000,   0x1000"),
        ("nvs,      data, nvs,     0x9000", "nvs,      data, nvs,     0x8000"),  # the table's own place
        ("nvs,      data, nvs,     0x9000,   0x4000", "nvs, data, nvs"),
    ],
)
def test_a_bad_partition_table_is_found(old, new):
    text = (BOARDS / "ESP32_GENERIC" / "partitions.csv").read_text()
    assert text.count(old) == 1
    assert list(check_boards.table_problems(text.replace(old, new), 4 << 20))
    assert not list(check_boards.table_problems(text, 4 << 20))


def test_our_mpy_files_are_of_the_version_that_boards_load(tmp_path):
    """The second byte of the file; bytecode alone, so that one set serves all architectures."""
    mpy.build(tmp_path, files=["agent/errors.py"], root=ROOT)
    data = (tmp_path / "agent/errors.mpy").read_bytes()
    assert {data[1]} == {ABOUT[name]["mpy"]["version"] for name in MICROPYTHON}
    assert data[:1] == b"M" and data[2] >> 2 == 0, "no native code"


# Manifests


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """What of MicroPython's own manifests ours include."""
    folder = tmp_path_factory.mktemp("port")
    for place in ["boards", *("boards/" + name for name in MICROPYTHON)]:
        (folder / place).mkdir(exist_ok=True)
        (folder / place / "manifest.py").write_text('require("bundle-networking")\n')
    return folder


@pytest.mark.parametrize("name", MICROPYTHON)
def test_a_manifest_freezes_what_the_board_needs_and_no_more(name, port):
    manifest = Manifest(BOARDS / name / "manifest.py", PORT_DIR=port)
    assert manifest.required == ["bundle-networking"]
    wanted = board_files.needed(ROOT, [ABOUT[name]["adapter"].split(".")[1]])
    frozen = {path for path in manifest.files if "/" in path}
    assert frozen == set(wanted), "EVERY_BOARD, ADAPTERS or HOST_ONLY of micropython/manifest.py"
    assert all(manifest.files[path] == ROOT / path for path in wanted)
    tops = {path for path in manifest.files if "/" not in path}
    firmwares = ABOUT[name]["slots"][0]["kind"] == "firmware"
    assert tops == {"main.py", "wifi.py"} | (set() if firmwares else {"boot.py", "bootrecord.py"})


@pytest.mark.parametrize("cloud", board_files.CLOUDS)
def test_a_manifest_can_leave_out_what_speaks_to_another_cloud(cloud, tmp_path):
    place = ROOT / "micropython" / "manifest.py"
    (tmp_path / "manifest.py").write_text(f'include("{place}", adapter="pico_w", cloud="{cloud}")\n')
    frozen = {path for path in Manifest(tmp_path / "manifest.py").files if "/" in path}
    assert frozen == set(board_files.needed(ROOT, ["pico_w"], [cloud]))
    assert ("agent/clouds/decada.py" in frozen) == (cloud == "decada")


def test_what_a_board_needs():
    every = set(device_files(ROOT))
    esp32, pico = set(board_files.needed(ROOT, ["esp32"])), set(board_files.needed(ROOT, ["pico_w"]))
    assert esp32 < every and pico < every
    assert not any("memory" in path for path in esp32 | pico)
    assert "platform_adapters/esp32_slots.py" in esp32 - pico  # a lazy import
    assert {path for path in every if path.startswith("agent/")} - pico == set(board_files.NEVER)
