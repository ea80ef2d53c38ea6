# SPDX-License-Identifier: MIT
"""Both trampolines, as real processes: choice, trial, fall-back, reasons, resets, and their exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from platform_adapters import bootrecord
from trueboot import mpy

ROOT = Path(__file__).parent.parent.parent
AGENT = "import sys; from platform_adapters.linux_service import main; sys.exit(main())"
SECRET = "do-not-tell"

# An app that says where it runs, and then does what the file `do` beside its slot says.
APP = """
import sys
where = [entry for entry in sys.path if "/slots/" in entry][0]
print("slot", where[-1])
with open(where + "/do") as file:
    do = file.read()
exec(do)
"""
HELPER = "def fail():\n    raise ValueError(%r)\n" % (SECRET + '\n  File "planted", line 1')


class Device:
    """A device root; `run` boots it once."""

    def __init__(self, root):
        self.root = root
        self.state = str(root / "state")
        os.makedirs(self.state)
        for slot in "ab":
            (root / "slots" / slot).mkdir(parents=True)
            (root / "slots" / slot / "main.py").write_text(APP)
            (root / "slots" / slot / "helper.py").write_text(HELPER)
            self.do(slot, "")

    def do(self, slot, script):
        (self.root / "slots" / slot / "do").write_text(script)

    def activate(self, slot):
        bootrecord.save(self.state, bootrecord.activate(self.record(), slot))

    def confirm(self):
        bootrecord.save(self.state, bootrecord.confirm(self.record()))

    def record(self):
        return bootrecord.load(self.state)

    def run(self, *more):
        done = subprocess.run(
            [*self.command(), *more],
            cwd=self.root,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        slots = "".join(line[5:] for line in done.stdout.splitlines() if line.startswith("slot "))
        return slots, done.returncode, done.stderr


class Linux(Device):
    def __init__(self, root):
        super().__init__(root)
        (root / "agent.toml").write_text("")

    def command(self):
        return [sys.executable, "-c", AGENT, "run", "--config", "agent.toml", "--exit-on-reset"]

    def environment(self):
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}


class Board(Device):
    def __init__(self, root):
        if mpy.unavailable():
            pytest.skip(mpy.unavailable())
        super().__init__(root)
        for name in ("micropython/boot.py", "micropython/main.py", "platform_adapters/bootrecord.py"):
            shutil.copy(ROOT / name, root)

    def command(self):
        return [*mpy.interpreter("256k"), "-c", "execfile('boot.py'); execfile('main.py')"]

    def environment(self):
        return {"PATH": os.environ["PATH"], "MICROPYPATH": "/usr/lib/micropython:/nowhere"}


@pytest.fixture(params=[Linux, Board], ids=["linux", "micropython"])
def device(request, tmp_path):
    return request.param(tmp_path)


def test_a_new_device_runs_slot_a_and_its_end_is_the_end(device):
    assert device.run() == ("a", 0, "")


def test_a_trial_is_counted_and_falls_back(device):
    device.activate("b")
    device.do("b", "import sys; sys.exit(3)")
    assert [device.run()[:2] for _ in range(4)] == [("b", 3)] * 3 + [("a", 0)]
    assert device.record()["trial"] is None


def test_a_crash_on_trial_is_recorded_without_its_text(device):
    device.activate("b")
    device.do("b", "import helper\nhelper.fail()")
    slots, code, errors = device.run()
    assert (slots, code) == ("b", 3)
    assert SECRET in errors  # for whoever sits in front of it
    assert device.record()["failure"] == "exception: ValueError helper.py:2"
    for _ in range(3):
        device.run()
    assert device.run()[0] == "a"
    assert device.record()["failure"] == "exception: ValueError helper.py:2"
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in Path(device.state).glob("boot.*"))


def test_a_slot_that_does_not_compile_falls_back(device):
    (device.root / "slots" / "b" / "main.py").write_text("x = 1\nthis is no Python\n")
    device.activate("b")
    assert device.run()[:2] == ("", 3)
    assert device.record()["failure"] == "exception: SyntaxError main.py:2"


def test_an_empty_slot_falls_back(device):
    shutil.rmtree(device.root / "slots" / "b")
    device.activate("b")
    assert [device.run()[1] for _ in range(3)] == [3] * 3
    assert device.run()[:2] == ("a", 0)


def test_an_app_that_ends_on_trial_has_failed(device):
    device.activate("b")
    assert device.run()[:2] == ("b", 3)
    assert device.record()["failure"] == "ended main.py"


def test_a_confirmed_image_stays(device):
    device.activate("b")
    device.confirm()
    for _ in range(5):
        assert device.run()[:2] == ("b", 0)


def test_a_crash_of_a_confirmed_image_is_no_reason_to_fall_back(device):
    device.do("a", "1 / 0")
    slots, code, errors = device.run()
    assert slots == "a" and code == (1 if isinstance(device, Linux) else 3)
    assert "ZeroDivisionError" in errors
    assert device.record() == bootrecord.blank()


def test_exit_codes_pass(device):
    device.do("a", "import sys; sys.exit(77)")
    assert device.run()[:2] == ("a", 77)
    device.activate("b")
    device.do("b", "import sys; sys.exit(0)")
    assert device.run()[:2] == ("b", 0)


def test_an_interrupt_passes(device):
    device.activate("b")
    device.do("b", "raise KeyboardInterrupt")
    slots, code, _ = device.run()
    assert slots == "b" and code not in (0, 3)
    assert device.record()["failure"] == ""


def test_damaged_records_boot_slot_a(device):
    device.activate("b")
    for index in (0, 1):
        Path(bootrecord.path(device.state, index)).write_bytes(b"junk" * 20)
    assert device.run()[:2] == ("a", 0)


def test_the_hosts_libraries_are_not_on_the_path(tmp_path):
    board = Board(tmp_path)
    board.do("a", "print('slot', sys.path)")
    assert board.run()[0].endswith("/slots/a', '', '.frozen', '%s/lib']" % tmp_path)
    assert "/nowhere" not in board.run()[0]


def test_looking_at_the_files_is_no_boot_of_a_trial(tmp_path):
    """A tool that resets the board to its raw REPL has boot.py run, and main.py not."""
    board = Board(tmp_path)
    board.activate("b")
    before = board.record()
    for _ in range(5):
        done = subprocess.run(
            [*mpy.interpreter("256k"), "-c", "execfile('boot.py')"], cwd=tmp_path, capture_output=True, timeout=60
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert board.record() == before


def test_a_file_keeps_the_agent_away(tmp_path):
    board = Board(tmp_path)
    board.activate("b")
    before = board.record()
    (tmp_path / "NO_AGENT").touch()
    for _ in range(5):
        assert board.run() == ("", 0, "")
    assert board.record() == before
    (tmp_path / "NO_AGENT").unlink()
    assert board.run()[:2] == ("b", 3)


@pytest.mark.parametrize("interrupted", [True, False])
def test_a_board_waits_for_ctrl_c(tmp_path, interrupted):
    board = Board(tmp_path)
    board.activate("b")
    text = (tmp_path / "main.py").read_text()
    assert '"rp2": 2000' in text
    (tmp_path / "main.py").write_text(text.replace('"rp2": 2000', '"linux": %d' % (20_000 if interrupted else 30)))
    before = board.record()
    process = subprocess.Popen(board.command(), cwd=tmp_path, env=board.environment(), stdout=subprocess.PIPE)
    said = process.stdout.readline()
    assert said.startswith(b"trueboot: Ctrl-C within")
    if interrupted:
        process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    if interrupted:
        assert (said, process.returncode) == (b"trueboot: not started; reset the board to go on\n", 0)
        assert board.record() == before
    else:
        assert said.startswith(b"slot b") and process.returncode == 3


def test_a_board_that_slept_does_not_wait(tmp_path):
    board = Board(tmp_path)
    text = (tmp_path / "main.py").read_text().replace('"rp2": 2000', '"linux": 1')
    for cause, said in ((4, "slot a"), (1, "trueboot: Ctrl-C within 1 ms, and nothing is started")):
        machine = "type('machine', (), {'DEEPSLEEP_RESET': 4, 'reset_cause': lambda: %d})" % cause
        (tmp_path / "main.py").write_text("import sys\nsys.modules['machine'] = %s\n%s" % (machine, text))
        done = subprocess.run(
            board.command(), cwd=tmp_path, env=board.environment(), capture_output=True, text=True, timeout=60
        )
        assert done.stdout.splitlines()[0] == said, done.stderr


def test_a_trampoline_that_lacks_a_file_ends_in_a_reset(tmp_path):
    """And not at a prompt that nobody sees."""
    board = Board(tmp_path)
    (tmp_path / "bootrecord.py").unlink()
    slots, code, errors = board.run()
    assert (slots, code) == ("", 3) and "no module named 'bootrecord'" in errors


# Linux alone


@pytest.fixture
def linux(tmp_path):
    return Linux(tmp_path)


def agent(linux, *arguments):
    return subprocess.run(
        [sys.executable, "-c", AGENT, *arguments],
        cwd=linux.root,
        env=linux.environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )


def one_line(done):
    assert done.stderr.startswith("trueboot-agent: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_reset_starts_again_in_the_same_process(linux):
    linux.do(
        "a",
        "import os, platform_adapters.linux_reset as reset\n"
        "print('pid', os.getpid(), os.environ.get('TRUEBOOT_CAUSE'), flush=True)\n"
        "os.environ.get('TRUEBOOT_CAUSE') or (os.chdir('/'), reset.reset())",
    )
    done = agent(linux, "run", "--config", "agent.toml")
    assert done.returncode == 0, done.stderr
    first, second = [line.split() for line in done.stdout.splitlines() if line.startswith("pid")]
    assert first[1] == second[1] and (first[2], second[2]) == ("None", "reset")


def test_a_reset_takes_a_failed_trial_back_without_a_supervisor(linux):
    linux.activate("b")
    linux.do("b", "1 / 0")
    done = agent(linux, "run", "--config", "agent.toml")
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if line.startswith("slot")] == ["slot b"] * 3 + ["slot a"]


def test_a_second_agent_is_told_so(linux):
    linux.do(
        "a",
        "import subprocess, sys\n"
        "for verb in (['run'], ['status', '--json']):\n"
        "    done = subprocess.run([sys.executable, '-c', %r, *verb, '--config', 'agent.toml'],"
        " capture_output=True, text=True)\n"
        "    print(repr((done.returncode, done.stdout, done.stderr)))\n" % AGENT,
    )
    done = agent(linux, "run", "--config", "agent.toml")
    second, status = [eval(line) for line in done.stdout.splitlines()[1:]]
    assert second[0] == 75 and second[2].count("\n") == 1 and "another agent (PID" in second[2]
    found = json.loads(status[1])
    assert found["running"] and found["slot"] == "a" and isinstance(found["pid"], int)
    assert agent(linux, "run", "--config", "agent.toml").returncode == 0  # the lock went with its holder


def test_status_without_a_running_agent(linux):
    (linux.root / "slots" / "a" / ".release").write_text('{"version": "1.2.3"}')
    linux.activate("b")
    found = json.loads(agent(linux, "status", "--json", "--config", "agent.toml").stdout)
    assert found == {
        "running": False,
        "pid": None,
        "slot": "a",
        "confirmed": True,
        "trial": "b",
        "failure": "",
        "release": {"version": "1.2.3"},
        "identity": "blank",
        "key": "none yet",
        "freshness": "",
        "journal": {},
    }
    assert linux.record()["boots"] == bootrecord.TRIAL_BOOTS


def test_usage_and_configuration_errors(linux):
    assert agent(linux).returncode == 2
    assert agent(linux, "fly").returncode == 2
    done = agent(linux, "run")
    assert done.returncode == 78 and "--config" in one_line(done)
    done = agent(linux, "run", "--config", "nowhere.toml")
    assert done.returncode == 78 and "nowhere.toml" in one_line(done)
    (linux.root / "agent.toml").write_text("state = [")
    assert agent(linux, "run", "--config", "agent.toml").returncode == 78


def test_a_device_without_an_app(linux):
    shutil.rmtree(linux.root / "slots")
    done = agent(linux, "run", "--config", "agent.toml")
    assert done.returncode == 78 and "install an app image" in one_line(done)


def test_a_state_folder_that_cannot_be_written(linux):
    (linux.root / "agent.toml").write_text('state = "/proc/nowhere"\n')
    done = agent(linux, "run", "--config", "agent.toml")
    assert done.returncode == 69 and "state folder" in one_line(done)


@pytest.mark.parametrize("code, wanted", [("config", 78), ("revoked", 77), ("other", 69)])
def test_our_errors_end_in_one_line_and_their_code(linux, code, wanted):
    linux.do("a", "from agent.errors import MisuseError\nraise MisuseError(%r, 'say why')" % code)
    done = agent(linux, "run", "--config", "agent.toml")
    assert done.returncode == wanted
    assert one_line(done) == "trueboot-agent: %s: say why\n" % code


def test_running_leaves_no_bytecode_in_the_slot(linux):
    linux.do("a", "import helper")
    before = sorted(os.listdir(linux.root / "slots" / "a"))
    linux.run()
    assert sorted(os.listdir(linux.root / "slots" / "a")) == before


def test_version_and_help(linux):
    from agent import __version__

    assert agent(linux, "--version").stdout == "trueboot-agent %s\n" % __version__
    assert "run" in agent(linux, "--help").stdout


def test_the_trampoline_imports_little():
    script = "import sys; before = set(sys.modules); import platform_adapters.linux_service; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", "import sys; sys.path.append(%r); %s" % (str(ROOT), script)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    loaded = set(done.stdout.split())
    assert not loaded & {
        "ssl",
        "requests",
        "paho",
        "cryptography",
        "asyncio",
        "tomllib",
        "socket",
        "logging",
        "dataclasses",
    }
    assert len(loaded) < 60, sorted(loaded)
