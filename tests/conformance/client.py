# SPDX-License-Identifier: MIT
"""init, refresh and download, as the public TUF conformance suite asks for them; the same file on both interpreters.

Requests, files and arguments are this file's; every decision is `agent.trust`'s.
In the metadata folder lie the trusted files as received, `<role>.json`, and in
`marks/` beside them the marks of the agent's stored copies.
"""

import gc
import os
import socket
import sys
import time

from agent.errors import AgentError, RefusedError, UnreachableError
from agent.trust.artifact import Artifact
from agent.trust.walk import Walk
from agent.wire import http, url

if sys.implementation.name == "micropython":
    from agent.crypto.verify import verify
else:
    from platform_adapters.linux_verify import verify

MARK_BYTES = 32
PIECE_BYTES = 2048
TIMEOUT_S = 20


def get(address, sink, most_bytes=None):
    """Give a file's bytes to `sink` in pieces; False when there is no such file.  Without `most_bytes`, `sink` is the judge."""
    host, port, target = url.split_url(address, "http", 80)
    connection = socket.socket()
    response = http.Response()
    taken = 0
    try:
        connection.settimeout(TIMEOUT_S)
        connection.connect(socket.getaddrinfo(host, port)[0][-1])
        connection.send(http.request("GET", "%s:%d" % (host, port), target, {"connection": "close"}))
        while True:
            piece = response.read(PIECE_BYTES)
            if piece is None:
                response.feed(connection.recv(PIECE_BYTES))
            elif piece == b"":
                break
            elif response.status == 200:
                taken += len(piece)
                if most_bytes is not None and taken > most_bytes:
                    raise RefusedError("too_large", address)
                sink(piece)
    except OSError as error:
        raise UnreachableError("network", str(error))
    finally:
        connection.close()
    if response.status not in (200, 403, 404):
        raise UnreachableError("http_status", "%d for %s" % (response.status, address))
    return response.status == 200


def load(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def save(path, data):
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.rename(path + ".new", path)


class Client:
    def __init__(self, folder, base):
        self.folder = folder.rstrip("/") + "/"
        self.base = base.rstrip("/") + "/"
        trusted = {"root": load(self.folder + "root.json")}
        for role in ("timestamp", "snapshot", "targets"):
            mark, data = load(self.folder + "marks/" + role), load(self.folder + role + ".json")
            trusted[role] = mark + data if mark and data else None
        self.walk = Walk(trusted, int(time.time()), verify)

    def feed(self):
        """Fetch what the walk wants, and store what it takes."""
        walk = self.walk
        try:
            wanted = walk.wanted()
            while wanted:
                name, most_bytes = wanted
                if not self.has():
                    data = bytearray()
                    there = get(self.base + name, data.extend, most_bytes)
                    data = bytes(data) if there else None
                    walk.feed(data)
                    data = None
                gc.collect()
                self.store()
                wanted = walk.wanted()
        finally:
            self.store()

    def has(self):
        """Whether the file that is wanted now lies here already."""
        if self.walk.role in ("root", "timestamp"):
            return False
        kept = load(self.folder + url.quote(self.walk.role) + ".json")
        return bool(kept) and self.walk.offer(kept)

    def store(self):
        for name, data in self.walk.take():
            if name == "root":
                save(self.folder + "root.json", data)
            elif name.startswith("role:"):
                save(self.folder + url.quote(name[5:]) + ".json", data)
            else:
                save(self.folder + "marks/" + name, data[:MARK_BYTES])
                save(self.folder + name + ".json", data[MARK_BYTES:])

    def download(self, path, base, folder):
        walk = self.walk
        walk.seek(path)
        self.feed()
        if walk.target is None:
            raise RefusedError("not_signed", "no signed metadata for " + path)
        place = folder.rstrip("/") + "/target-" + url.quote(path)
        if is_target(place, walk.target):
            return
        artifact = Artifact(walk.target)
        try:
            with open(place + ".new", "wb") as file:

                def take(piece):
                    artifact.update(piece)
                    file.write(piece)

                if not get(base.rstrip("/") + "/" + walk.file(path), take):
                    raise RefusedError("not_found", path)
            artifact.finish()
        except AgentError:
            os.remove(place + ".new")
            raise
        os.rename(place + ".new", place)


def is_target(place, target):
    """Whether a file is there and is the target."""
    artifact = Artifact(target)
    try:
        with open(place, "rb") as file:
            piece = file.read(PIECE_BYTES)
            while piece:
                artifact.update(piece)
                piece = file.read(PIECE_BYTES)
        artifact.finish()
    except (OSError, RefusedError):
        return False
    return True


def read_arguments(arguments):
    """({option: its last value}, [target names], [words])"""
    options, targets, words = {}, [], []
    arguments = list(arguments)
    while arguments:
        word = arguments.pop(0)
        if word == "--target-name":
            targets.append(arguments.pop(0))
        elif word.startswith("--"):
            options[word[2:]] = arguments.pop(0)
        else:
            words.append(word)
    return options, targets, words


def main(arguments):
    options, targets, words = read_arguments(arguments)
    folder = options["metadata-dir"]
    try:
        if words[0] == "init":
            save(folder + "/root.json", load(words[1]))
            os.mkdir(folder + "/marks")
            return 0
        client = Client(folder, options["metadata-url"])
        client.feed()
        if words[0] == "download":
            for path in targets:
                client.download(path, options["target-base-url"], options["target-dir"])
        return 0
    except AgentError as error:
        print("tuf-client on %s: %s" % (sys.implementation.name, error))
        return 1
