# SPDX-License-Identifier: MIT
"""Two walks through the repository; the second, which brings nothing new, is timed.  The same file on both interpreters."""

import json
import sys

from agent.trust.walk import Walk

if sys.implementation.name == "micropython":
    from platform_adapters.micropython_unix import MicroPythonUnix

    def platform_of(folder):
        return MicroPythonUnix(folder)

else:
    from platform_adapters.linux import Linux

    def platform_of(folder):
        return Linux(folder + "/agent.toml")


def walk(folder, https, trusted):
    """(what is trusted now, bytes, requests, milliseconds), over a connection of its own."""
    platform = platform_of(folder)
    trusted = trusted or {"root": platform.root()}
    start = platform.clock.ticks_ms()
    walk = Walk(trusted, platform.clock.wall(), platform.verify)
    fetched = requests = 0
    wanted = walk.wanted()
    while wanted:
        response = platform.http.open("GET", https + "/repo/metadata/" + wanted[0], {}, b"", None)
        body = bytearray()
        while True:
            data = response.read(1024)
            if data == b"":
                break
            body += data or b""
        walk.feed(bytes(body) if response.status == 200 else None)
        response.close()
        fetched += len(body)
        requests += 1
        wanted = walk.wanted()
    trusted.update(dict(walk.take()))
    return trusted, fetched, requests, platform.clock.ticks_ms() - start


def main():
    with open("bench.json") as file:
        config = json.load(file)
    trusted = walk(config["device"], config["https"], None)[0]
    _, fetched, requests, duration_ms = walk(config["device"], config["https"], trusted)
    print(json.dumps({"bytes": fetched, "requests": requests, "ms": duration_ms}))


main()
