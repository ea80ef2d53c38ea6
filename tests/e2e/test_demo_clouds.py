# SPDX-License-Identifier: MIT
"""`trueboot demo --cloud`: a device that speaks esthesis lives the same story beside one that speaks DECADA."""

import json

import pytest
from test_demo import FIRST_BOOT, UPDATE, demo, in_order

CLOUDS = {"cpython-1": "decada", "cpython-esthesis-1": "esthesis"}


@pytest.fixture(scope="module")
def events():
    done = demo("--script", "happy", "--runtime", "cpython", "--cloud", "both", "--json")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", CLOUDS)
def test_one_life_in_either_language(events, name):
    found = in_order([e for e in events if e["device"] == name and e["source"] == "device"], FIRST_BOOT + UPDATE)
    assert found[3]["tls"] == "mutual" and found[-2]["outcome"] == "updated" and found[-1]["version"] == "1.1.0"
    proven = [e for e in events if e["device"] == name and e["event"] == "attempt.updated"]
    assert [e["proven"] for e in proven] == [True]


def test_each_was_asked_in_its_own_language(events):
    asked = {e["device"]: e["service"] for e in events if e["event"] == "command.answered"}
    assert asked == {"cpython-1": "blink", "cpython-esthesis-1": "ping"}


@pytest.mark.parametrize("wrong", [["--cloud", "mars"], ["--cloud", "both", "--cut-power", "3"]])
def test_a_cloud_that_there_is_not_is_refused_at_once(wrong):
    done = demo(*wrong)
    assert done.returncode == 2 and "--cloud" in done.stderr and "Traceback" not in done.stderr
