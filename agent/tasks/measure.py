# SPDX-License-Identifier: MIT
"""Which image runs?  The first of all tasks of a boot, and once a day after it.

A self-measurement: the agent reads the slot it runs from.  It shows a report
of the wrong image for what it is, and a slot that rotted; it is no remote attestation.

Once a day it takes its time: a piece, then a rest, and none while a download
needs the flash, or the spare slot is read back.  An image that changes while it runs (a root file system that
is written to) is not read again: its slots say `at_install`, and the note of
what was verified before it was activated stands for it.
"""

import hashlib

from agent.errors import AgentError
from agent.tasks.readback import hexdigest, rehash

MAX_IMAGE_BYTES = 1 << 40
REST_MS = 20
PAUSE_MS = 5000


def run(agent, when="boot"):
    """`when`: "boot", or "daily".  Ends in `agent.measured`."""
    slots, hasher = agent.platform.slots, hashlib.sha256()
    try:
        if getattr(slots, "at_install", False):
            when = "at-install"
            note = slots.release(slots.running()) or {}
            image, agent.image_bytes = note.get("sha256") or "unreadable", note.get("length") or 0
        else:
            steps = rehash(agent, slots.running(), hasher, MAX_IMAGE_BYTES)
            agent.image_bytes = yield from (_slowly(agent, steps) if when == "daily" else steps)
            image = hexdigest(hasher)
    except AgentError as error:
        agent.log_error(error)
        image = "unreadable"
    agent.measured(image, when)


def _slowly(agent, steps):
    """`steps`, with rests; gives what they give."""
    try:
        while True:
            next(steps)
            yield REST_MS
            while _is_busy(agent):
                yield PAUSE_MS
    except StopIteration as end:
        return end.value


def _is_busy(agent):
    state = agent.update_state
    if state["phase"] == "staged":  # two readers would have each other begin anew
        return agent.verified != state["release"]["sha256"]
    return state["phase"] in ("fetching", "trial")
