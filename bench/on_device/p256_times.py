# SPDX-License-Identifier: MIT
"""Milliseconds of one P-256 operation, the median of some; the same file on both interpreters."""

import hashlib
import json
import os
import time

from agent.crypto import p256, p256_sign

TIMES = 15


def now_us():
    if hasattr(time, "ticks_us"):
        return time.ticks_us()
    return time.monotonic_ns() // 1000


def median_ms(work):
    times = []
    for _ in range(TIMES):
        start = now_us()
        work()
        times.append(now_us() - start)
    return sorted(times)[TIMES // 2] / 1000


def main():
    digest = hashlib.sha256(b"bench").digest()
    secret = p256_sign.generate(os.urandom)
    point = p256_sign.public(secret)
    raw = p256_sign.sign(secret, digest, os.urandom(32))
    found = {
        "generate": median_ms(lambda: p256_sign.public(p256_sign.generate(os.urandom))),
        "sign": median_ms(lambda: p256_sign.sign(secret, digest, os.urandom(32))),
        "verify": median_ms(lambda: p256.verify(point, digest, raw)),
    }
    print(json.dumps(found))


main()
