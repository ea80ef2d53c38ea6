# SPDX-License-Identifier: MIT
"""How much GC heap suffices on MicroPython, found by bisecting `-X heapsize`; everything is `.mpy`.

Each probe is a real device process against a real server, which must reach its goal without a MemoryError, within a bound,
and do so twice at the size that is printed.  mbedTLS allocates outside of this heap.  On this 64-bit port a word has 8 bytes;
what a 32-bit MicroPython needs is in docs/benchmarks.md.

    steady     an enrolled device: connected, version reported, telemetry acknowledged, a command answered
    life       first boot, key, certificate, session, a good update of about 100 KB with trial and confirm, signed report
    mqtt       peer: our MQTT codec over mutual TLS, one message, nothing else of the agent
    download   peer: a bare download of 2 MB by mutual TLS, 4 KB at a time, hashed and stored
"""

from __future__ import annotations

import hashlib
import os
import time
from functools import partial
from itertools import count
from urllib.parse import urlsplit

from bed import Bed, bed, run_micropython
from measure import BenchError, Figure, least, ratio

from trueboot.demo.supervisor import Device
from trueboot.releases import Release

STEADY_AIM_K, LIFE_AIM_K = 48, 80
MOST_K = 512
IMAGE_BYTES = 100_000
DOWNLOAD_BYTES = 2 * 1024 * 1024
STEADY_S, LIFE_S = 8, 20


def heap(runs: int) -> list[Figure]:
    with bed() as here:
        device = here.enrolled("board", "micropython")
        big = here.release("micropython", "9.0.0", os.urandom(DOWNLOAD_BYTES))
        here.here.publish(big)
        device.power_off()
        mqtt = _least("the MQTT peer", 4, 64, partial(_mqtt_works, here, device))
        download = _least("the download peer", 4, 64, partial(_download_works, here, device, big))
        steady = _least("steady state", 16, MOST_K, partial(steady_works, here, device))
        factory = here.release("micropython", "1.0.0")
        room = IMAGE_BYTES - len(factory.image)
        good = here.release("micropython", "1.1.0", os.urandom(max(room, 1)))
        here.here.publish(good)
        number = count()
        life = _least(
            "the whole life", 32, MOST_K, lambda heap_k: life_works(here, factory, good, next(number), heap_k)
        )
    return [
        _figure("steady state", steady, mqtt, "bare MQTT session", STEADY_AIM_K),
        _figure("whole life", life, download, "bare 2 MB download", LIFE_AIM_K),
    ]


def _figure(what: str, ours: int, peer: int, peer_is: str, aim: int) -> Figure:
    return Figure(f"heap that suffices: {what}", ours, "k", peer, peer_is, ratio(ours, peer), f"<= {aim}k", ours <= aim)


def _least(what: str, low: int, high: int, works) -> int:
    found = least(low, high, 1 if high <= 64 else 2, works)
    if found is None:
        raise BenchError(f"{what} does not work with a heap of {high}k")
    return found


def steady_works(here: Bed, device: Device, heap_k: int, limit_s: float = STEADY_S) -> bool:
    """The same board each time: its counters must never fall, so its folder is not copied."""
    board = here.with_heap(device, f"{heap_k}k")
    since = len(here.here.events)
    board.power_on()
    try:
        if not reached(here, board, since, lambda: here.said(board, "version.reported", since), limit_s):
            return False
        answers = here.command(board, "blink")
        seen = here.here.seen
        at = len(here.here.events)
        return reached(
            here, board, since, lambda: bool(answers) and seen(board.name, "server", "telemetry", at), limit_s
        )
    finally:
        board.power_off()


def life_works(here: Bed, factory: Release, good: Release, number: int, heap_k: int, limit_s: float = LIFE_S) -> bool:
    board = here.device(f"life-{number}", "micropython", factory, f"{heap_k}k")
    since = len(here.here.events)
    board.power_on()
    try:
        if not reached(here, board, since, lambda: here.said(board, "version.reported", since), limit_s):
            return False
        here.deploy(good, board)
        told = partial(here.said, board, "report.accepted", since, outcome="updated")
        return reached(here, board, since, told, limit_s)
    finally:
        board.power_off()


def reached(here: Bed, board: Device, since: int, held, limit_s: float) -> bool:
    """False as soon as the board has run out of memory once."""
    out_of_memory = False

    def over() -> bool:
        nonlocal out_of_memory
        out_of_memory = _ran_out(here, board, since)
        return out_of_memory or held()

    here.until(over, limit_s)
    return held() and not _ran_out(here, board, since)


def _ran_out(here: Bed, board: Device, since: int) -> bool:
    events = (e for e in here.here.events[since:] if e["device"] == board.name and e["source"] == "device")
    return any("MemoryError" in str(event.get("detail", "")) for event in events) or "Memory" in board.last_words()


def _mqtt_works(here: Bed, device: Device, heap_k: int) -> bool:
    info, identity = here.here.server_info, here.identity(device, "der")
    url = urlsplit(info["mqtt"])
    product, stamp = info["product_key"], str(time.time_ns() // 1_000_000)
    secret = (device.folder / "state" / "store" / "secret").read_text()
    text = f"clientId{device.name}deviceKey{device.name}productKey{product}timestamp{stamp}{secret}"
    config = {name: str(value) for name, value in identity._asdict().items()} | {
        "host": url.hostname,
        "port": url.port,
        "client": f"{device.name}|securemode=2,signmethod=sha256,timestamp={stamp}|",
        "user": f"{device.name}&{product}",
        "password": hashlib.sha256(text.encode()).hexdigest(),
        "listen": f"/sys/{product}/{device.name}/ota/device/upgrade",
        "topic": f"/sys/{product}/{device.name}/thing/measurepoint/post",
        "payload": '{"id":"1","version":"1.0","method":"thing.measurepoint.post","params":{"measurepoints":{"a":1}}}',
    }
    return bool(run_micropython("mqtt_only", here.here.folder / "peer", config, f"{heap_k}k").get("acked"))


def _download_works(here: Bed, device: Device, release: Release, heap_k: int) -> bool:
    url = urlsplit(here.url(release))
    config = {name: str(value) for name, value in here.identity(device, "der")._asdict().items()}
    config |= {"host": url.hostname, "port": url.port, "path": url.path}
    result = run_micropython("plain_download", here.here.folder / "peer", config, f"{heap_k}k")
    return result.get("sha256") == release.sha256
