# SPDX-License-Identifier: MIT
"""The spare slot on its way to a release's image: what is there, what comes, what is durable.

Rules kept:
 * What the slot holds is hashed again, never believed; it is begun anew when it is for another image, or cannot be read.
 * Space is looked at before anything is written, also when a download goes on.
 * Progress becomes durable while it comes, so that a power cut costs little of it, and seldom enough for flash to last:
   see SYNC_MS.
 * Never more than the signed length is written.
"""

import hashlib

from agent.errors import DeviceError, RefusedError
from agent.tasks.readback import hexdigest, rehash

# Progress is made durable at most once in SYNC_MS, and only for SYNC_BYTES: a fast link loses a second at a cut, a slow one
# 64 KB.  1.5 MB of firmware are some 24 syncs at the most, each a page or two of flash beside the image's own.
# A link too slow for that loses a minute: then a sector of flash is enough to be kept.
SYNC_MS = 1000
SYNC_BYTES = 64 * 1024
LATE_MS = 60_000
LATE_BYTES = 4096


class Filling:
    def __init__(self, agent, release):
        self.offset = 0
        self.began_at = 0  # bytes that were there already
        self._agent = agent
        self._release = release
        self._hasher = hashlib.sha256()
        self._durable = 0
        self._synced_at = self._told = 0

    def resume(self):
        """Take over what the slot durably holds of this image."""
        agent, release = self._agent, self._release
        slots = agent.platform.slots
        length, room = release["length"], slots.capacity()
        if length > room:
            raise DeviceError("slot_full", "%d bytes into a slot that takes %d" % (length, room))
        note = slots.release(slots.spare())
        if not note or note.get("sha256") != release["sha256"]:
            self.restart()
            return
        filled = slots.filled()
        if filled:
            try:
                self.offset = yield from rehash(agent, slots.spare(), self._hasher, filled)
            except DeviceError as error:
                agent.log_error(error)
            if self.offset != filled:
                self.restart()
        self.began_at = self._durable = self.offset
        self._told = 10 * self.offset // length
        self._synced_at = agent.platform.clock.ticks_ms()

    def restart(self):
        """Empty the slot."""
        release = self._release
        note = {name: release[name] for name in ("version", "sha256", "length", "security", "kind")}
        note["size"] = release["length"]
        for name in ("target", "address"):  # by these it is found again, should it be asked back
            if release.get(name):
                note[name] = release[name]
        self._agent.platform.slots.begin(note)
        self.offset = self.began_at = self._durable = self._told = 0
        self._hasher = hashlib.sha256()
        self._synced_at = self._agent.platform.clock.ticks_ms()

    def put(self, data):
        """The image's next bytes.  RefusedError("image_length") for more than were signed."""
        agent, length = self._agent, self._release["length"]
        end = self.offset + len(data)
        if end > length:
            raise RefusedError("image_length", "the server sends more than the signed %d bytes" % length)
        agent.platform.slots.write(self.offset, data)
        self._hasher.update(data)
        self.offset = end
        if 10 * end // length > self._told:
            self._told = 10 * end // length
            agent.progress(end, length, self._release)
        if end - self._durable >= LATE_BYTES:
            passed = agent.platform.clock.ticks_ms() - self._synced_at
            if passed >= LATE_MS or (passed >= SYNC_MS and end - self._durable >= SYNC_BYTES):
                self.sync()

    def sync(self):
        """What came is kept: the next try goes on from there."""
        self._agent.platform.slots.sync()
        self._durable = self.offset
        self._synced_at = self._agent.platform.clock.ticks_ms()

    def is_the_image(self):
        return hexdigest(self._hasher) == self._release["sha256"]
