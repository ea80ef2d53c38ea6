#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`make bench`: what the agent costs, as ratios of two measurements of the same run; absolute numbers are for orientation.

imports      `trueboot-agent`'s modules against a bare interpreter
mpy          bytes of the .mpy files: agent, and one platform
install      a 64 MB image on CPython: from consent to verified in the slot, against a plain download-hash-write
micropython  a 2 MB image on MicroPython, against a bare streamed download by the same interpreter
heap         the smallest GC heap, by bisecting -X heapsize: for the whole life, and for what comes after an update
"""

from __future__ import annotations

import hashlib
import json
import os
import ssl
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
HEAP_MOST_KB, HEAP_STEP_KB, HEAP_WAIT_S = 512, 8, 20


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
    platform = sum(
        size for path, size in sizes.items() if path.startswith("platform_adapters/") and "memory" not in path
    )
    return {"agent_bytes": agent, "platform_bytes": platform, "total_bytes": agent + platform}


def install() -> dict[str, Any]:
    return throughput("cpython", 64 * MIB)


def micropython() -> dict[str, Any]:
    return throughput("micropython", 2 * MIB)


def heap() -> dict[str, Any]:
    """64-bit interpreter, .mpy files; a 32-bit board needs about half."""
    whole = smallest(lambda kilobytes: lives(kilobytes, kilobytes))
    steady = smallest(lambda kilobytes: lives(HEAP_MOST_KB, kilobytes), most=whole)
    return {"whole_life_kb": whole, "steady_kb": steady}


def smallest(suffices: Callable[[int], bool], least: int = 16, most: int = HEAP_MOST_KB) -> int:
    """The least heap, to HEAP_STEP_KB; `most` is taken to suffice."""
    while most - least > HEAP_STEP_KB:
        middle = (least + most) // 2 // HEAP_STEP_KB * HEAP_STEP_KB
        if suffices(middle):
            most = middle
        else:
            least = middle
    return most


def lives(first_kb: int, then_kb: int) -> bool:
    """First boot and update with one heap, then telemetry and a command with the other; no error on the way."""
    from trueboot import fleet
    from trueboot.demo.world import world

    with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as here:
        here.start_server()
        here.heap = f"{first_kb}k"
        device = here.add_device("bench", "micropython")
        here.provision(device, here.make_release("1.0.0"))
        here.publish(here.make_release("1.1.0"))
        device.power_on()
        if not here.until(lambda: here.seen("bench", "device", "version.reported", version="1.0.0"), HEAP_WAIT_S):
            return False
        fleet.create_job(here.api, "1.1.0", ["bench"], 0)
        if not here.until(lambda: here.seen(None, "server", "job.done"), HEAP_WAIT_S):
            return False
        device.power_off()
        since = len(here.events)
        here.heap = f"{then_kb}k"
        again = here.power_on_again(device)
        held = here.until(lambda: here.seen("bench", "device", "version.reported", since), HEAP_WAIT_S)
        held = held and here.until(lambda: here.seen("bench", "server", "telemetry", since), HEAP_WAIT_S)
        return held and again.running and not here.seen("bench", "device", "error")


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
        pipeline = plain_pipeline if runtime == "cpython" else bare_download
        plain = min(pipeline(here, big, Path(folder)) for _ in range(3))
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


def stored_path(release: Any) -> str:
    folder, _, name = release.path.rpartition("/")
    return f"/repo/targets/{folder}/{release.sha256}.{name}"


def bare_download(here: Any, release: Any, folder: Path) -> float:
    """MicroPython at its barest: TLS, GET, read into nothing."""
    from trueboot import mpy as runner
    from trueboot.demo.world import MICROPYTHON_HEAP

    info = here.server_info
    host, _, port = info["https"].removeprefix("https://").rpartition(":")
    (folder / "ca.der").write_bytes(ssl.PEM_cert_to_DER_cert(Path(info["ca_file"]).read_text()))
    (folder / "bare.py").write_text(BARE)
    where = [host, int(port), stored_path(release), info["admin_token"], str(folder / "ca.der")]
    (folder / "bare.json").write_text(json.dumps(where))
    command = [*runner.interpreter(MICROPYTHON_HEAP), str(folder / "bare.py"), str(folder / "bare.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)
    must(done.returncode == 0, "the bare download: " + done.stderr[-300:])
    milliseconds, received = done.stdout.split()
    must(int(received) >= len(release.image), "the whole image")
    return int(milliseconds) / 1000


BARE = """
import json, socket, ssl, sys, time
host, port, path, token, ca = json.load(open(sys.argv[1]))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.verify_mode = ssl.CERT_REQUIRED
context.load_verify_locations(cadata=open(ca, "rb").read())
raw = socket.socket()
raw.connect(socket.getaddrinfo(host, port)[0][-1])
tls = context.wrap_socket(raw, server_hostname=host)
request = "GET %s HTTP/1.1\\r\\nHost: x\\r\\nAuthorization: Bearer %s\\r\\nConnection: close\\r\\n\\r\\n"
start = time.ticks_ms()
tls.write((request % (path, token)).encode())
length, line = 0, b"-"
while line.strip():
    line = tls.readline()
    if line.lower().startswith(b"content-length:"):
        length = int(line.split(b":")[1])
buffer, received = bytearray(4096), 0
while received < length:
    received += tls.readinto(buffer, min(4096, length - received))
print(time.ticks_diff(time.ticks_ms(), start), received)
"""


def plain_pipeline(here: Any, release: Any, folder: Path) -> float:
    """What anybody would write: download, hash, write, sync."""
    import requests

    info = here.server_info
    target = folder / "plain.bin"
    start = time.perf_counter()
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {info['admin_token']}"
        with (
            session.get(
                info["https"] + stored_path(release), stream=True, verify=info["ca_file"], timeout=60
            ) as answer,
            target.open("wb") as file,
        ):
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
    "heap": heap,
}

if __name__ == "__main__":
    sys.exit(main())
