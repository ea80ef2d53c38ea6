# SPDX-License-Identifier: MIT
"""`trueboot bench --simulate 8`: two boards fail in different ways, a cable is pulled, and a second run finishes the rest."""

import csv
import json
import os
import re
import subprocess
import sys

import pytest

from trueboot import mpy
from trueboot.api import Api
from trueboot.flash import batch, bench, boards, ports, record, steps
from trueboot.flash.simulated import bed

BAUD = "3000000"
pytestmark = pytest.mark.skipif(bool(mpy.unavailable()), reason=mpy.unavailable() or "-")


@pytest.fixture(scope="module")
def server():
    with bed.own_server() as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def run(server, folder):
    def run(*arguments):
        command = [sys.executable, "-m", "trueboot", "bench", *arguments, "--baud", BAUD, "--operator", "ana"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TRUEBOOT_")}
        environment = clean | {"TRUEBOOT_STATE": os.path.dirname(server.info["ca_file"]), "COLUMNS": "200"}
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)

    return run


def rows(path):
    with path.open(newline="") as file:
        return {row["serial"]: row for row in csv.DictReader(file)}


def test_a_first_run_with_three_faults(run, folder, server):
    text = "serial,board,label_customer\n" + "".join(f"RB-{n:03},,Ana\n" for n in range(1, 9)) + "RB 9,,\n"
    (folder / "batch.csv").write_text(text)
    faults = ["--fault", "2:silent", "--fault", "5:small-flash", "--fault", "7:pull-certificate"]
    done = run("batch.csv", "--simulate", "8", "--tries", "2", "--json", *faults)
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["rows"] == 8 and told["done"] == 6
    assert told["bad"] == [{"line": 10, "column": "serial", "why": "1 to 64 letters, digits, '-', '_' or '.'"}]
    assert {one["slot"]: one["code"] for one in told["failed"]} == {"sim-2": "board_silent", "sim-5": "flash_small"}
    assert re.search(r"sim-7 +RB-\d+ +The board is gone. \[board_gone\], try 2 follows", done.stderr)
    assert done.stderr.splitlines()[-3].endswith("rows have become devices. [bench_failed]")

    lines = record.read(folder / "batch.ndjson")
    finished = record.finished(lines)
    assert len(finished) == 6 and len({line["device"] for line in finished.values()}) == 6
    pulled = next(line for line in finished.values() if line["slot"] == "sim-7")
    assert pulled["tries"] == 2
    api = Api(server)
    for line in finished.values():
        device = api.get(f"/api/v1/devices/{server.info['product_key']}/{line['device']}")
        assert device["state"] == "enrolled" and device["proven_version"] == "1.0.0"
        assert device["tags"]["chip_id"] == line["chip_id"]
    api.close()
    results = rows(folder / "batch.done.csv")
    assert sorted(row["result"] for row in results.values()) == ["failed"] + ["ok"] * 6 + ["open"]
    failed = next(row for row in results.values() if row["result"] == "failed")
    assert failed["error"] == "flash_small" and failed["chip_id"] == "0200c0ff0005"
    assert not [name for name in next(iter(results.values())) if "key" in name]


def test_a_second_run_finishes_the_rest_and_touches_nothing_else(run, folder):
    before = record.read(folder / "batch.ndjson")
    text = (folder / "batch.csv").read_text().replace("RB 9,,\n", "")
    (folder / "batch.csv").write_text(text)
    done = run("batch.csv", "--simulate", "5")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "8 of 8 done, 0 open, 0 failed, 0 bad rows\n"
    lines = record.read(folder / "batch.ndjson")
    assert lines[: len(before)] == before
    new = [line for line in lines[len(before) :] if line["event"].startswith("board.")]
    assert {line["chip_id"] for line in new} == {"0200c0ff0002", "0200c0ff0005"}
    assert {line["device"] for line in record.finished(lines).values()} == {f"RB-{n:03}" for n in range(1, 9)}
    # The board that had a row before has it again.
    claimed = next(line["device"] for line in before if line.get("error") == "flash_small")
    assert record.finished(lines)["0200c0ff0005"]["device"] == claimed


def test_a_third_run_has_nothing_to_do(run, folder):
    done = run("batch.csv", "--simulate", "1")
    assert (done.returncode, done.stdout) == (0, "8 of 8 done, 0 open, 0 failed, 0 bad rows\n")
    # The same chips for another batch are refused: they are devices already.
    (folder / "other.csv").write_text("serial\nX-1\n")
    (folder / "other.ndjson").write_bytes((folder / "batch.ndjson").read_bytes())
    done = run("other.csv", "--simulate", "1")
    assert done.returncode == 1 and "chip_known" in done.stdout


def test_labels_of_the_record(folder):
    from test_labels import decoded

    command = [sys.executable, "-m", "trueboot", "labels", "batch.ndjson", "-o", "sheet.html", "--sheet", "A4-65"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.stdout == "labels  8\nsheet   sheet.html\n"
    page = (folder / "sheet.html").read_text()
    urls = {decoded(svg)[0] for svg in re.findall(r'<div class="label">(<svg.*?)</div>', page)}
    assert urls == {line["url"] for line in record.finished(record.read(folder / "batch.ndjson")).values()}


def test_one_socket_and_two_boards_after_each_other(server, tmp_path):
    """With somebody at the terminal: what is done is pulled, the next comes, and is known by its chip, not by its socket."""
    api = Api(server)
    with bed.boards_of(boards.named("ESP32_GENERIC"), 2) as (there, firmware), record.Record(tmp_path / "r") as kept:
        first, second = (ports.Port(str(one), "hub-1", "", "", "esptool") for one in there.ports)
        pulled = []

        def look():
            if not kept.finished():
                return {"hub-1": first}
            if not pulled:
                pulled.append(True)
                return {}
            return {"hub-1": second}

        rows = [batch.Row(number, f"hub-{number}", "", "", None, {}) for number in (1, 2)]
        wanted = steps.Wanted(server.info, firmware=str(firmware), unverified=True, baud=int(BAUD), simulated=True)
        bench.Bench(api, wanted, rows, kept, look, tmp_path, stay=True).run()
        found = [(line["slot"], line["chip_id"], line["device"]) for line in kept.finished().values()]
    api.close()
    assert found == [("hub-1", "0200c0ff0001", "hub-1"), ("hub-1", "0200c0ff0002", "hub-2")]
