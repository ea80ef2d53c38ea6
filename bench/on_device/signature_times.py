# SPDX-License-Identifier: MIT
"""Milliseconds of one operation with a key, the least of some; the same file on both interpreters.

`straight` is the peer that measures the machine: P-256 verified as a textbook does it.
"""

import hashlib
import json
import os
import time
from binascii import unhexlify

from agent.crypto import ed25519, p256, p256_comb, p256_sign, rsa
from agent.crypto.verify import Whole

TIMES = 30


def now_us():
    if hasattr(time, "ticks_us"):
        return time.ticks_us()
    return time.monotonic_ns() // 1000


def least_ms(works):
    """{name: ms}, all of them measured in turns.  They only compute: whatever makes one take longer is not of its own."""
    times = {name: [] for name in works}
    for _ in range(TIMES):
        for name in works:
            start = now_us()
            works[name]()
            times[name].append(now_us() - start)
    return {name: min(times[name]) / 1000 for name in times}


# Interleaving with NAFs of width 4 (Guide to Elliptic Curve Cryptography, algorithm 3.51), a function for each operation
# on points (3.21, 3.22): about 3,250 products modulo P.


def double(point):
    X, Y, Z = point
    P = p256.P
    delta = Z * Z % P
    gamma = Y * Y % P
    beta = X * gamma % P
    alpha = 3 * (X - delta) * (X + delta) % P
    X3 = (alpha * alpha - 8 * beta) % P
    return X3, (alpha * (4 * beta - X3) - 8 * gamma * gamma) % P, 2 * Y * Z % P


def add(point, affine):
    X, Y, Z = point
    if not Z:
        return affine[0], affine[1], 1
    P = p256.P
    zz = Z * Z % P
    h = (affine[0] * zz - X) % P
    slope = (affine[1] * Z % P * zz - Y) % P
    hh = h * h % P
    hhh = h * hh % P
    v = X * hh % P
    X3 = (slope * slope - hhh - 2 * v) % P
    return X3, (slope * (v - X3) - Y * hhh) % P, Z * h % P


def odd_multiples(x, y):
    step = p256.all_affine([double((x, y, 1))])[0]
    multiples = [(x, y, 1)]
    for _ in range(3):
        multiples.append(add(multiples[-1], step))
    return p256.all_affine(multiples)


def naf(scalar):
    digits = []
    while scalar:
        digit = 0
        if scalar & 1:
            digit = scalar & 15
            digit = digit if digit < 8 else digit - 16
            scalar -= digit
        digits.append(digit)
        scalar >>= 1
    return digits + [0] * (257 - len(digits))


def straight(generator, key, digest, raw):
    u1, u2, r = p256.scalars_of(digest, raw)
    terms = ((naf(u1), generator), (naf(u2), odd_multiples(key[0], key[1])))
    total = (1, 1, 0)
    for i in range(256, -1, -1):
        total = double(total)
        for digits, multiples in terms:
            digit = digits[i]
            if digit > 0:
                total = add(total, multiples[digit >> 1])
            elif digit:
                x, y = multiples[-digit >> 1]
                total = add(total, (x, p256.P - y))
    return p256.has_x(total, r)


def numbers(point):
    return int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")


def main():
    with open("bench.json") as file:
        config = json.load(file)
    message = Whole(b"bench")
    digest = message.sha256()
    secret = p256_sign.generate(os.urandom)
    point = p256_sign.public(secret)
    raw = p256_sign.sign(secret, digest, os.urandom(32))
    comb = p256_comb.make(point)
    generator = odd_multiples(*numbers(p256_sign.public(bytes(31) + b"\x01")))
    key = numbers(point)
    one, two = config["ed25519"], config["rsa"]
    works = {
        "straight": lambda: must(straight(generator, key, digest, raw)),
        "generate": lambda: p256_sign.public(p256_sign.generate(os.urandom)),
        "sign": lambda: p256_sign.sign(secret, digest, os.urandom(32)),
        "verify": lambda: must(p256.verify(point, digest, raw)),
        "pinned": lambda: must(p256_comb.verify(comb, digest, raw)),
        "ed25519": lambda: must(ed25519.verify(unhexlify(one[0]), message, unhexlify(one[1]))),
        "rsa": lambda: must(rsa.verify(unhexlify(two[0]), hashlib.sha256(b"bench").digest(), unhexlify(two[1]))),
    }
    print(json.dumps(least_ms(works)))


def must(good):
    if not good:
        raise ValueError("a good signature was found bad")


main()
