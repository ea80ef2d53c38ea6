# SPDX-License-Identifier: MIT
"""Simulated boards, flashed for real: esptool, REPL, key, certificate, contact; and every way in which that goes wrong.

One server, and as few boards as will do: a board that was left in the middle by one test is what the next begins with.
"""

import dataclasses
import os
import subprocess
import sys

import pytest
import requests
import serial
from door import Door

from trueboot import mpy
from trueboot.api import Api
from trueboot.flash import boards, identity, ports, record, single, steps, uf2
from trueboot.flash.simulated import bed, image
from trueboot.problem import Problem

BAUD = 3_000_000
ESP, PICO = boards.named("ESP32_GENERIC"), boards.named("RPI_PICO_W")
pytestmark = pytest.mark.skipif(bool(mpy.unavailable()), reason=mpy.unavailable() or "-")


@pytest.fixture(scope="module")
def server():
    with bed.own_server() as found:
        yield found


@pytest.fixture(scope="module")
def api(server):
    api = Api(server)
    yield api
    api.close()


@pytest.fixture(scope="module")
def esp(tmp_path_factory):
    with bed.boards_of(ESP, 3, str(tmp_path_factory.mktemp("boards"))) as found:
        yield found


@pytest.fixture(scope="module")
def compiled():
    """Agent and app are the same for all boards of a kind."""
    wanted = steps.Wanted({}, simulated=True)
    return {board.name: steps.everything(board, wanted) for board in (ESP, PICO)}


@pytest.fixture(autouse=True)
def _compiled_once(monkeypatch, compiled):
    monkeypatch.setattr(steps, "everything", lambda board, wanted: compiled[board.name])


@dataclasses.dataclass
class Bench:
    api: Api
    server: object
    folder: object
    firmware: str

    def flash(self, port, name="", tool="esptool", **wanted):
        """The record's last line, or the code of what went wrong."""
        more = {
            "firmware": self.firmware,
            "unverified": True,
            "baud": BAUD,
            "contact_s": 20,
            "simulated": True,
        } | wanted
        try:
            where = ports.Port(str(port), port.name, "", "", tool)
            return single.flash(where, steps.Wanted(self.server.info, **more), self.api, name, self.folder, True, True)
        except Problem as problem:
            assert len(problem.lines()[0]) < 200
            return problem.code

    def state(self, name):
        found = identity.known(self.api, self.server.info["product_key"], name)
        return found and found["state"]


@pytest.fixture
def bench(api, server, esp, tmp_path):
    return Bench(api, server, tmp_path / "labels", str(esp[1]))


def test_a_cable_pulled_at_every_stage(bench, esp):
    """The same command each time; nothing counts as done before all of it is, and what was done is not done again."""
    board, port = esp[0], esp[0].ports[0]
    flashed = {}
    for when in ("write", "request", "certificate", "proof", "start"):
        board.plug_in(1, f"pull-{when}")
        assert bench.flash(port) == "board_gone", when
        lines = record.read(bench.folder / single.RECORD)
        assert not record.finished(lines) and lines[-1]["error"] == "board_gone"
        if when != "write":
            # It starts nothing, and its identity is whole or none.
            assert (board.files(1) / "NO_AGENT").exists(), when
            flashed[when] = (board.folder / "board-1" / "mounted").stat().st_mtime_ns
    keys = list((board.files(1) / "state" / "keys").iterdir())
    board.plug_in(1)
    line = bench.flash(port)
    assert line["event"] == record.FINISHED and bench.state(line["device"]) == "enrolled"
    assert len(set(flashed.values())) == 1, "the flash was written once"
    assert list((board.files(1) / "state" / "keys").iterdir()) == keys and not (board.files(1) / "NO_AGENT").exists()
    assert (bench.folder / f"{line['device']}.svg").exists()
    # The record knows it now: it is not flashed twice by mistake, and as something else only on purpose.
    assert bench.flash(port) == "chip_known"
    again = bench.flash(port, name="renamed", replace=True)
    assert again["device"] == "renamed" and bench.state("renamed") == "enrolled"
    assert bench.state(line["device"]) == "revoked"
    assert bench.flash(esp[0].ports[1], name=line["device"]) == "device_in_use"  # no name is good again by chance
    assert [one["device"] for one in record.finished(record.read(bench.folder / single.RECORD)).values()] == ["renamed"]


def test_the_key_is_the_boards_and_no_secret_stays_here(bench, esp, server):
    line = bench.flash(esp[0].ports[1], name="sealed")
    assert line["device"] == "sealed"
    root = esp[0].files(2)
    secrets = [(root / "state" / "store" / "secret").read_bytes(), (root / "state" / "keys" / "a.der").read_bytes()]
    kept = b"".join(path.read_bytes() for path in bench.folder.rglob("*") if path.is_file())
    for secret in secrets:
        assert len(secret) > 8 and secret not in kept and secret.hex().encode() not in kept
    # What its label leads to is a page, for who may see it.
    page = requests.get(line["url"], verify=server.ca_file, allow_redirects=False, timeout=20)
    assert (page.status_code, page.headers["Location"]) == (303, "/ui/login")
    # A device in use is not taken over by a board that happens to have its name.
    assert bench.flash(esp[0].ports[2], name="sealed") == "device_in_use"


def test_the_server_away_in_the_middle(bench, esp, server):
    door = Door(server.url)
    away = Api(server._replace(url=door.url))
    one = dataclasses.replace(bench, api=away)
    asked = away.request

    def ask(method, path, **named):
        if "simpleenroll" in path:
            door.close()
        return asked(method, path, **named)

    away.request = ask
    assert one.flash(esp[0].ports[2], name="patient") == "server_unreachable"
    assert (esp[0].files(3) / "NO_AGENT").exists()
    assert bench.flash(esp[0].ports[2], name="patient")["device"] == "patient"


