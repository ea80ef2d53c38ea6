# SPDX-License-Identifier: MIT
"""One walk through the repository, over a connection of its own, from what an earlier one left.  For both interpreters.

bench.json: {"https", "device": its folder, "trusted": a folder for what is trusted, "path": a target to find, or ""}.
"""

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


ROLES = ("root", "timestamp", "snapshot", "targets")
counts = {"bytes": 0, "requests": 0, "checks": 0}


def stored(folder):
    found = {}
    for role in ROLES:
        try:
            with open(folder + "/" + role, "rb") as file:
                found[role] = file.read()
        except OSError:
            pass
    return found


def feed(walk, platform, https):
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
        counts["bytes"] += len(body)
        counts["requests"] += 1
        wanted = walk.wanted()


def main():
    with open("bench.json") as file:
        config = json.load(file)
    platform = platform_of(config["device"])

    def verify(*arguments):
        counts["checks"] += 1
        return platform.verify(*arguments)

    trusted = stored(config["trusted"])
    if "root" not in trusted:
        trusted["root"] = platform.root()
    start = platform.clock.ticks_ms()
    walk = Walk(trusted, platform.clock.wall(), verify)
    feed(walk, platform, config["https"])
    if config["path"]:
        walk.seek(config["path"])
        feed(walk, platform, config["https"])
    counts["ms"] = platform.clock.ticks_ms() - start
    counts["found"] = walk.target is not None
    for role, data in walk.take():
        if role in ROLES:
            with open(config["trusted"] + "/" + role, "wb") as file:
                file.write(data)
    print(json.dumps(counts))


main()
