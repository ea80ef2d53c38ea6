# SPDX-License-Identifier: MIT
"""The unmodified `enos-mqtt-sdk-python` of PyPI, in a virtual environment of its own, and devices made of it.

The environment lies inside the one that the tests run in (`make clean` removes it with that), is made once, and is
named by what is in it.  The SDK says that any paho-mqtt from 1.4 will do; 1.4 and 2.0 do not.
"""

from __future__ import annotations

import fcntl
import json
import queue
import shutil
import subprocess
import sys
import threading
from pathlib import Path

PACKAGES = ("enos-mqtt-sdk-python==0.1.1", "paho-mqtt>=2.1,<3")
PATIENCE_S = 30
INSTALL_S = 180
DEVICE = Path(__file__).with_name("enos") / "device.py"


class NotInstalled(Exception):
    """Why there is no SDK here, in one line."""


def installed() -> Path:
    """The Python that has the SDK."""
    home = Path(sys.prefix) / "enos-sdk-0.1.1"
    python = home / "bin" / "python"
    try:
        lock = home.with_name(home.name + ".lock").open("w")
    except OSError as error:
        raise NotInstalled(f"{home} cannot be made: {error.strerror}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            _run(sys.executable, "-m", "venv", "--without-pip", str(home))
            pip = ("-m", "pip", "--python", str(python), "--disable-pip-version-check", "install", "--quiet")
            _run(sys.executable, *pip, *PACKAGES)
            (home / "complete").touch()
    return python


def _run(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"{' '.join(PACKAGES)} cannot be installed: no answer in {INSTALL_S} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["?"])[-1]
        raise NotInstalled(f"{' '.join(PACKAGES)} cannot be installed: {last}")


class SdkDevice:
    """One process with one SDK client.  What it says waits in a queue for each kind of thing said."""

    def __init__(self, python: Path):
        self._process = subprocess.Popen(
            [python, "-I", str(DEVICE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the SDK logs each lost connection
            text=True,
        )
        self._said: dict[str, queue.Queue] = {}
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def tell(self, verb, *given):
        self._process.stdin.write(json.dumps([verb, *given]) + "\n")
        self._process.stdin.flush()

    def hear(self, said):
        """The next thing of this kind that the SDK says."""
        try:
            what = self._queue(said).get(timeout=PATIENCE_S)
        except queue.Empty:
            raise AssertionError(f"the SDK does not say {said!r}") from None
        assert "error" not in what, what
        return what

    def ask(self, verb, *given):
        """What the SDK made of the server's answer to one request."""
        self.tell(verb, *given)
        return self.hear(verb)

    def stop(self):
        self._process.kill()
        self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        self._process.stdin.close()
        self._process.stdout.close()

    def _read(self):
        for line in self._process.stdout:
            if line.startswith("{"):
                what = json.loads(line)
                self._queue(what["said"]).put(what)

    def _queue(self, said):
        with self._lock:
            return self._said.setdefault(said, queue.Queue())
