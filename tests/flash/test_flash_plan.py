# SPDX-License-Identifier: MIT
"""What goes onto a board is checked before it is touched, and nothing secret but its Wi-Fi is among it."""

import json
import ssl

import pytest

from trueboot.flash import boards, on_board, plan
from trueboot.problem import Problem

ESP, PICO = boards.named("ESP32_GENERIC"), boards.named("RPI_PICO_W")
WIFI = {"networks": [{"ssid": "office", "password": "correct horse"}]}


@pytest.fixture
def info(tmp_path):
    der = bytes.fromhex("3003020101")
    (tmp_path / "ca.pem").write_text(ssl.DER_cert_to_PEM_cert(der))
    (tmp_path / "root.json").write_text("{}")
    files = {"ca_file": str(tmp_path / "ca.pem"), "root_file": str(tmp_path / "root.json")}
    return {"https": "https://cloud:1", "mqtt": "mqtts://cloud:2", "product_key": "pk"} | files


def made(info, board=ESP, more=None, wifi=None, salt="token", firmware="00"):
    return plan.make(board, "dk", {"boot.py": b"1"}, info, more or {}, wifi, firmware, salt)


def code(function, *arguments):
    try:
        function(*arguments)
    except Problem as problem:
        return problem.code
    return ""


def test_the_configuration_is_the_boards(info):
    config = json.loads(made(info, more={"window": "22:00-06:00"}).files["trueboot.json"])
    assert (config["hardware"], config["slots_kind"], config["window"]) == ("ESP32_GENERIC", "app", "22:00-06:00")
    assert not [name for name in config if "secret" in name]
    assert "slots_kind" not in json.loads(made(info, PICO).files["trueboot.json"])


@pytest.mark.parametrize(
    "more", [{"windoww": "x"}, {"mqtt": "mqtt://cloud:2"}, {"device_secret": "s"}, {"product_secret": "s"}], ids=str
)
def test_a_configuration_that_the_agent_would_refuse(info, more):
    assert code(made, info, ESP, more) == "file_unusable"


def test_the_digest_tells_all_but_the_password(info):
    base = made(info, wifi=WIFI)
    assert base.files["wifi.json"] and base.files[plan.HALT] == base.digest.encode()
    other = {"networks": [{"ssid": "office", "password": "battery staple"}]}
    digests = {
        made(info, wifi=wifi, firmware=firmware).digest for wifi in (None, WIFI, other) for firmware in ("00", "")
    }
    assert len(digests) == 6 and base.digest in digests
    assert made(info, wifi=WIFI, salt="another").digest != base.digest, "who has the record alone cannot try passwords"


def test_a_file_of_the_operator(tmp_path):
    (tmp_path / "board.toml").write_text(
        'ntp = "pool"\n[[wifi.networks]]\nssid = "office"\npassword = "correct horse"\n'
    )
    assert plan.read_config(tmp_path / "board.toml") == ({"ntp": "pool"}, WIFI)
    (tmp_path / "board.json").write_text(json.dumps({"wifi": WIFI}))
    assert plan.read_config(tmp_path / "board.json") == ({}, WIFI)
    for text in (
        "[]",
        "{",
        json.dumps({"wifi": {}}),
        json.dumps({"wifi": {"networks": [{"ssid": "a", "password": "short"}]}}),
    ):
        (tmp_path / "board.json").write_text(text)
        assert code(plan.read_config, tmp_path / "board.json") == "file_unusable", text


def test_a_board_by_name_by_chip_and_by_folder(tmp_path):
    assert boards.of_chip("esp32s3").name == "ESP32_GENERIC_S3"
    assert code(boards.of_chip, "esp32p4") == "board_wrong" and code(boards.named, "NANO") == "usage"
    about = json.loads((boards.FOLDER / "ESP32_GENERIC_C3" / "board.json").read_text())
    (tmp_path / "board.json").write_text(json.dumps(about | {"name": "MY_C3"}))
    assert boards.named(str(tmp_path)).name == "MY_C3"
    (tmp_path / "board.json").write_text("{}")
    assert code(boards.named, str(tmp_path)) == "file_unusable"


def test_neither_the_host_nor_the_chip_decides_alone():
    class Chance:
        def __init__(self, byte):
            self.byte = byte

        def random(self, size):
            return bytes([self.byte]) * size

    def drawn(own, host):
        return on_board.Mixed(Chance(own), bytes([host]) * 32).random(32)

    assert len({drawn(own, host) for own in (1, 2) for host in (1, 2)}) == 4
    mixed = on_board.Mixed(Chance(1), bytes(32))
    assert mixed.random(32) != mixed.random(32)
    assert [len(mixed.random(size)) for size in (1, 32, 33)] == [1, 32, 33]
