# SPDX-License-Identifier: MIT
"""Reading a slot: what is there is hashed again, never believed."""

import binascii
import hashlib

from agent.errors import DeviceError

ASK_AGAIN_MS = 5


def verify(agent, release):
    """RefusedError or DeviceError unless the spare slot holds exactly the release's image."""
    slots, hasher = agent.platform.slots, hashlib.sha256()
    if hasattr(slots, "digest"):  # the platform reads back by itself, beside us
        found = slots.digest(slots.spare())
        while found is None:
            yield ASK_AGAIN_MS
            found = slots.digest(slots.spare())
        done, digest = found
    else:
        done = yield from rehash(agent, slots.spare(), hasher, release["length"] + 1)
        digest = hasher.digest()
    if done != release["length"] or binascii.hexlify(digest).decode() != release["sha256"]:
        raise DeviceError("slot_hash", "the spare slot does not hold what was written")
    agent.verified = release["sha256"]


def rehash(agent, slot, hasher, limit):
    """Feed what `slot` holds, at most `limit` bytes, to `hasher`; gives the number of bytes."""
    slots, chunk = agent.platform.slots, agent.chunk
    done = 0
    while done < limit:
        data = slots.read(slot, done, min(chunk, limit - done))
        if not data:
            break
        hasher.update(data)
        done += len(data)
        yield 0
    return done


def hexdigest(hasher):
    return binascii.hexlify(hasher.digest()).decode()