@pytest.mark.parametrize(
    "fault, wanted, code",
    [
        ("silent", {}, "board_silent"),
        ("wrong-chip", {"board": "ESP32_GENERIC"}, "board_wrong"),
        ("small-flash", {}, "flash_small"),
    ],
)
def test_boards_that_will_not_do(bench, esp, fault, wanted, code):
    esp[0].plug_in(3, fault)
    assert bench.flash(esp[0].ports[2], **wanted) == code


def test_no_board_a_busy_one_and_the_wrong_firmware(bench, esp, tmp_path):
    assert bench.flash(esp[0].folder / "nothing-here") == "board_gone"
    with pytest.raises(Problem) as told:
        ports.named(str(esp[0].folder / "nothing-here"))
    assert told.value.code == "board_missing"
    esp[0].plug_in(3)
    with serial.Serial(os.path.realpath(esp[0].ports[2]), exclusive=True):
        assert bench.flash(esp[0].ports[2]) == "board_busy"
    other = tmp_path / "c3.bin"
    other.write_bytes(image.make(boards.named("ESP32_GENERIC_C3"), 4096))
    assert bench.flash(esp[0].ports[2], firmware=str(other)) == "firmware_wrong"
    assert bench.flash(esp[0].ports[2], unverified=False) == "firmware_unverified"


def test_a_pico_by_its_drive_and_its_repl(bench, tmp_path):
    with bed.boards_of(PICO, 1, str(tmp_path / "picos")) as (board, firmware):
        wanted = {"firmware": str(firmware), "volumes": str(board.folder / "volumes"), "tool": "uf2"}
        board.plug_in(1, "pull-certificate")
        assert bench.flash(board.ports[0], **wanted) == "board_gone"
        flashed = board.folder / "board-1" / "firmware.uf2"
        before = flashed.stat().st_mtime_ns
        board.plug_in(1)
        line = bench.flash(board.ports[0], **wanted)
        assert line["device"] == "rp2040-e66038b713000001" and line["board"] == "RPI_PICO_W"
        assert flashed.read_bytes() == firmware.read_bytes() and flashed.stat().st_mtime_ns == before
        # As another device, and with the firmware that it has: files alone, a new key, a new certificate.
        key = (board.files(1) / "state" / "keys" / "a.der").read_bytes()
        again = bench.flash(board.ports[0], name="pico", replace=True, **wanted | {"firmware": ""})
        assert again["device"] == "pico" and again["fw"] == "" and flashed.stat().st_mtime_ns == before
        assert (board.files(1) / "state" / "keys" / "a.der").read_bytes() != key
        assert again["cert_sha256"] != line["cert_sha256"]


def test_a_new_pico_has_a_drive_and_no_port(bench, tmp_path):
    """Nothing is written to it but what is for it, and its port is the one that comes."""
    with bed.boards_of(PICO, 1, str(tmp_path / "picos"), ["1:bootsel"]) as (board, firmware):
        drive = uf2.wait_for_volume(str(board.folder / "volumes"), set())
        wanted = steps.Wanted(bench.server.info, firmware=str(firmware), unverified=True)
        port = ports.Port(str(board.ports[0]), "sim-1", "", "", "uf2")

        def look():
            return [port] if (board.folder / "board-1" / "firmware.uf2").exists() else []

        other = tmp_path / "other.uf2"
        other.write_bytes(image.make(boards.named("RPI_PICO2_W"), 4096))
        for change in ({"firmware": str(other)}, {"firmware": ""}, {"board": "RPI_PICO2_W"}):
            with pytest.raises(Problem) as told:
                uf2.first(drive, wanted._replace(**change), look, lambda done: None)
            assert told.value.code in ("firmware_wrong", "usage", "board_wrong")
            assert sorted(path.name for path in drive.iterdir()) == ["INFO_UF2.TXT"]
        assert uf2.first(drive, wanted, look, lambda done: None) == port
        more = {"tool": "uf2", "firmware": str(firmware), "fresh": True, "volumes": "/nowhere"}
        line = bench.flash(board.ports[0], name="new", **more)
        assert line["board"] == "RPI_PICO_W" and line["event"] == record.FINISHED


def test_a_board_that_nobody_hears_of_is_not_good(bench, esp):
    """It is written and certified, but its server is elsewhere: it stands still again, and goes on once that is mended."""
    esp[0].plug_in(3)
    lost = {"config": {"mqtt": "mqtts://127.0.0.1:9"}, "contact_s": 2}
    assert bench.flash(esp[0].ports[2], name="lost", replace=True, **lost) == "no_contact"
    assert (esp[0].files(3) / "NO_AGENT").exists()
    assert not record.finished(record.read(bench.folder / single.RECORD))
    line = bench.flash(esp[0].ports[2], name="lost")
    assert line["event"] == record.FINISHED and not (esp[0].files(3) / "NO_AGENT").exists()


def test_from_the_command_line_to_the_label(server, tmp_path):
    """As somebody does it who has no board; docs/flash.md does it without a server, too."""
    from test_labels import decoded

    command = [sys.executable, "-m", "trueboot", "flash", "--simulate", "--baud", str(BAUD), "--name", "first"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TRUEBOOT_")}
    clean["TRUEBOOT_STATE"] = os.path.dirname(server.ca_file)
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "label        labels/first.svg" in done.stdout
    [line] = record.finished(record.read(tmp_path / "labels" / "record.ndjson")).values()
    assert decoded((tmp_path / "labels" / "first.svg").read_text()) == [line["url"]]
    assert line["url"].startswith("https://127.0.0.1:") and "/ui/devices/" in line["url"]
