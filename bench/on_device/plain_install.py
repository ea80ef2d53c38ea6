# SPDX-License-Identifier: MIT
"""The peer on CPython: what anybody would write to download, hash and store a file, by mutual TLS."""

import hashlib
import json
import os
import time

import requests

CHUNK_BYTES = 64 * 1024

with open("bench.json") as file:
    config = json.load(file)
start = time.monotonic()
with requests.Session() as session:
    session.trust_env = False
    session.verify = config["ca"]
    session.cert = (config["certificate"], config["key"])
    digest = hashlib.sha256()
    with session.get(config["url"], stream=True, timeout=60) as answer, open("plain.bin", "wb") as target:
        answer.raise_for_status()
        for chunk in answer.iter_content(CHUNK_BYTES):
            digest.update(chunk)
            target.write(chunk)
        target.flush()
        os.fsync(target.fileno())
duration_ms = (time.monotonic() - start) * 1000
print(json.dumps({"sha256": digest.hexdigest(), "ms": duration_ms}))
