# SPDX-License-Identifier: MIT
"""The record: appended, chained, on the disk before it counts; and what becomes of it on a full disk."""

import json
import resource
from contextlib import contextmanager

import pytest

from trueboot.flash import record
from trueboot.problem import Problem


def code(function, *arguments, **named):
    try:
        function(*arguments, **named)
    except Problem as problem:
        return problem.code
    return ""


@pytest.fixture
def path(tmp_path):
    with record.Record(tmp_path / "batch.ndjson") as made:
        made.append("bench.started", operator="ana")
        made.append(record.FINISHED, chip_id="c1", device="d1")
        made.append(record.FINISHED, chip_id="c2", device="d2")
    return made.path


def test_it_goes_on_where_it_ended(path):
    before = path.read_bytes()
    with record.Record(path) as again:
        assert again.append("bench.ended")["seq"] == 4
        again.append(record.RETIRED, chip_id="c1", device="d1")
    assert path.read_bytes().startswith(before)
    assert set(record.finished(record.read(path))) == {"c2"}


@pytest.mark.parametrize("change", ["changed", "taken out", "put in", "swapped"])
def test_a_line_that_was_touched_is_found(path, change):
    lines = path.read_bytes().splitlines(keepends=True)
    if change == "changed":
        lines[1] = lines[1].replace(b"d1", b"d9")
    elif change == "taken out":
        del lines[0]
    elif change == "put in":
        lines.insert(1, lines[1])
    else:
        lines[0], lines[1] = lines[1], lines[0]
    path.write_bytes(b"".join(lines))
    assert code(record.read, path) == code(record.Record, path) == "record_broken"


def test_a_crash_in_the_middle_of_a_line_costs_that_line(path):
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"seq":4,"ev')
    with record.Record(path) as again:
        assert len(again.lines) == 3
        again.append("bench.ended")
    assert len(record.read(path)) == 4


def test_one_run_at_a_time(path):
    with record.Record(path):
        assert code(record.Record, path) == "record_busy"


@contextmanager
def disk_with(free, path):
    """A disk that is full after so many bytes more: the kernel writes what fits, and then fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_whole_lines_and_no_finished_board(path):
    before = path.read_bytes()
    with record.Record(path) as full:
        with disk_with(20, path):
            assert code(full.append, record.FINISHED, chip_id="c3", device="d3") == "record_unwritable"
        assert path.read_bytes() == before and "c3" not in full.finished()
        full.append(record.FINISHED, chip_id="c3", device="d3")
    lines = record.read(path)
    assert len(lines) == 4 and json.loads(path.read_bytes().splitlines()[-1])["device"] == "d3"
