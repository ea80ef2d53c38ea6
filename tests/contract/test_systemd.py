# SPDX-License-Identifier: MIT
"""The unit of `trueboot-agent install-service`, followed by a supervisor that restarts as it says: trials end in the right slot.

No systemd runs here.  What stands in for it knows Restart=, RestartPreventExitStatus=, StartLimit* and the
watchdog's socket, as systemd.service(5) and systemd.unit(5) define them, and nothing else.
"""

from __future__ import annotations

import configparser
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from far_end import Authority

from platform_adapters import bootrecord, linux_service, linux_unit
from platform_adapters.linux_notify import Notify

ROOT = Path(__file__).parents[2]
AGENT = "import sys; from platform_adapters.linux_service import main; sys.exit(main())"
DEFAULT_STARTS = 5  # in ten seconds: systemd's own limit


def unit():
    parser = configparser.ConfigParser(interpolation=None, strict=False)  # SystemCallFilter= stands there twice
    parser.optionxform = str
    parser.read_string(linux_unit.unit(["trueboot-agent", "run", "--config", "/etc/trueboot/agent.toml"]))
    return parser


class Supervisor:
    def __init__(self, root):
        self.root, self.unit = root, unit()
        for slot in "ab":
            (root / "slots" / slot).mkdir(parents=True)
        (root / "state").mkdir()
        (root / "agent.toml").write_text('reset = "exit"\n')
        self.codes = []

    def app(self, slot, text):
        (self.root / "slots" / slot / "main.py").write_text(text)

    def start(self):
        done = subprocess.run(
            [sys.executable, "-c", AGENT, "run", "--config", "agent.toml"],
            cwd=self.root,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.codes.append(done.returncode)
        return done.stdout.strip()

    def run(self, most):
        """What the starts say, until none follows or `most` were made."""
        said = []
        service = self.unit["Service"]
        stop = [int(code) for code in service["RestartPreventExitStatus"].split()]
        limited = self.unit["Unit"].get("StartLimitIntervalSec") != "0"
        while len(said) < (DEFAULT_STARTS if limited else most):
            said.append(self.start())
            if self.codes[-1] in stop or service["Restart"] != "always":
                break
        return said

    def activate(self, slot):
        state = str(self.root / "state")
        bootrecord.save(state, bootrecord.activate(bootrecord.load(state), slot))


@pytest.fixture
def supervisor(tmp_path):
    made = Supervisor(tmp_path)
    made.app("a", "print('a')\n")
    return made


def test_a_trial_that_resets_and_crashes_ends_in_the_old_slot(supervisor):
    supervisor.app("b", "import os\nprint('b', flush=True)\nos._exit(3)\n")
    supervisor.activate("b")
    assert supervisor.run(5) == ["b"] * 3 + ["a"] * 2 and supervisor.codes == [3, 3, 3, 0, 0]
    supervisor.app("b", "print('b')\n1 / 0\n")
    supervisor.activate("b")
    assert supervisor.run(6)[-3:] == ["a"] * 3
    assert "ZeroDivisionError main.py:2" in bootrecord.load(str(supervisor.root / "state"))["failure"]


def test_a_trial_that_is_killed_by_the_watchdog_is_a_start_too(supervisor):
    supervisor.app("b", "import os, signal\nprint('b', flush=True)\nos.kill(os.getpid(), signal.SIGABRT)\n")
    supervisor.activate("b")
    assert supervisor.run(4) == ["b"] * 3 + ["a"] and supervisor.codes[:3] == [-6] * 3


def test_what_starting_again_cannot_mend_ends(supervisor):
    for code in (2, 77, 78):
        supervisor.app("a", "import sys\nsys.exit(%d)\n" % code)
        assert len(supervisor.run(4)) == 1


def test_a_trial_has_more_starts_than_systemd_s_own_limit_leaves(supervisor):
    """Why StartLimitIntervalSec=0: four starts lie between an activation and the way back, and two trials are eight."""
    assert supervisor.unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert 2 * (bootrecord.TRIAL_BOOTS + 1) > DEFAULT_STARTS


def test_current_names_what_was_started(supervisor):
    link = supervisor.root / "slots" / "current"
    supervisor.start()
    assert os.readlink(link) == "a"
    supervisor.app("b", "print('b')\n")
    supervisor.activate("b")
    (supervisor.root / "slots" / "current~").symlink_to("nowhere")  # of a cut in between
    supervisor.start()
    assert os.readlink(link) == "b" and not os.path.lexists(str(link) + "~")
    link.unlink()
    link.mkdir()
    assert supervisor.start()  # somebody's own folder is left alone
    assert link.is_dir() and not link.is_symlink()


def test_current_is_replaced_in_one_step(tmp_path, monkeypatch):
    seen = []
    rename = os.rename
    linux_service.name_current(str(tmp_path), "a")
    monkeypatch.setattr(os, "rename", lambda *names: (seen.append(os.readlink(tmp_path / "current")), rename(*names)))
    linux_service.name_current(str(tmp_path), "b")
    assert seen == ["a"] and os.readlink(tmp_path / "current") == "b"


def watched_by(systemd):
    return {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "400000000"}


@pytest.fixture
def systemd(tmp_path):
    """Process 1's end of the socket, and what it tells a service of it."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(address)
        end.settimeout(30)
        yield end


def test_the_watchdog_is_told_of_turns_where_it_asks(systemd, tmp_path):
    watched = watched_by(systemd) | {"WATCHDOG_PID": str(os.getpid())}
    notify = Notify(watched)
    for _ in range(3):
        notify.turned()
    assert systemd.recv(100) == b"READY=1\nWATCHDOG=1"
    unwatched = Notify({"NOTIFY_SOCKET": watched["NOTIFY_SOCKET"]})
    for _ in range(3):
        unwatched.turned()
    assert systemd.recv(100) == b"READY=1\nWATCHDOG=1"
    systemd.setblocking(False)
    for silent in ({}, watched | {"WATCHDOG_PID": "1"}):
        Notify(silent).turned()
        Notify(silent).event("session.online", {})
    with pytest.raises(BlockingIOError):  # told once in a quarter of the limit, and by nobody else
        systemd.recv(100)
    Notify(watched | {"NOTIFY_SOCKET": str(tmp_path / "gone")}).turned()


def test_the_watchdog_is_told_again_in_a_quarter_of_its_limit(systemd):
    notify = Notify({"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "4"})
    notify.turned()
    while True:
        notify.turned()
        if systemd.recv(100) == b"WATCHDOG=1":
            return


def test_the_status_line_says_what_runs_and_what_it_does(systemd):
    notify = Notify(watched_by(systemd))

    def told(event, **fields):
        notify.event(event, fields)
        return systemd.recv(200).decode()

    assert told("boot", boot=1, slot="a", cause="unknown") == "STATUS=runs slot a; starting"
    notify.event("version.reported", {"version": "1.0.0"})
    assert told("session.online", tls="mutual") == "STATUS=runs 1.0.0 slot a; online"
    assert told("update.trial", version="1.1.0", slot="b") == "STATUS=runs 1.0.0 slot b; TRIAL of 1.1.0"
    assert told("update.confirmed", version="1.1.0") == "STATUS=runs 1.1.0 slot b; confirmed 1.1.0"
    assert "\n" not in told("session.offline", code="a\nREADY=1")


APP = """
from agent import Agent
from platform_adapters.linux import Linux
agent = Agent(Linux())
agent.serve(300)
"""
CONFIG = {"product_key": "p", "device_key": "d", "https": "https://127.0.0.1:1", "mqtt": "mqtts://127.0.0.1:1"}


def test_a_start_is_ready_once_the_loop_turns(supervisor, systemd, tmp_path):
    """And what it logs is the journal's: a level before each line."""
    (tmp_path / "ca.pem").write_bytes(Authority("CA").pem)
    (tmp_path / "root.json").write_text("{}")
    values = CONFIG | {"hardware": "sim", "device_secret": "s"}
    (tmp_path / "agent.toml").write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
    supervisor.app("a", APP)
    log = tmp_path / "log"
    with log.open("w") as out:
        found = os.fstat(out.fileno())
        journal = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | watched_by(systemd) | journal
        done = subprocess.run(
            [sys.executable, "-c", AGENT, "run", "--config", "agent.toml"],
            cwd=tmp_path,
            env=environment,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    lines = log.read_text().splitlines()
    assert json.loads(lines[0].removeprefix("<6>"))["event"] == "boot"
    assert any(line.startswith('<4>{"event": "error"') for line in lines), lines
    systemd.setblocking(False)
    told = [systemd.recv(300).decode()]
    while "READY=1" not in told[-1]:
        told.append(systemd.recv(300).decode())
    assert told[0] == "STATUS=runs slot a; starting" and len(told) == 2
