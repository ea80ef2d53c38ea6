# SPDX-License-Identifier: MIT
"""What a download allocates for each piece, once it runs: garbage collection is off, and the heap is looked at.

The download is the agent's own, from the server into slots in a folder, driven without an agent around it.
bench.json: {"https", "device": its folder, "release": what the agent knows of it, "chain": file, "key": file}.
"""

import gc
import json

from agent.errors import AgentError
from agent.tasks import fetch
from platform_adapters.dirslots import DirSlots
from platform_adapters.micropython_http import Http
from platform_adapters.micropython_unix import MicroPythonUnix

BEGIN_BYTES = 128 * 1024  # the index, the pages of the interpreter's tables, what is loaded late
WINDOW_BYTES = 512 * 1024


def contents(name):
    with open(name, "rb") as file:
        return file.read()


class Slots(DirSlots):
    at = 0
    pieces = 0

    def write(self, offset, data):
        DirSlots.write(self, offset, data)
        self.at = offset + len(data)
        self.pieces += 1


class Alone:
    """As much of an agent as a download asks for."""

    download = None
    image = ""
    image_bytes = 0

    def __init__(self, platform, config):
        self.platform = platform
        self.chunk = platform.chunk
        self.config = config

    def credentials(self):
        return "bench"

    def progress(self, done, total, release):
        pass

    def log_error(self, error):
        raise error

    def let_go(self, name):
        pass


def main():
    config = json.loads(contents("bench.json"))
    platform = MicroPythonUnix(config["device"])
    credentials = (contents(config["key"]), [contents(config["chain"])])
    platform.http = Http(platform.anchors, lambda identity: credentials)
    platform.slots = slots = Slots("slots", "state", "a")
    agent = Alone(platform, {"https": config["https"], "encodings": "", "bandwidth_bytes_s": 0})
    turns = fetch.run(agent, config["release"], 0)
    while slots.at < BEGIN_BYTES:
        next(turns)
    gc.collect()
    gc.disable()
    pieces, before, at = slots.pieces, gc.mem_alloc(), slots.at
    while slots.at < at + WINDOW_BYTES:
        next(turns)
    after = gc.mem_alloc()
    pieces = slots.pieces - pieces
    print(json.dumps({"bytes": after - before, "pieces": pieces, "image": slots.at - at, "left": after // 1024}))


try:
    main()
except AgentError as error:
    print(json.dumps({"error": "%s: %s" % (error.code, error.detail)}))
