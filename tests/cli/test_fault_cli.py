# SPDX-License-Identifier: MIT
"""`trueboot fault` and `demo --fault` as they are typed."""

import sys
from pathlib import Path

import pytest
from commandline import Tool

from trueboot_server.faults.kinds import KINDS

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))
from server_client import ServerThread  # noqa: E402


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    bad = ServerThread(tmp_path_factory.mktemp("bad") / "state", faults=True)
    well = ServerThread(tmp_path_factory.mktemp("well") / "state")
    yield bad, well
    bad.stop()
    well.stop()


def tool_for(server, folder):
    first = server.first
    return Tool(
        folder, TRUEBOOT_SERVER=first["https"], TRUEBOOT_CA=first["ca_file"], TRUEBOOT_TOKEN=first["admin_token"]
    )


@pytest.fixture
def tool(servers, tmp_path):
    return tool_for(servers[0], tmp_path)


def test_begin_list_end(tool):
    first = tool.ok("fault", "add", "latency", "ms=3", "path=/nowhere", "for=30")
    assert first["arguments"] | {"ms": 3, "path": "/nowhere", "for": 30.0} == first["arguments"]
    second = tool.ok("fault", "add", "drop", "device=somebody")
    assert [one["id"] for one in tool.ok("fault", "list")] == [first["id"], second["id"]]
    assert "latency" in tool.run("fault", "list").stdout
    assert [one["id"] for one in tool.ok("fault", "clear", first["id"])] == [first["id"]]
    assert [one["id"] for one in tool.ok("fault", "clear")] == [second["id"]]
    assert {one["state"] for one in tool.ok("fault", "list")} == {"cleared"}


def test_every_kind_is_explained_and_begins_with_its_defaults(tool):
    helped = " ".join(tool.run("fault", "add", "--help").stdout.split())
    listed = tool.ok("fault", "kinds")
    assert list(listed) == list(KINDS)
    for name, kind in KINDS.items():
        assert kind.does in helped
        assert listed[name]["does"] == kind.does and "for" in listed[name]["arguments"]
        if name in ("bad-certificate", "stale-metadata"):
            continue  # the one would end this connection's trust, the other wants a release
        assert tool.ok("fault", "add", name)["kind"] == name
    tool.ok("fault", "clear")


@pytest.mark.parametrize("words", [["ms"], ["=3"], ["ms=1", "ms=2"], ["kind=drop"]])
def test_words_that_are_no_arguments(tool, words):
    tool.refused("usage", "fault", "add", "latency", *words, exit_code=2)


def test_what_the_server_refuses(tool):
    assert "bad_fault" in tool.refused("server_refused", "fault", "add", "latency", "ms=soon", exit_code=1)
    assert "no_such_fault" in tool.refused("not_found", "fault", "clear", "999", exit_code=1)


@pytest.mark.parametrize("verb", [["add", "drop"], ["list"], ["clear"], ["clear", "1"]])
def test_a_server_that_was_not_told_to(servers, tmp_path, verb):
    assert "--faults" in tool_for(servers[1], tmp_path).refused("faults_off", "fault", *verb, exit_code=1)


@pytest.mark.parametrize(
    "words",
    [
        ["--fault", "nonsense"],
        ["--fault", "drop:percent"],
        ["--fault", "drop", "--cut-power", "3"],
        ["--fault", "drop", "--script", "attack"],
    ],
)
def test_a_demo_that_makes_no_sense(tool, words):
    assert "--fault" in tool.refused("usage", "demo", *words, exit_code=2)
