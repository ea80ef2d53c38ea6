# SPDX-License-Identifier: MIT
"""Signatures in Python, an operation at a time, on both interpreters.

Peers: `cryptography` (OpenSSL), which is what Linux devices use; and, for the verification that boards do at each visit to a
repository, P-256 as a textbook does it, measured in turns in the same process.  The aims are 5 ms for any key and 3 ms for
one that is pinned, where the straight way takes 5.6 ms: as ratios, 0.89 and 0.54.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bed import ROOMY, run_cpython, run_micropython
from measure import BenchError, Figure, ratio

# What is measured -> (what it is called, which figure of `cryptography` it is compared with)
OPERATIONS = {
    "generate": ("P-256 generate", "generate"),
    "sign": ("P-256 sign", "sign"),
    "verify": ("P-256 verify", "verify"),
    "pinned": ("P-256 verify, pinned key", "verify"),
    "ed25519": ("Ed25519 verify", "ed25519"),
    "rsa": ("RSA-PSS 2048 verify", "rsa"),
}
AIMS = {"verify": 0.89, "pinned": 0.54}
PEER_TIMES = 50


def crypto(runs: int) -> list[Figure]:
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(runs):
            peer, config = peer_ms()
            for who, times in (
                ("cpython", run_cpython("signature_times", folder / "cpython", config)),
                ("peer", peer),
                ("micropython", run_micropython("signature_times", folder / "micropython", config, ROOMY)),
            ):
                if "error" in times:
                    raise BenchError(f"signatures on {who}: {times['error']}")
                for operation, value in times.items():
                    found.setdefault((who, operation), []).append(value)
                for operation in AIMS:
                    if who != "peer":
                        found.setdefault((who, operation + " ratio"), []).append(times[operation] / times["straight"])
    median = {key: statistics.median(values) for key, values in found.items()}
    figures = [
        Figure(
            f"{text}, {who}",
            round(median[who, operation], 2),
            "ms",
            round(median["peer", peer], 3),
            "cryptography",
            ratio(median[who, operation], median["peer", peer]),
        )
        for who in ("cpython", "micropython")
        for operation, (text, peer) in OPERATIONS.items()
    ]
    for operation, most in AIMS.items():
        share = round(median["micropython", operation + " ratio"], 2)
        value, straight = median["micropython", operation], median["micropython", "straight"]
        what = f"{OPERATIONS[operation][0]}, micropython"
        figures.append(
            Figure(
                what, round(value, 2), "ms", round(straight, 2), "straight P-256", share, f"<= {most}", share <= most
            )
        )
    return figures


def peer_ms() -> tuple[dict[str, float], dict[str, list[str]]]:
    """Times, and the signatures of b"bench" that the devices verify: (public key, signature) in hex."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

    text, algorithm = b"bench", ec.ECDSA(hashes.SHA256())
    key = ec.generate_private_key(ec.SECP256R1())
    public, signature = key.public_key(), key.sign(text, algorithm)
    edwards = ed25519.Ed25519PrivateKey.generate()
    edwards_public, edwards_signature = edwards.public_key(), edwards.sign(text)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    large = rsa.generate_private_key(65537, 2048)
    large_public, large_signature = large.public_key(), large.sign(text, pss, hashes.SHA256())
    spki = large_public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    times = {
        "generate": _ms(lambda: ec.generate_private_key(ec.SECP256R1())),
        "sign": _ms(lambda: key.sign(text, algorithm)),
        "verify": _ms(lambda: public.verify(signature, text, algorithm)),
        "ed25519": _ms(lambda: edwards_public.verify(edwards_signature, text)),
        "rsa": _ms(lambda: large_public.verify(large_signature, text, pss, hashes.SHA256())),
    }
    config = {
        "ed25519": [edwards_public.public_bytes_raw().hex(), edwards_signature.hex()],
        "rsa": [spki.hex(), large_signature.hex()],
    }
    return times, config


def _ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(PEER_TIMES):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1000)
    return min(times)
