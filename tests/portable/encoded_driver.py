# SPDX-License-Identifier: MIT
"""Bodies that a server sent, read as a device reads them; runs on both interpreters.

The case file is {"base": file, "bodies": [{"kind", "file", "left"}]}.  Printed for each body: the SHA-256 of what it makes.
"""

import binascii
import hashlib
import json

from agent.wire import encoded

PIECE_BYTES = 1500  # of a body, as a network gives them


def main(path):
    with open(path) as file:
        case = json.load(file)
    base = open(case["base"], "rb")
    length = base.seek(0, 2)

    def base_read(offset, size):
        base.seek(offset)
        return base.read(size)

    for one in case["bodies"]:
        hasher = hashlib.sha256()
        decoder = encoded.decoder(one["kind"], base_read, length, one["left"])
        with open(one["file"], "rb") as body:
            while True:
                data = body.read(PIECE_BYTES)
                if not data:
                    break
                for piece in decoder.feed(data):
                    hasher.update(piece)
        decoder.end()
        print(binascii.hexlify(hasher.digest()).decode())
    base.close()
