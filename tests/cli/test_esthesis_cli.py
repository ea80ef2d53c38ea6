# SPDX-License-Identifier: MIT
"""`trueboot esthesis`: commands as an operator types them, and what a device replies."""

import sys
import threading
from pathlib import Path

import pytest
from commandline import Tool

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))
from esthesis_client import EsthesisDevice  # noqa: E402
from server_client import Operator, ServerThread  # noqa: E402


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerThread(tmp_path_factory.mktemp("server") / "state")
    operator = Operator(running.first)
    operator.post("/api/v1/products", {"product_key": "meters", "dialect": "esthesis"})
    operator.call("POST", "/api/v1/products/meters/policy", {"registration": "OPEN"})
    yield running
    running.stop()


@pytest.fixture
def tool(server, tmp_path):
    first = server.first
    return Tool(
        tmp_path, TRUEBOOT_SERVER=first["https"], TRUEBOOT_CA=first["ca_file"], TRUEBOOT_TOKEN=first["admin_token"]
    )


@pytest.fixture(scope="module")
def session(server, tmp_path_factory):
    device = EsthesisDevice(server.first, "meter-7", tmp_path_factory.mktemp("device"))
    assert device.register() == 200
    session = device.connect()
    yield session
    session.close()


def replying(session, text):
    """The device replies to the next command with `text`; gives what it was told, once joined."""
    told = []

    def reply():
        number, rest = session.hear().split(" ", 1)
        told.append(rest)
        session.say("command/reply", f"{number} {text}")

    thread = threading.Thread(target=reply)
    thread.start()
    return thread, told


def test_commands_their_replies_and_what_is_kept_of_them(tool, session):
    thread, told = replying(session, "s total 0\n\x1b[31mred")
    done = tool.run("esthesis", "command", "meter-7", "execute", "ls", "/etc")
    thread.join()
    assert told == ["es ls /etc"] and done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "total 0" and "\x1b" not in done.stdout

    thread, told = replying(session, "f exit status 1")
    tool.refused("device_refused", "esthesis", "command", "meter-7", "reboot", "--async", exit_code=1)
    thread.join()
    assert told == ["ra"]

    assert tool.ok("esthesis", "command", "meter-7", "ping", "--wait", "0")["replied_at"] is None
    tool.refused("device_silent", "esthesis", "command", "meter-7", "ping", "--wait", "1", exit_code=75)
    kept = tool.ok("esthesis", "commands", "meters/meter-7")
    assert [(c["type"], c["succeeded"]) for c in kept] == [("ping", None)] * 2 + [("reboot", False), ("execute", True)]
    assert "ls /etc" in tool.run("esthesis", "commands", "meter-7").stdout


def test_commands_that_cannot_be(tool, session):
    tool.refused("not_found", "esthesis", "command", "nobody", "ping")
    tool.refused("server_refused", "esthesis", "command", "meter-7", "dance")
    tool.refused("server_refused", "esthesis", "command", "meter-7", "execute")
