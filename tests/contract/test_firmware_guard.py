# SPDX-License-Identifier: MIT
"""micropython/main.py of a board whose images are firmware: a trial that fails says why, and the boot loader goes back;
and its watchdog, where images are apps.

The real MicroPython runs the guard once per boot; the flash of a simulated ESP32 lies in a file between boots.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from trueboot import mpy

ROOT = Path(__file__).parents[2]
SECRET = "do-not-tell"
# One boot: the boot loader, then main.py with what stands in for `machine` and `esp32`.  The app is not frozen here.
BOOT = """
import json, sys
from platform_adapters import memory_esp32
from platform_adapters.esp32_slots import Esp32Slots
from platform_adapters.filestore import FileStore

board = memory_esp32.Board()
try:
    with open("flash") as file:
        kept = json.load(file)
    for label in kept:
        board.flash[label][:] = bytes.fromhex(kept[label])
except OSError:
    old, new = [memory_esp32.image(bytes([n]) * 3000) for n in (1, 2)]
    board.install("ota_0", old)
    slots = Esp32Slots(board.power_on().Partition, FileStore("state/store"))
    slots.begin({"version": "2.0.0", "length": len(new)})
    slots.write(0, new)
    slots.sync()
    slots.activate()
esp32 = board.power_on()

def keep():
    with open("flash", "w") as file:
        json.dump({label: board.flash[label].hex() for label in board.flash}, file)

class Machine:
    def WDT(self, timeout):
        print("watchdog", timeout)
    def reset(self):
        keep()
        sys.exit(3)

sys.modules["machine"], sys.modules["esp32"] = Machine(), esp32
slots = Esp32Slots(esp32.Partition, FileStore("state/store"))
print("runs", slots.running(), slots.state()["failure"])
keep()
with open("main.py") as file:
    code = file.read().replace("sys.platform", "'esp32'").replace('"esp32": 2000', '"esp32": 0')
exec(compile(code, "main.py", "exec"), {"__name__": "__main__"})
keep()
"""


class Board:
    def __init__(self, folder):
        self.folder = folder
        (folder / "main.py").write_text((ROOT / "micropython" / "main.py").read_text())

    def boot(self, app):
        """(what was said, exit code, stderr) of one boot in which the firmware's app is `app`."""
        (self.folder / "app.py").write_text(app)
        command = [*mpy.interpreter("2M"), "-c", BOOT]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=60)
        return done.stdout.splitlines(), done.returncode, done.stderr

    def note(self, slot):
        return json.loads((self.folder / "state" / "store" / ("firmware." + slot)).read_text())


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    if mpy.unavailable():
        pytest.skip(mpy.unavailable())
    folder = tmp_path_factory.mktemp("compiled")
    mpy.build(folder)
    return folder


@pytest.fixture
def board(compiled, tmp_path):
    shutil.copytree(compiled, tmp_path, dirs_exist_ok=True)
    return Board(tmp_path)


def test_a_crash_on_trial_is_noted_and_the_loader_goes_back(board):
    said, code, errors = board.boot("def work():\n    raise ValueError(%r)\nwork()\n" % SECRET)
    assert said == ["runs b ", "watchdog 60000"], said
    assert code == 3 and SECRET in errors
    assert board.note("b")["failure"] == "exception: ValueError app.py:2" and SECRET not in json.dumps(board.note("b"))
    said, code, _ = board.boot("print('well')\n")
    assert said == ["runs a exception: ValueError app.py:2", "well"] and code == 0  # confirmed: its end is the end


def test_a_trial_that_ends_or_does_not_compile_has_failed(board):
    said, code, _ = board.boot("print('done')\n")
    assert said == ["runs b ", "watchdog 60000", "done"] and code == 3
    assert board.note("b")["failure"] == "ended main.py"
    assert board.boot("")[0] == ["runs a ended main.py"]


def test_a_confirmed_firmware_that_crashes_starts_again_and_keeps_its_confirmation(board):
    board.boot("1 / 0\n")
    for _ in range(2):
        said, code, errors = board.boot("1 / 0\n")
        assert said[0].startswith("runs a") and code == 3 and "ZeroDivisionError" in errors
    assert not (board.folder / "state" / "store" / "firmware.a").exists()


# A Pico W, whose watchdog waits 8.4 s, with slot b on trial; the timer's ticks are played after the app has come up.
PICO = """
import sys
import bootrecord
bootrecord.save("state", bootrecord.activate(bootrecord.blank(), "b") if %(trial)s else bootrecord.blank())

class Machine:
    ticks, fed = [], 0
    class Timer:
        PERIODIC = 1
        def __init__(self, number, period, mode, callback, hard):
            Machine.ticks.append(callback)
            print("timer", period, hard)
    def WDT(self, timeout):
        print("watchdog", timeout)
        return self
    def feed(self):
        Machine.fed += 1
    def reset(self):
        for tick in Machine.ticks:
            for _ in range(100):
                tick(None)
        print("fed", Machine.fed)
        sys.exit(3)

machine = sys.modules["machine"] = Machine()
import os
sys.path.insert(0, os.getcwd() + "/slots/b")
with open("main.py") as file:
    code = file.read().replace("sys.platform", "'rp2'").replace('"rp2": 2000', '"rp2": 0')
exec(compile(code, "main.py", "exec"), {"__name__": "__main__"})
"""


@pytest.mark.parametrize("trial", [True, False])
def test_on_trial_a_pico_s_watchdog_gives_the_app_a_minute(board, trial):
    shutil.copy(ROOT / "platform_adapters" / "bootrecord.py", board.folder)
    (board.folder / "state").mkdir()
    (board.folder / "slots" / "b").mkdir(parents=True)
    (board.folder / "slots" / "b" / "main.py").write_text("print('app')\n")
    command = [*mpy.interpreter("1M"), "-c", PICO % {"trial": trial}]
    done = subprocess.run(command, cwd=board.folder, capture_output=True, text=True, timeout=60)
    said = ["watchdog 8388", "timer 1000 True", "app", "fed 60"] if trial else ["app"]
    assert (done.stdout.splitlines(), done.returncode) == (said, 3 if trial else 0), done.stderr
