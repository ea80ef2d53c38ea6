# SPDX-License-Identifier: MIT
"""Runs the `console` blocks of a page as a reader would: one shell, one new folder, top to bottom.

A line that begins with `$ ` is typed; the lines below it, up to the next, are what it must print (standard output and
error together).  `...` stands for any lines.  What differs from run to run (times, ports, hashes, folders, ids) is replaced
by a word on both sides.  Lines that begin with `> ` below a here-document's command belong to it.  A command that ends in `# exit N` must end so; every other must succeed.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```console\n(.*?)^```", re.M | re.S)
COMMAND_TIMEOUT_S = 180
MARK = "@@transcript"

VOLATILE = [
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"/tmp/[\w./-]+"), "<folder>"),
    (re.compile(r"\btrueboot_([\w-]{43}|\.\.\.)"), "<token>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "<address>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\dZ?"), "<time>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d\b"), "<date>"),  # as many days from today as on the day of writing
    (re.compile(r"\b[0-9a-f]{12,}(…|\.\.\.)?"), "<hash>"),
    (re.compile(r"^ *\d+\.\d\d  ", re.M), "<at>  "),
    (re.compile(r"\b\d+\.\d+ s\b"), "<seconds>"),
    (re.compile(r"\b\d+ bytes\b"), "<bytes>"),
    (re.compile(r"^((?:length|bytes) +)\d+", re.M), r"\1<bytes>"),
    (re.compile(r"\b\d+ KiB\b"), "<size>"),
    (re.compile(r"(main\.py:)\d+"), r"\1<line>"),
    (re.compile(r"[ \t]+$", re.M), ""),
]


@dataclass
class Command:
    text: str
    exit_code: int = 0
    expected: list[str] = field(default_factory=list)


def commands(page: str) -> list[Command]:
    found: list[Command] = []
    for block in FENCE.findall(page):
        for line in block.splitlines():
            if line.startswith("$ "):
                text, _, code = line[2:].partition("  # exit ")
                found.append(Command(text, int(code or 0)))
            elif found and re.match(r">( |$)", line) and "<<" in found[-1].text and not found[-1].expected:
                found[-1].text += "\n" + line[2:]  # of a here-document, at the second prompt
            elif found:
                found[-1].expected.append(line)
    return found


def steady(text: str) -> str:
    for pattern, word in VOLATILE:
        text = pattern.sub(word, text)
    return text


class Shell:
    """Bash in a sandbox: only this repository's commands and the system's on the path, no TRUEBOOT_* of the caller."""

    def __init__(self, folder: Path):
        programs = Path(sys.executable).parent
        environment = {
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "COLUMNS": "120",
            "NO_COLOR": "1",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "REPO": str(ROOT),
        }
        self.process = subprocess.Popen(
            [shutil.which("bash") or "bash", "--norc", "-s"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )

    def run(self, text: str) -> tuple[int, str]:
        assert self.process.stdin and self.process.stdout
        limit = signal.alarm if hasattr(signal, "alarm") else lambda _: 0
        previous = signal.signal(signal.SIGALRM, _too_long)
        limit(COMMAND_TIMEOUT_S)
        try:
            self.process.stdin.write(f"{{ {text}\n}} </dev/null\nprintf '\\n{MARK} %d\\n' $?\n")
            self.process.stdin.flush()
            said = []
            for line in self.process.stdout:
                if line.startswith(MARK):
                    return int(line.split()[1]), "".join(said).rstrip("\n")
                said.append(line)
            return -1, "".join(said)
        finally:
            limit(0)
            signal.signal(signal.SIGALRM, previous)

    def close(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()


def _too_long(_number, _frame):
    raise TimeoutError(f"a documented command took more than {COMMAND_TIMEOUT_S} s")


def differs(expected: list[str], actual: str) -> str:
    """Why `actual` is not what the page shows; empty when it is.  A demo's lines are compared for each who they are of."""
    want, got = steady("\n".join(expected)).splitlines(), steady(actual).splitlines()
    if any(line.startswith("<at>") for line in want):
        return _demo_differs(want, got)
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else re.escape(line) + r"\n" for line in want)
    if re.fullmatch(pattern, "".join(line + "\n" for line in got)):
        return ""
    return "the page shows\n" + "\n".join(want) + "\nand this was printed\n" + "\n".join(got)


def _demo_differs(want: list[str], got: list[str]) -> str:
    """Devices live side by side: who says what, in which order, is fixed; how they interleave is not.

    With a `...` among them, the lines shown are some of those that were printed, else all.
    """
    shortened = "..." in want
    for who in dict.fromkeys(line.split()[1] for line in want + got if line.startswith("<at>")):
        shown = [line for line in want if line.startswith("<at>") and line.split()[1] == who]
        said = [line for line in got if line.startswith("<at>") and line.split()[1] == who]
        if who == "server":  # it speaks of all devices, in the order in which they come
            shown, said = sorted(shown), sorted(said)
        if not (_within(shown, said) if shortened else shown == said):
            return f"{who}: the page shows\n" + "\n".join(shown) + "\nand this was printed\n" + "\n".join(said)
    rest = [line for line in want if line and line != "..." and not line.startswith("<at>")]
    lacking = [line for line in rest if line not in got]
    return f"not printed: {lacking}" if lacking else ""


def _within(some: list[str], lines: list[str]) -> bool:
    """All of `some` are among `lines`, in this order."""
    rest = iter(lines)
    return all(line in rest for line in some)
