# SPDX-License-Identifier: MIT
"""A request to install the bundle in a file, or to go back to the image that ran before: a record of the store,
until the journal tells what became of it.

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


def encode_back(identifier):
    """The record's bytes for a rollback; an agent that knows of none drops it."""
    return json.dumps({"rollback": True, "id": identifier}).encode()


def put_back(agent):
    """`Agent.rollback`."""
    if agent.update_state["phase"] != "idle":
        raise MisuseError("install_busy", "an update is under way: " + agent.update_state["phase"])
    before(agent.platform.slots, agent.update_state)
    data = encode_back(str(binascii.hexlify(agent.platform.chance.random(8)), "utf-8"))
    agent.platform.store.save(RECORD, data)
    if agent.image:
        take(agent)


def before(slots, state):
    """The note of the spare slot's image, if that is the one that ran before, confirmed.  MisuseError("rollback_none")."""
    note = slots.release(slots.spare())
    if not note or not note.get("target") or not state.get("previous") or note.get("sha256") != state["previous"]:
        raise MisuseError("rollback_none", "the spare slot holds no release that ran here before")
    return note


def take(agent):
    """Have the requested file considered; nothing is taken up on trial."""
    request = _load(agent)
    if request is None or agent.update_state["phase"] == "trial":
        return
    if known(agent.record, request["id"]):
        agent.platform.store.drop(RECORD)
        return
    offer = {name: None for name in ("version", "length", "method", "target", "job", "nonce")}
    offer["request"] = offer["digest"] = request["id"]
    if "file" in request:
        offer["file"] = request["file"]
    elif not _back(agent, offer):
        return
    agent.module("offers").offered(agent, offer)


def _back(agent, offer):
    """Make it the offer of the image that ran before; False when that is there no more."""
    try:
        note = before(agent.platform.slots, agent.update_state)
    except MisuseError as error:
        agent.update_event(("rejected", dict(offer, version=""), -1, str(error)))
        drop(agent, offer["request"])
        return False
    offer.update({"target": note["target"], "version": note["version"], "downgrade": True})
    offer.update({"method": "sha256", "digest": note["sha256"]})
    return True


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
        if request.get("rollback") is not True:
            encode(request["file"], request["id"])
        elif not isinstance(request["id"], str):
            raise KeyError
        return request
    except (ValueError, TypeError, KeyError, AttributeError, MisuseError):
        agent.platform.store.drop(RECORD)  # torn, or not ours
        return None
