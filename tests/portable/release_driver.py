# SPDX-License-Identifier: MIT
"""A device's trust, visit after visit, and the bundles that it is given; runs on both interpreters.

A line of the case file is one device: {"name", "root": hex, "now", "visits": [visit]}, a visit {"files": {name: hex},
"path"} or {"bundle": file name}.  Printed for each device: [name, [verdict]], a verdict being the image's SHA-256, "none"
when no metadata name the path, or the code of the error.  What is trusted is kept from visit to visit.
"""

import binascii
import hashlib
import json

from agent.crypto.verify import verify
from agent.errors import AgentError
from agent.trust.bundle import Bundle
from agent.trust.walk import Walk

PIECE_BYTES = 100  # small, and no divisor of anything


def main(path):
    with open(path) as file:
        for line in file:
            case = json.loads(line)
            trusted = {"root": binascii.unhexlify(case["root"])}
            print(json.dumps([case["name"], [visit(trusted, case["now"], one) for one in case["visits"]]]))


def visit(trusted, now, one):
    walk = None
    try:
        walk = Walk(trusted, now, verify, fresh="bundle" not in one)
        if "bundle" in one:
            return install(walk, one["bundle"])
        feed(walk, one["files"])
        walk.seek(one["path"])
        feed(walk, one["files"])
        return walk.target["hashes"]["sha256"] if walk.target else "none"
    except AgentError as error:
        return error.code
    finally:
        if walk:
            trusted.update(dict(walk.take()))


def feed(walk, files):
    wanted = walk.wanted()
    while wanted:
        name = wanted[0]
        walk.feed(binascii.unhexlify(files[name]) if name in files else None)
        wanted = walk.wanted()


def install(walk, name):
    bundle = Bundle(walk)
    with open(name, "rb") as file:
        while True:
            piece = file.read(PIECE_BYTES)
            if not piece:
                bundle.ended()
            if bundle.feed(piece):
                break
        file.seek(bundle.prefix)
        image = file.read(bundle.length)
        digest = str(binascii.hexlify(hashlib.sha256(image).digest()), "ascii")
        if len(image) != bundle.length or digest != walk.target["hashes"]["sha256"]:
            return "image_hash"
        return digest
