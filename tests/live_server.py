# SPDX-License-Identifier: MIT
"""The real server as its users start it, on free ports of the loopback interface."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import contextmanager

STOP_S = 20


@contextmanager
def live_server(state, dev=True):
    """`trueboot server`; gives the object of its first line.  It must end with 0 when it is told to."""
    command = [sys.executable, "-m", "trueboot", "server", "--state", str(state)]
    command += ["--port", "0", "--mqtt-port", "0", "--json", *(["--dev"] if dev else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(STOP_S)
        process.stdout.close()
    assert code == 0
