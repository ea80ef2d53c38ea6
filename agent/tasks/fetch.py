# SPDX-License-Identifier: MIT
"""Fill the spare slot with the image of a trusted release, and read it back.

The download goes on where it durably ended, also over a reset (`filling`).
Length and hash are checked while streaming and once more from the slot; only
then does the update machine hear "fetched".  Beside the plain road there is one
with less to send (`compact`).

Out of a bundle the image is taken without a temporary copy: from an empty slot
on the whole file is read, its metadata part is passed over, and the offer's
digest of the file is checked too.  A resumed download begins within the image,
so there the signed hash of the image decides alone.

What failed tries cost is in `budget`.  What was resumed or decoded and is not the
signed image is fetched anew from its first byte, MAX_RESTARTS times: the slot may
have rotted, or the server have another file now.  A whole download with a wrong
hash is the end.
"""

import hashlib

from agent.errors import AgentError, RefusedError, UnreachableError
from agent.tasks.filling import Filling
from agent.tasks.pace import Pace
from agent.tasks.readback import hexdigest, verify
from agent.tasks.source import open_image

SILENT_MS = 10
MAX_RESTARTS = 2
COMPACT_TRIES = 2  # fruitless tries after which the plain road is taken


def run(agent, release, tries):
    """Ends in the update machine's event "fetched" or "failed"."""
    memory = agent.download
    if memory is None or memory["sha256"] != release["sha256"]:
        memory = agent.download = remember(release)
    while True:
        failures = tries + memory["outages"] + memory["advances"]
        if failures:
            from agent.tasks import budget

            yield budget.pause_ms(agent, failures, "file" in (release.get("source") or ()), memory["after_s"])
        try:
            if memory["refused"]:
                from agent.tasks import fresh

                memory["refused"] = False
                release = yield from fresh.ask(agent, release)
            yield from _fill(agent, release, memory, tries)
            yield from verify(agent, release)
            break
        except AgentError as error:
            from agent.tasks import budget

            agent.log_error(error)
            tries = budget.spend(agent, release, memory, tries, error)
            if tries is None:
                return
    agent.download = None
    agent.update_event(("fetched",))


def remember(release):
    """What the tries of this boot have to know of each other."""
    return {
        "sha256": release["sha256"],
        "at": 0,  # bytes that the slot durably held at the end of the last try
        "mark": -1,  # bytes from which on progress counts; -1: not known yet
        "outages": 0,
        "advances": 0,
        "after_s": 0,
        "refused": False,
        "misled": False,  # the answers to Range requests are wrong
        "restarts": 0,
        "plain": False,  # the compact road leads nowhere
        "file": None,  # (URL, ETag)
    }


def _fill(agent, release, memory, tries):
    filling = Filling(agent, release)
    yield from filling.resume()
    if memory["mark"] < 0:
        memory["mark"] = filling.offset
    if memory["misled"]:
        memory["misled"] = False
        if memory["restarts"] < MAX_RESTARTS:
            _again(filling, memory)
    while True:
        compact = "address" in release and tries < COMPACT_TRIES and not memory["plain"]
        try:
            yield from _take(agent, release, filling, memory, compact)
        except AgentError as error:
            if error.code[:6] == "image_" and filling.began_at and memory["restarts"] < MAX_RESTARTS:
                agent.log_error(error)  # what is there and what comes do not fit together
                _again(filling, memory)
                continue
            filling.sync()
            memory["at"] = agent.platform.slots.filled()
            if filling.offset and not memory["at"]:
                filling.restart()  # a part of an index: a slot keeps none, and writes on behind it
            raise
        filling.sync()
        if filling.is_the_image():
            return
        wrong = RefusedError("image_hash", "the image is not the one that was signed")
        compact = compact and not memory["plain"]  # it was taken indeed
        if not (filling.began_at or compact) or memory["restarts"] >= MAX_RESTARTS:
            filling.restart()
            raise wrong
        agent.log_error(wrong)
        memory["plain"] = memory["plain"] or compact
        _again(filling, memory)


def _again(filling, memory):
    """From the first byte."""
    filling.restart()
    memory["restarts"] += 1
    memory["mark"] = memory["at"] = 0


def _take(agent, release, filling, memory, compact):
    """The rest of the image, by either road."""
    if filling.offset == release["length"]:
        return
    if compact:
        from agent.tasks import compact as road

        if (yield from road.take(agent, release, filling)):
            return
        memory["plain"] = True
        road = None
        agent.let_go("tasks.compact")
    response, skip = open_image(agent, release, filling.offset, memory)
    try:
        if response.status == 200 and filling.offset:
            filling.restart()  # the server ignored the Range: what it sends begins at zero, so we do too
        yield from _stream(agent, release, response, skip, filling)
    finally:
        response.close()


def _stream(agent, release, response, skip, filling):
    """`skip`: bytes of the response that come before what is asked for."""
    said = skip and release["source"]["sha256"]
    whole = hashlib.sha256() if said else None
    pace = Pace(agent.platform.clock, agent.config["bandwidth_bytes_s"])
    size = pace.piece(agent.chunk)
    read = getattr(response, "view", response.read)  # the same bytes, which the next call overwrites
    while True:
        data = read(size)
        if data is None:
            pace.rest_ms(0)
            yield SILENT_MS
            continue
        if not data:
            break
        rest = pace.rest_ms(len(data))
        if whole:
            whole.update(data)
        if skip:
            first = min(skip, len(data))
            skip -= first
            data = data[first:]
        if data:
            filling.put(data)
        yield rest
    if filling.offset != release["length"]:
        raise UnreachableError("http_truncated", "%d of %d bytes" % (filling.offset, release["length"]))
    if whole and hexdigest(whole) != said:
        raise RefusedError("offer", "its digest is not that of the file")
