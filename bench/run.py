#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`make bench`: what the agent costs, as ratios of two measurements of the same run; absolute numbers are for orientation.

    imports      `trueboot-agent`'s modules against a bare interpreter
    mpy          bytes of the .mpy files: agent, and one platform
    install      a 64 MB image on CPython: from consent to verified in the slot, against a plain download-hash-write
    micropython  a 2 MB image on MicroPython, the same way
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

AGENT = "import sys; from platform_adapters.linux_service import main; sys.exit(main())"
MIB = 1024 * 1024
REPEATS = 7
WAIT_S = 300
CHUNK = 64 * 1024


def main() -> int:
    wanted = sys.argv[1:] or list(BENCHES)
    for name in wanted:
        if name not in BENCHES:
            print(f"no benchmark is called {name}; there are {', '.join(BENCHES)}", file=sys.stderr)
            return 2
    results: dict[str, Any] = {}
    for name in wanted:
        results[name] = BENCHES[name]()
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in results[name].items()), flush=True)
    if os.environ.get("TRUEBOOT_BENCH_JSON"):
        Path(os.environ["TRUEBOOT_BENCH_JSON"]).write_text(json.dumps(results, indent=2) + "\n")
    return 0


def imports() -> dict[str, Any]:
    bare = best([sys.executable, "-c", "pass"])
    agent = best([sys.executable, "-c", AGENT, "--version"])
    app = best([sys.executable, "-c", "import agent.runtime, platform_adapters.linux"])
    return {
        "bare_ms": ms(bare),
        "trueboot_agent_ms": ms(agent),
        "agent_and_platform_ms": ms(app),
        "trueboot_agent_ratio": ratio(agent, bare),
        "agent_and_platform_ratio": ratio(app, bare),
    }


def mpy() -> dict[str, Any]:
    from trueboot import mpy as compiler

    with tempfile.TemporaryDirectory() as folder:
        sizes = compiler.build(Path(folder))
    agent = sum(size for path, size in sizes.items() if path.startswith("agent/"))
    platform = sum(size for path, size in sizes.items() if path.startswith("platform_adapters/") and "memory" not in path)
    return {"agent_bytes": agent, "platform_bytes": platform, "total_bytes": agent + platform}


def install() -> dict[str, Any]:
    return throughput("cpython", 64 * MIB)


def micropython() -> dict[str, Any]:
    return throughput("micropython", 2 * MIB)


def throughput(runtime: str, size: int) -> dict[str, Any]:
    """Ratio 1.0: as quick as the plain pipeline; the agent reads the slot back besides, and reports its progress."""
    from trueboot import fleet, images, releases
    from trueboot.demo.world import HARDWARE, world

    with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as here:
        here.start_server()
        device = here.add_device("bench", runtime)
        factory = here.make_release("1.0.0")
        here.provision(device, factory)
        files = here.app_files("1.1.0", broken=False) | {"ballast.bin": os.urandom(size)}
        big = releases.Release("app", HARDWARE, "1.1.0", images.build(files))
        here.publish(big)
        device.power_on()
        must(here.until(lambda: here.seen("bench", "device", "version.reported"), WAIT_S), "the device's first report")
        plain = min(plain_pipeline(here, big, Path(folder) / "plain.bin") for _ in range(3))
        fleet.create_job(here.api, "1.1.0", ["bench"], 0)
        must(here.until(lambda: here.seen("bench", "device", "update.staged"), WAIT_S), "the staged image")
        at = {(e["event"], e.get("gate")): e["t"] for e in here.events if e["source"] == "device"}
        agent = (at["update.staged", None] - at["update.consented", "download"]) / 1000
    return {
        "image_mb": round(len(big.image) / MIB, 1),
        "plain_mb_s": round(len(big.image) / MIB / plain, 1),
        "agent_mb_s": round(len(big.image) / MIB / agent, 1),
        "throughput_ratio": ratio(plain, agent),
    }


def plain_pipeline(here: Any, release: Any, target: Path) -> float:
    """What anybody would write: download, hash, write, sync."""
    import requests

    folder, _, name = release.path.rpartition("/")
    info = here.server_info
    start = time.perf_counter()
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {info['admin_token']}"
        url = f"{info['https']}/repo/targets/{folder}/{release.sha256}.{name}"
        with session.get(url, stream=True, verify=info["ca_file"], timeout=60) as answer, target.open("wb") as file:
            answer.raise_for_status()
            digest = hashlib.sha256()
            for chunk in answer.iter_content(CHUNK):
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    must(digest.hexdigest() == release.sha256, "the right image")
    return time.perf_counter() - start


def must(held: bool, what: str) -> None:
    if not held:
        raise SystemExit(f"bench: waited in vain for {what}")


def best(command: list[str]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def ms(seconds: float) -> int:
    return round(seconds * 1000)


def ratio(one: float, other: float) -> float:
    return round(one / other, 2)


BENCHES: dict[str, Callable[[], dict[str, Any]]] = {
    "imports": imports,
    "mpy": mpy,
    "install": install,
    "micropython": micropython,
}

if __name__ == "__main__":
    sys.exit(main())
