# SPDX-License-Identifier: MIT
"""A board's datagrams, over real sockets, on both interpreters."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trueboot import mpy

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
WHEN = 1_800_000_000


@pytest.fixture(params=["cpython", "micropython"])
def ask(request):
    """The last word of a process that asks the time server at this port."""
    if request.param == "micropython" and mpy.unavailable():
        pytest.skip(mpy.unavailable())
    command, way = [sys.executable], "PYTHONPATH"
    if request.param == "micropython":
        command, way = mpy.interpreter("400k"), "MICROPYPATH"

    def call(port):
        path = f"{ROOT}:.frozen" if way == "MICROPYPATH" else str(ROOT)
        words = [*command, str(HERE / "board_udp.py"), str(port)]
        done = subprocess.run(words, env={way: path}, capture_output=True, text=True, timeout=60)
        return done.stdout.strip() or done.stderr

    return call


def serve(answers):
    """A time server for one question; `answers(question)` gives the datagrams that it sends back."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(50)

    def run():
        with sock:
            try:
                question, there = sock.recvfrom(100)
            except OSError:
                return
            for answer in answers(question):
                sock.sendto(answer, there)

    threading.Thread(target=run, daemon=True).start()
    return sock.getsockname()[1]


def answer(question):
    assert len(question) == 48 and question[0] == 0x23 and not any(question[1:40])
    return b"\x24\x02" + bytes(22) + question[40:48] + bytes(8) + (WHEN + 2_208_988_800).to_bytes(4, "big") + bytes(4)


def test_the_time_comes(ask):
    assert ask(serve(lambda question: [answer(question)])) == str(WHEN)


def test_a_short_or_strange_answer_is_refused(ask):
    assert ask(serve(lambda question: [answer(question)[:40]])) == "ntp"


def test_silence_has_an_end(ask):
    assert ask(serve(lambda question: [])) == "timeout"


def test_nobody_listens(ask):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert ask(port) in ("network", "timeout")
