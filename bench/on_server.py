# SPDX-License-Identifier: MIT
"""The server as `trueboot server` runs it, in a process of its own that a benchmark talks to over its standard streams.

First line out: what `trueboot server --json` says.  Then one JSON object a line in, one out:
  {"do": "push", "count": N}                push N messages of QoS 1 to the connected devices in turn, until all are acknowledged
  {"do": "tickets", "count": N, "sha256"}   N downloads' addresses, each for a device of its own
  {"do": "nonces", "count": N}
The limits that would slow one device down are out of the way; everything else is as it is.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from trueboot_server.app import Options, Server
from trueboot_server.fleet import registry
from trueboot_server.https.parts import PARTS
from trueboot_server.limits import Limits
from trueboot_server.main import _document, _loop_factory
from trueboot_server.names import Identity

PAYLOAD = b'{"id":"1","version":"1.0","method":"thing.service.bench","params":{"n":12345678}}'
LIMITS = replace(Limits(), messages_per_s=10**9, queries=10**9, registrations=10**9, tickets=10**6, nonces_taken=10**6)


async def serve(state: Path) -> None:
    options = Options(state, 0, 0, 0, dev=True, limits=LIMITS)
    server = Server(options)
    await server.start()
    try:
        say(_document(options, server))
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            asked = json.loads(line)
            say(await WORK[asked.pop("do")](server, **asked))
    finally:
        await server.stop()


async def push(server: Server, count: int) -> Any:
    endpoint = server.desk.endpoint
    live = list(endpoint._live)
    topics = {one: f"/sys/{one.product_key}/{one.device_key}/thing/service/bench" for one in live}
    left = count
    while left:
        before = left
        for one in live:
            while left and endpoint.push(one, topics[one], PAYLOAD):
                left -= 1
        # Their queues are full: who has acknowledged some is written to from within the endpoint.
        await asyncio.sleep(0.0005 if left == before else 0)
    while any(one._session._inflight for one in endpoint._live.values()):
        await asyncio.sleep(0.0005)
    return {"pushed": count}


async def tickets(server: Server, count: int, sha256: str) -> Any:
    """A device has the newest few of an image, so there are as many devices; they are registered the first time."""
    product_key = server.credentials.product_key
    found = []
    with server.store.transaction() as t:
        for number in range(count):
            identity = Identity(product_key, f"downloads-{number}")
            if registry.device(t, identity) is None:
                registry.register(t, identity)
            found.append(server.desk.tickets.give(t, identity, sha256))
    return {"tickets": found}


async def nonces(server: Server, count: int) -> Any:
    return {"nonces": [server.app[PARTS].nonces.make() for _ in range(count)]}


WORK = {"push": push, "tickets": tickets, "nonces": nonces}


def say(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(Path(sys.argv[1])))
