# SPDX-License-Identifier: MIT
"""A request to install the bundle in a file: a record of the store, until the journal tells what became of it.

Whoever writes the record need not wait: it survives a power cut, and the agent
takes it up at its next look or its next start.  It is dropped once the journal
holds the release that it led to ("update"), or its outcome ("last"); the number
`id` tells that from other requests, so nothing is done twice.
"""

import binascii
import json

from agent.errors import MisuseError

RECORD = "install"
MAX_PATH_CHARACTERS = 512


def encode(path, identifier):
    """The record's bytes.  MisuseError("install_path")."""
    if not isinstance(path, str) or not 0 < len(path) <= MAX_PATH_CHARACTERS:
        raise MisuseError("install_path", "the path of a file is a text of at most %d characters" % MAX_PATH_CHARACTERS)
    return json.dumps({"file": path, "id": identifier}).encode()


def put(agent, path):
    """`Agent.install`."""
    data = encode(path, str(binascii.hexlify(agent.platform.chance.random(8)), "utf-8"))
    if agent.update_state["phase"] != "idle":
        raise MisuseError("install_busy", "an update is under way: " + agent.update_state["phase"])
    agent.platform.store.save(RECORD, data)
    if agent.image:  # else the start of the agent takes it up
        take(agent)


def take(agent):
    """Have the requested file considered; nothing is taken up on trial."""
    request = _load(agent)
    if request is None or agent.update_state["phase"] == "trial":
        return
    if known(agent.record, request["id"]):
        agent.platform.store.drop(RECORD)
        return
    offer = {name: None for name in ("version", "length", "method", "target", "job", "nonce")}
    offer["file"] = request["file"]
    offer["request"] = offer["digest"] = request["id"]
    agent.offered(offer)


def known(record, identifier):
    """Whether the journal tells what became of the request."""
    release = record["update"]["release"] or {}
    return identifier in (release.get("request"), record.get("last", {}).get("request"))


def drop(agent, identifier):
    request = _load(agent)
    if request and request["id"] == identifier:
        agent.platform.store.drop(RECORD)


def _load(agent):
    data = agent.platform.store.load(RECORD)
    if data is None:
        return None
    try:
        request = json.loads(data)
        encode(request["file"], request["id"])
        return request
    except (ValueError, TypeError, KeyError, MisuseError):
        agent.platform.store.drop(RECORD)  # torn, or not ours
        return None
