# SPDX-License-Identifier: MIT
"""Fill the spare slot with the image of a trusted release, and read it back.

The download resumes, also over a reset: what the slot durably holds is hashed
again from the slot, never believed, and the rest is asked for by Range.  Length
and hash are checked while streaming and once more from the slot; only then does
the update machine hear "fetched".

Out of a bundle the image is taken without a temporary copy: from an empty slot
on the whole file is read, its metadata part is passed over, and the offer's
digest of the file is checked too.  A resumed download begins within the image,
so there the signed hash of the image decides alone.
"""

import hashlib

from agent import session
from agent.errors import AgentError, RefusedError, UnreachableError
from agent.tasks import is_outage, reason
from agent.tasks.readback import hexdigest, rehash, verify
from agent.tasks.source import open_image

SILENT_MS = 10


def run(agent, release, tries):
    """Ends in the update machine's event "fetched" or "failed"."""
    local = "file" in (release.get("source") or ())
    outages = 0
    while True:
        if tries + outages:
            # A stick that was pulled takes longer to come back than a network.
            yield session.wait_ms(tries + outages, agent.platform.chance.random(1)[0], local)
        try:
            yield from _fill(agent, release)
            yield from verify(agent, release)
            break
        except AgentError as error:
            agent.log_error(error)
            if is_outage(agent, error, local, outages):
                outages += 1
                continue
            step = -2 if isinstance(error, UnreachableError) else -3 if isinstance(error, RefusedError) else -4
            agent.update_event(("failed", step, reason(error), step != -2))
            return
    agent.update_event(("fetched",))


def _note(release):
    note = {k: release[k] for k in ("version", "sha256", "length", "security", "kind")}
    note["size"] = release["length"]
    for name in ("target", "address"):  # by these it is found again, should it be asked back
        if release.get(name):
            note[name] = release[name]
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
        response, skip = open_image(agent, release, offset)
        try:
            if response.status == 200 and offset:
                # The server ignored the Range: what it sends begins at zero, so we do too.
                slots.begin(_note(release))
                offset, hasher = 0, hashlib.sha256()
            yield from _stream(agent, release, response, skip, offset, hasher)
        except AgentError:
            slots.sync()  # what came is kept: the next try goes on from there
            raise
        finally:
            response.close()
        slots.sync()
    if hexdigest(hasher) != release["sha256"]:
        slots.begin(_note(release))
        raise RefusedError("image_hash", "the image is not the one that was signed")


def _stream(agent, release, response, skip, offset, hasher):
    """`skip`: bytes of the response that come before the image's `offset`."""
    slots, length, chunk = agent.platform.slots, release["length"], agent.chunk
    said = skip and release["source"]["sha256"]
    whole = hashlib.sha256() if said else None
    told = 10 * offset // length
    while True:
        data = response.read(chunk)
        if data is None:
            yield SILENT_MS
            continue
        if not data:
            break
        if whole:
            whole.update(data)
        if skip:
            first = min(skip, len(data))
            skip -= first
            data = data[first:]
        if offset + len(data) > length:
            raise RefusedError("image_length", "the server sends more than the signed %d bytes" % length)
        if data:
            slots.write(offset, data)
            hasher.update(data)
            offset += len(data)
        if 10 * offset // length > told:
            told = 10 * offset // length
            agent.progress(offset, length, release)
        yield 0
    if offset != length:
        raise UnreachableError("http_truncated", "%d of %d bytes" % (offset, length))
    if whole and hexdigest(whole) != said:
        raise RefusedError("offer", "its digest is not that of the file")
