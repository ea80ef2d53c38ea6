# SPDX-License-Identifier: MIT
"""Fill the spare slot with the image of a trusted release, and read it back.

The download resumes, also over a reset: what the slot durably holds is hashed
again from the slot, never believed, and the rest is asked for by Range.  Length
and hash are checked while streaming and once more from the slot; only then does
the update machine hear "fetched".
"""

import hashlib

from agent import session
from agent.errors import AgentError, RefusedError, UnreachableError
from agent.tasks.readback import hexdigest, rehash, verify
from agent.wire.http import content_range

SILENT_MS = 10


def run(agent, release, tries):
    """Ends in the update machine's event "fetched" or "failed"."""
    if tries:
        yield session.wait_ms(tries, agent.platform.chance.random(1)[0], False)
    try:
        yield from _fill(agent, release)
        yield from verify(agent, release)
    except AgentError as error:
        agent.log_error(error)
        step = -2 if isinstance(error, UnreachableError) else -3 if isinstance(error, RefusedError) else -4
        agent.update_event(("failed", step, str(error)[:120], step != -2))
        return
    agent.update_event(("fetched",))


def _note(release):
    note = {k: release[k] for k in ("version", "sha256", "length", "security", "kind")}
    note["size"] = release["length"]
    return note


def _fill(agent, release):
    slots = agent.platform.slots
    length = release["length"]
    note = slots.release(slots.spare())
    if not note or note.get("sha256") != release["sha256"]:
        slots.begin(_note(release))
    offset = slots.filled()
    hasher = hashlib.sha256()
    if offset:
        offset = yield from rehash(agent, slots.spare(), hasher, offset)
    if offset < length:
        response = _open(agent, release, offset)
        try:
            if response.status == 200 and offset:
                # The server ignored the Range: what it sends begins at zero, so we do too.
                slots.begin(_note(release))
                offset, hasher = 0, hashlib.sha256()
            yield from _stream(agent, release, response, offset, hasher)
        except AgentError:
            slots.sync()  # what came is kept: the next try goes on from there
            raise
        finally:
            response.close()
        slots.sync()
    if hexdigest(hasher) != release["sha256"]:
        slots.begin(_note(release))
        raise RefusedError("image_hash", "the image is not the one that was signed")


def _open(agent, release, offset):
    folder, _, name = release["target"].rpartition("/")
    # Consistent snapshots put the hash before the name (TUF 1.0.x, 6.2).
    url = "%s/repo/targets/%s/%s.%s" % (agent.config["https"], folder, release["sha256"], name)
    headers = {"Range": "bytes=%d-" % offset} if offset else {}
    response = agent.platform.http.open("GET", url, headers, b"", agent.credentials())
    problem = None
    if response.status == 206 and offset:
        first, last, total = content_range(response.headers.get("content-range", ""))
        if (first, last, total) != (offset, release["length"] - 1, release["length"]):
            problem = UnreachableError("http_range", "the server answered with another range")
    elif response.status != 200:
        problem = UnreachableError("http_status", "%d for the image" % response.status)
    if problem:
        response.close()
        raise problem
    return response


def _stream(agent, release, response, offset, hasher):
    slots, length, chunk = agent.platform.slots, release["length"], agent.chunk
    told = 10 * offset // length
    while True:
        data = response.read(chunk)
        if data is None:
            yield SILENT_MS
            continue
        if not data:
            break
        if offset + len(data) > length:
            raise RefusedError("image_length", "the server sends more than the signed %d bytes" % length)
        slots.write(offset, data)
        hasher.update(data)
        offset += len(data)
        if 10 * offset // length > told:
            told = 10 * offset // length
            agent.progress(offset, length, release)
        yield 0
    if offset != length:
        raise UnreachableError("http_truncated", "%d of %d bytes" % (offset, length))
