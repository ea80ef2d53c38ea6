# SPDX-License-Identifier: MIT
"""The unit of docs/slots-linux.md, followed by a supervisor that restarts as it says: trials end in the right slot.

No systemd runs here.  What stands in for it knows Restart=, RestartPreventExitStatus=, StartLimit* and the
watchdog's socket, as systemd.service(5) and systemd.unit(5) define them, and nothing else.
"""

from __future__ import annotations

import configparser
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from platform_adapters import bootrecord, linux_service
from platform_adapters.linux_notify import Notify

ROOT = Path(__file__).parents[2]
AGENT = "import sys; from platform_adapters.linux_service import main; sys.exit(main())"
DEFAULT_STARTS = 5  # in ten seconds: systemd's own limit


def unit():
    text = (ROOT / "docs" / "slots-linux.md").read_text("utf-8")
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_string(text.split("```ini\n")[1].split("```")[0])
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


def test_the_watchdog_is_told_of_turns_where_it_asks(tmp_path):
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(5)
        watched = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000000", "WATCHDOG_PID": str(os.getpid())}
        notify = Notify(watched)
        for _ in range(3):
            notify.turned()
        assert systemd.recv(100) == b"WATCHDOG=1"
        systemd.setblocking(False)
        for silent in (
            {},
            watched | {"WATCHDOG_PID": "1"},
            watched | {"WATCHDOG_USEC": "0"},
            {"NOTIFY_SOCKET": address},
        ):
            Notify(silent).turned()
        with pytest.raises(BlockingIOError):  # told once in a quarter of the limit, and by nobody else
            systemd.recv(100)
    Notify(watched | {"NOTIFY_SOCKET": str(tmp_path / "gone")}).turned()


def test_the_unit_is_one_for_systemd(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    with open(tmp_path / "trueboot.service", "w") as file:
        unit().write(file, space_around_delimiters=False)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "trueboot.service")], capture_output=True, text=True, timeout=60
    )
    assert "Unknown" not in done.stderr and "Failed to parse" not in done.stderr, done.stderr
