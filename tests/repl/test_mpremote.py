# SPDX-License-Identifier: MIT
"""Real mpremote at a serial port with the real MicroPython behind it: from an empty flash to a device that was updated."""

from __future__ import annotations

import functools
import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from rig import Rig

from trueboot import __version__, images, mip, mpy, provision, releases
from trueboot.demo.supervisor import Device
from trueboot.demo.world import HARDWARE

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HEAP = "512k"
MPREMOTE_TIMEOUT_S = 60

pytestmark = pytest.mark.skipif(bool(mpy.unavailable()), reason=mpy.unavailable() or "-")


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Its URL, on loopback."""
    folder = tmp_path_factory.mktemp("index")
    mip.write_index(folder, HARDWARE, __version__)
    yield from served(folder)


def served(folder):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield "http://127.0.0.1:%d" % server.server_port
    server.shutdown()
    server.server_close()


def board_command(flash, heap=HEAP):
    return [sys.executable, str(HERE / "pty_board.py"), str(flash), heap]


def mpremote(port, *arguments, code=0):
    command = [sys.executable, "-m", "mpremote", "connect", port, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=MPREMOTE_TIMEOUT_S)
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout.replace("\r\n", "\n")


def install(board_port, flash, index, *packages):
    return mpremote(board_port, "mip", "install", "--index", index, "--target", flash, *packages)


@pytest.fixture
def board(tmp_path):
    """(rig, device) of an empty board behind a port, switched off."""
    (tmp_path / "world").mkdir()
    (tmp_path / "flash").mkdir()
    rig = Rig(tmp_path / "world")
    try:
        rig.start_server()

        def make(heap=HEAP):
            command = board_command(tmp_path / "flash", heap)
            device = Device("repl-1", "micropython", command, tmp_path / "world", rig.record)
            rig.devices.append(device)
            return device

        yield rig, make, tmp_path
    finally:
        rig.stop()


def provisioned(rig, device, bench):
    example = releases.Release("app", HARDWARE, mip.EXAMPLE_VERSION, images.load(ROOT / "micropython/example", "app"))
    secret = {"device_secret": provision.register(rig.api, device.name)}
    provision.write(bench, rig.server_info, device.name, "micropython", example, secret)


def powered(rig, device):
    """Its port: an empty board has nothing to run, and gives its prompt."""
    device.power_on()
    rig.wait(device, "device.said", "demo")
    return next(event["text"] for event in rig.events if event["event"] == "device.said")


def updated(rig, device):
    """Over the air."""
    since = len(rig.events)
    files = {
        "main.py": (ROOT / "micropython/example/main.py").read_bytes(),
        "app_version.py": b'VERSION = "1.1.0"\n',
    }
    release = releases.Release("app", HARDWARE, "1.1.0", images.build(files))
    rig.publish(release)  # two files: the agent that runs it is the one in /lib
    rig.deploy(release, device)
    rig.wait(device, "attempt.updated", "server", since)
    rig.wait(device, "version.reported", since=since, version="1.1.0")


def test_from_a_package_json_to_an_update_over_the_air(board):
    """The sources, as from a clone's host: `mpremote mip install` of the URL of package.json, and the example beside it."""
    rig, make, folder = board
    device = make("3M")  # the board compiles what it imports
    provisioned(rig, device, folder / "bench")
    port = powered(rig, device)
    clone = served(ROOT)
    said = mpremote(port, "mip", "install", "--target", folder / "flash", next(clone) + "/package.json")
    next(clone, None)
    assert said.endswith("Done\n") and "lib/agent/runtime.py" in said
    assert (folder / "flash/main.py").read_bytes() == (ROOT / "micropython/main.py").read_bytes()
    mpremote(port, "fs", "cp", "-r", f"{folder / 'bench'}/.", ":.")
    mpremote(port, "reset")
    rig.wait(device, "version.reported", version="1.0.0")
    updated(rig, device)


def test_from_an_empty_flash_to_an_update_over_the_air(index, board):
    rig, make, folder = board
    device = make()
    flash, bench = folder / "flash", folder / "bench"
    provisioned(rig, device, bench)
    port = powered(rig, device)
    said = install(port, flash, index, "trueboot", "trueboot-example")
    assert said.count("Installing: ") == len(mip.compiled(mpy.source_tree())) + 5
    mpremote(port, "fs", "cp", *(bench / name for name in ("trueboot.json", "ca.der", "root.json")), ":.")
    mpremote(port, "reset")
    rig.wait(device, "version.reported", version="1.0.0")
    stored = rig.stored(device)
    assert (stored["state"], stored["slot"]) == ("enrolled", "a")
    updated(rig, device)

    # A tool gets in while the agent runs, and its reset to the raw REPL starts nothing.
    code = "import bootrecord, json; r = bootrecord.load('state'); print(json.dumps([r['active'], r['trial']]))"
    assert json.loads(mpremote(port, "exec", code)) == ["b", None]
    mpremote(port, "touch", ":NO_AGENT", "+", "reset")
    rig.wait(
        device, "device.said", "demo", text="trueboot: NO_AGENT is there, so nothing is started; remove it and reset"
    )
    since = len(rig.events)
    mpremote(port, "rm", ":NO_AGENT", "+", "reset")
    rig.wait(device, "version.reported", since=since, version="1.1.0")
