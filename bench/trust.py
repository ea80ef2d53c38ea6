# SPDX-License-Identifier: MIT
"""The TUF client: what a walk through the signed metadata costs, in bytes, requests, signature checks, time, heap and flash.

nothing new     a device that has walked before: what an offer costs at least
one of 200      from the provisioned root alone, a target among 200 releases is found
heap            the least `-X heapsize` at which a connected agent does the latter, beside its session; see `heap`
.mpy            the client with P-256 and all that it loads to verify
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from bed import ROOMY, Bed, bed, run_cpython, run_micropython
from measure import BenchError, Figure, least, must

from trueboot import fleet, mpy, releases
from trueboot.demo.supervisor import Device
from trueboot.demo.world import HARDWARE

RELEASES = 200
SMALL = 300  # bytes of an image; nobody downloads it
WALK_S = 15
MPY_AIM = 12 * 1024
HEAP_AIM_K = 80
CLIENT = (
    *(f"agent/trust/{name}.py" for name in ("walk", "metadata", "delegation", "artifact", "canonical", "keys")),
    *(f"agent/crypto/{name}.py" for name in ("verify", "p256", "naf", "p256_generator")),
    *(f"agent/wire/{name}.py" for name in ("signature",)),
)
NEVER = ">=99.0.0"  # no device runs that: the release is found, and turned down


def trust(runs: int) -> list[Figure]:
    figures = []
    with bed() as here:
        paths = publish_many(here)
        for runtime in ("cpython", "micropython"):
            device = here.device(runtime, runtime, here.release(runtime, "1.0.0"))
            first, again = _walks(here, device, paths[RELEASES // 2], runs)
            if runtime == "cpython":
                figures += _figures("refresh, nothing new", again) + _figures(f"one of {RELEASES} releases", first)
            figures.append(Figure(f"refresh, nothing new, {runtime}", again["ms"], "ms"))
            figures.append(Figure(f"one of {RELEASES} releases, {runtime}", first["ms"], "ms"))
        board = here.enrolled("board", "micropython")
        board.power_off()
        targets = (f"app/{HARDWARE}/2.0.{number}/app.img" for number in count())
        heap = least(48, 512, 2, lambda heap_k: _finds(here, board, next(targets), heap_k))
        if heap is None:
            raise BenchError("a connected agent finds no release with a heap of 512k")
        what, met = f"heap that suffices: connected, one of {RELEASES}", heap <= HEAP_AIM_K
        figures.append(Figure(what, heap, "k", None, "", None, f"<= {HEAP_AIM_K}k", met))
    figures.append(_size())
    return figures


def publish_many(here: Bed) -> list[str]:
    """RELEASES small releases, the first of this server, in one publication; gives their paths."""
    from trueboot_server.repo import published, signing

    api, keys = here.here.api, Path(here.here.server_info["keys_dir"])
    signer, targets = signing.load_signer(keys / "release.pem"), api.request("GET", "/repo/metadata/1.targets.json")
    image = hashlib.sha256(b"bench").digest() * (SMALL // 32)
    found = [releases.Release("app", HARDWARE, f"2.0.{number}", image, requires=NEVER) for number in range(RELEASES)]
    roles: dict[str, bytes] = {}
    for release in found:
        api.request("PUT", f"/api/v1/repo/targets/{release.path}", body=image)
        role = signing.role_for(targets, release.path)
        described = (release.path, len(image), release.sha256, release.custom(), [signer])
        roles[role] = signing.add_target(roles.get(role), *described)
    files = {published.file_name(signing.read_targets(data).signed.version, role): data for role, data in roles.items()}
    api.post("/api/v1/repo/metadata", {"files": {name: data.decode() for name, data in files.items()}})
    return [release.path for release in found]


def _walks(here: Bed, device: Device, path: str, runs: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """(a first walk that finds `path`, one that brings nothing new); times are medians."""
    firsts, agains = [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as trusted:
            firsts.append(_walk(here, device, trusted, path))
            agains.append(_walk(here, device, trusted, ""))
    if not all(walk["found"] for walk in firsts):
        raise BenchError(f"{path} was not found")
    for results in (firsts, agains):
        results[0]["ms"] = statistics.median(result["ms"] for result in results)
    return firsts[0], agains[0]


def _walk(here: Bed, device: Device, trusted: str, path: str) -> dict[str, Any]:
    config = {"https": here.here.server_info["https"], "device": str(device.folder), "trusted": trusted, "path": path}
    folder = here.here.folder / f"trust-{device.runtime}"
    if device.runtime == "cpython":
        result = run_cpython("refresh", folder, config)
    else:
        result = run_micropython("refresh", folder, config, ROOMY)
    if "error" in result:
        raise BenchError(f"refresh on {device.runtime}: {result['error']}")
    return result


def _figures(what: str, walk: dict[str, Any]) -> list[Figure]:
    units = {"bytes": "bytes", "requests": "requests", "checks": "signatures"}
    return [Figure(what, walk[name], unit) for name, unit in units.items()]


def _finds(here: Bed, device: Device, target: str, heap_k: int) -> bool:
    """Connected, it is offered `target`, walks from its provisioned root, and turns the release down by its rule."""
    import heap as steady

    board = here.with_heap(device, f"{heap_k}k")
    for role in ("root", "timestamp", "snapshot", "targets"):
        (board.folder / "state" / "store" / role).unlink(missing_ok=True)
    since = len(here.here.events)
    board.power_on()
    try:
        reported = partial(here.said, board, "version.reported", since)
        if not steady.reached(here, board, since, reported, WALK_S):
            return False
        job = fleet.create_job(here.here.api, target.split("/")[2], [board.name], 0)
        judged = partial(here.said, board, "update.failed", since)
        if not steady.reached(here, board, since, judged, WALK_S):
            here.here.api.post(f"/api/v1/jobs/{job['id']}/cancel", {})
            return False
        reasons = [e["reason"] for e in here.here.events[since:] if e["event"] == "update.failed"]
        must("release_requires" in reasons[0], f"the rule's refusal; it said {reasons[0]}")
        return True
    finally:
        board.power_off()


def _size() -> Figure:
    with tempfile.TemporaryDirectory() as folder:
        built = mpy.build(Path(folder), files=list(CLIENT))
    total = sum(built.values())
    return Figure("TUF client with P-256", total, "bytes", None, "", None, f"<= {MPY_AIM}", total <= MPY_AIM)
