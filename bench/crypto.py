# SPDX-License-Identifier: MIT
"""P-256 in Python, an operation at a time, on both interpreters; `cryptography` (OpenSSL) is the peer on CPython.

Boards have nothing else.  Linux devices use `cryptography`, so the peer's column is what those pay.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bed import ROOMY, run_cpython, run_micropython
from measure import BenchError, Figure, ratio

OPERATIONS = ("generate", "sign", "verify")
PEER_TIMES = 50


def crypto(runs: int) -> list[Figure]:
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(runs):
            for who, times in (
                ("cpython", run_cpython("p256_times", folder / "cpython", {})),
                ("peer", peer_ms()),
                ("micropython", run_micropython("p256_times", folder / "micropython", {}, ROOMY)),
            ):
                if "error" in times:
                    raise BenchError(f"P-256 on {who}: {times['error']}")
                for operation in OPERATIONS:
                    found.setdefault((who, operation), []).append(times[operation])
    median = {key: statistics.median(values) for key, values in found.items()}
    return [
        Figure(
            f"P-256 {operation}, {who}",
            round(median[who, operation], 2),
            "ms",
            round(median["peer", operation], 3),
            "cryptography",
            ratio(median[who, operation], median["peer", operation]),
        )
        for who in ("cpython", "micropython")
        for operation in OPERATIONS
    ]


def peer_ms() -> dict[str, float]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    key, digest = ec.generate_private_key(ec.SECP256R1()), hashlib.sha256(b"bench").digest()
    public, algorithm = key.public_key(), ec.ECDSA(Prehashed(hashes.SHA256()))
    signature = key.sign(digest, algorithm)
    return {
        "generate": _ms(lambda: ec.generate_private_key(ec.SECP256R1())),
        "sign": _ms(lambda: key.sign(digest, algorithm)),
        "verify": _ms(lambda: public.verify(signature, digest, algorithm)),
    }


def _ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(PEER_TIMES):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)
