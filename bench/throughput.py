# SPDX-License-Identifier: MIT
"""How fast an image gets into the spare slot, against the plain pipeline that trusts what it was sent.

The agent's time runs from consent, when the download starts, to `update.staged`: a fresh TLS connection, the slot emptied,
length and hash checked while streaming, every file's hash, all synced, and the whole image hashed again from the slot.  The
peer connects, downloads, hashes once, stores and syncs.  Same server, same image, same certificate and key, taken in turns.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from bed import ROOMY, Bed, bed, run_cpython, run_micropython
from measure import BenchError, Figure, in_turns, must

from trueboot.demo.supervisor import Device

MIB = 1024 * 1024
INSTALL_AIM = 0.9
STAGED_S = 120
LIVED_S = 60


def install(runs: int) -> list[Figure]:
    return _throughput("cpython", 64 * MIB, max(runs, 5), "requests -> sha256 -> file")


def micropython(runs: int) -> list[Figure]:
    return _throughput("micropython", 2 * MIB, max(runs, 5), "tls, 4 KB reads -> sha256 -> file")


def _throughput(runtime: str, size: int, runs: int, peer_is: str) -> list[Figure]:
    with bed() as here:
        device = here.enrolled("bench", runtime)
        versions = iter(f"1.{number}.0" for number in range(1, runs + 1))
        ballast = os.urandom(size)
        latest: list[tuple] = []

        def plain_s() -> float:
            release = here.release(runtime, next(versions), ballast)
            here.here.publish(release)
            latest[:] = [release]
            return _plain_s(here, device, release)

        (turns,) = in_turns(runs, plain_s, lambda: _install_s(here, device, latest[0]))
    mb = size / MIB
    aim = INSTALL_AIM if runtime == "cpython" else None
    share = round(1 / turns.ratio, 2)
    return [
        Figure(
            f"{mb:g} MB image, downloaded to verified",
            round(mb / turns.ours, 1),
            "MB/s",
            round(mb / turns.peer, 1),
            peer_is,
            share,
            f">= {aim}" if aim else "",
            share >= aim if aim else None,
        )
    ]


def _install_s(here: Bed, device: Device, release) -> float:
    since = len(here.here.events)
    here.deploy(release, device)
    must(here.until(lambda: here.said(device, "update.staged", since), STAGED_S), "the staged image")
    at = {(e["event"], e.get("gate")): e["t"] for e in here.here.events[since:] if e["source"] == "device"}
    # The device lives through its trial before the next turn.
    told = partial(here.said, device, "report.accepted", since, outcome="updated")
    must(here.until(lambda: told() and here.here.seen(None, "server", "job.done", since), LIVED_S), "the update's end")
    return (at["update.staged", None] - at["update.consented", "download"]) / 1000


def _plain_s(here: Bed, device: Device, release) -> float:
    folder: Path = here.here.folder / "plain"
    cpython = device.runtime == "cpython"
    identity = here.identity(device, "pem" if cpython else "der")
    url = urlsplit(here.url(release))
    config = {"url": url.geturl(), "host": url.hostname, "port": url.port, "path": url.path}
    config |= {name: str(value) for name, value in identity._asdict().items()}
    if cpython:
        result = run_cpython("plain_install", folder, config)
    else:
        result = run_micropython("plain_download", folder, config, ROOMY)
    if result.get("sha256") != release.sha256:
        raise BenchError(f"the plain download failed: {result}")
    return result["ms"] / 1000
