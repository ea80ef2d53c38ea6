# SPDX-License-Identifier: MIT
"""How fast an image gets into the spare slot, against the plain pipeline that trusts what it was sent.

The agent's time runs from consent, when the download starts, to `update.staged`: a fresh TLS connection, the slot emptied,
length and hash checked while streaming, every file's hash, all synced, and the whole image hashed again from the slot.  The
peer connects, downloads, hashes once, stores and syncs.  Same server, same image, same certificate and key, taken in turns.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from bed import ROOMY, Bed, bed, run_cpython, run_micropython
from measure import BenchError, Figure, Turns, in_turns, must
from peers import Installer, Rauc, Swupdate

from trueboot import releases
from trueboot.demo.supervisor import Device
from trueboot.demo.world import HARDWARE

MIB = 1024 * 1024
INSTALL_AIM = 0.9
INSTALL_MB = 64
STAGED_S = 120
LIVED_S = 60


def install(runs: int, mb: int = INSTALL_MB) -> list[Figure]:
    return _throughput("cpython", mb * MIB, max(runs, 5), "requests -> sha256 -> file", (Swupdate, Rauc))


def micropython(runs: int) -> list[Figure]:
    return _throughput("micropython", 2 * MIB, max(runs, 5), "tls, 4 KB reads -> sha256 -> file")


def _throughput(
    runtime: str, size: int, runs: int, peer_is: str, others: tuple[Callable[..., Installer], ...] = ()
) -> list[Figure]:
    with bed() as here:
        # The whole image, as the peers take it: it is random, and cannot be sent in a shorter form.
        device = here.enrolled("bench", runtime, encodings="")
        versions = iter(f"1.{number}.0" for number in range(1, runs + 1))
        ballast = os.urandom(size)
        latest: list[releases.Release] = []

        def agent_s() -> float:
            release = here.release(runtime, next(versions), ballast)
            here.here.publish(release)
            latest[:] = [release]
            return _settled(lambda: _install_s(here, device, release))

        peers, lacking = _peers(here, device, ballast, others)
        plain = partial(_settled, lambda: _plain_s(here, device, latest[0]))
        found = in_turns(runs, agent_s, plain, *(partial(_settled, peer) for peer in peers.values()))
    what = f"{size / MIB:g} MB image, downloaded to verified"
    aim = INSTALL_AIM if runtime == "cpython" else None
    aims = [aim, *(1.0 for _ in peers)]
    return [
        _figure(what, size / MIB, turns, name, at_least)
        for turns, name, at_least in zip(found, [peer_is, *peers], aims, strict=True)
    ] + lacking


def _figure(what: str, mb: float, turns: Turns, name: str, aim: float | None) -> Figure:
    """`turns.peer` is the agent here: the ratio of times is then that of speeds, ours to theirs."""
    rates = round(mb / turns.peer, 1), round(mb / turns.ours, 1)
    told = f">= {aim:g}" if aim else ""
    return Figure(what, rates[0], "MB/s", rates[1], name, turns.ratio, told, turns.ratio >= aim if aim else None)


def _settled(work: Callable[[], float]) -> float:
    """What others have written, an upload say, is on the medium before the time begins."""
    os.sync()
    return work()


def _peers(here: Bed, device: Device, image: bytes, makers: tuple[Callable[..., Installer], ...]):
    """({name: its time as a function}, [figures of those that cannot be measured here]).  Each gives its best once, unmeasured."""
    peers: dict[str, Callable[[], float]] = {}
    lacking: list[Figure] = []
    identity = here.identity(device, "pem") if makers else None
    for number, maker in enumerate(makers):
        name = maker.name  # type: ignore[attr-defined]
        try:
            peer = maker(here.here.folder / f"peer-{number}", image)
            # To the server it is one more file that was released.
            release = releases.Release("system", HARDWARE, f"0.{number}.0", peer.package.read_bytes())
            here.here.publish(release)
            work = partial(peer.install_s, here.url(release), identity)
            work()
            peers[name] = work
        except BenchError as error:
            lacking.append(Figure("the same", None, "", peer_is=name, note=str(error)))
    return peers, lacking


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
