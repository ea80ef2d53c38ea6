# SPDX-License-Identifier: MIT
"""Apply an encoded body, from a file against a base in a file, into a file; on both interpreters.  Prints hash and time."""

import binascii
import hashlib
import json
import time

from agent.wire import encoded

PIECE_BYTES = 1024


def now_ms():
    return time.ticks_ms() if hasattr(time, "ticks_ms") else time.perf_counter() * 1000


def main():
    with open("bench.json") as file:
        config = json.load(file)
    base = open(config["base"], "rb")
    length = base.seek(0, 2)

    def base_read(offset, size):
        base.seek(offset)
        return base.read(size)

    start = now_ms()
    digest = hashlib.sha256()
    decoder = encoded.decoder(config["kind"], base_read, length, config["left"])
    with open(config["body"], "rb") as body, open("made.bin", "wb") as made:
        while True:
            data = body.read(PIECE_BYTES)
            if not data:
                break
            for piece in decoder.feed(data):
                digest.update(piece)
                made.write(piece)
    decoder.end()
    duration = now_ms() - start
    print(json.dumps({"sha256": binascii.hexlify(digest.digest()).decode(), "ms": round(duration)}))


main()
