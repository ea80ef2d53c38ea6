# SPDX-License-Identifier: MIT
"""Sessions of devices that speak HTTP: who has one, what waits to be told to it, and when it is over.

- One session a device; a new login ends the one before.
- Silence longer than the lifetime that the device chose, within our bounds, ends it.
- A command rides on the headers of the next response, one a response: what is too long for a header, or finds the queue
  full, or is of a kind that the device does not take, is refused to its sender.
- The id is random (122 bits) and found by its hash, so that the time which a look-up takes says nothing about ids.

In memory only: after a restart devices log in anew, as they do after silence.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections import deque
from collections.abc import Callable

from ..limits import Limits
from ..mqtt.desk import Admitted, Message
from ..names import Identity

UPGRADES, INVOCATIONS = "CMD_OTA_UPGRADE", "CMD_PENDING_INVOKE"


class HttpSession:
    def __init__(self, identity: Identity, lifetime_s: float, accepts: frozenset[str], secret: str, certified: bool):
        self.identity = identity
        self.lifetime_s = lifetime_s
        self.accepts = accepts
        self.secret = secret  # that the login proved: another one ends the session
        self.certified = certified  # it stands on a client certificate, which every request has to show
        self.heard = 0.0
        self.waiting: deque[Message] = deque()
        self.allowance = 0.0  # messages that may come now

    @property
    def admitted(self) -> Admitted:
        return Admitted(self.identity, by_password=not self.certified, upgrades=UPGRADES in self.accepts)

    def next_command(self) -> Message | None:
        return self.waiting.popleft() if self.waiting else None


class Sessions:
    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self._limits = limits
        self._clock = clock
        self._by_id: dict[str, HttpSession] = {}
        self._ids: dict[Identity, str] = {}

    @property
    def count(self) -> int:
        return len(self._by_id)

    def open(self, session: HttpSession) -> str | None:
        """The session's id; None when there is no room for it."""
        self.close(session.identity)
        if len(self._by_id) >= self._limits.http_sessions:
            return None
        text = str(uuid.uuid4())
        session.heard, session.allowance = self._clock(), float(self._limits.messages_per_s)
        self._by_id[_key(text)] = session
        self._ids[session.identity] = _key(text)
        return text

    def find(self, text: str) -> HttpSession | None:
        session = self._by_id.get(_key(text))
        return session if session is not None and not self._is_over(session) else None

    def heard(self, session: HttpSession) -> bool:
        """A message came.  False: it came too soon after others."""
        rate, now = self._limits.messages_per_s, self._clock()
        session.allowance = min(rate, session.allowance + (now - session.heard) * rate)
        session.heard = now
        if session.allowance < 1:
            return False
        session.allowance -= 1
        return True

    def online(self, identity: Identity) -> bool:
        return self._of(identity) is not None

    def takes_upgrades(self, identity: Identity) -> bool:
        session = self._of(identity)
        return session is not None and UPGRADES in session.accepts

    def push(self, identity: Identity, topic: str, payload: bytes) -> bool:
        session = self._of(identity)
        kind = UPGRADES if topic.endswith("/ota/device/upgrade") else INVOCATIONS
        if session is None or kind not in session.accepts or len(payload) > self._limits.http_command_bytes:
            return False
        if len(session.waiting) >= self._limits.commands_pending_per_device:
            return False
        session.waiting.append(Message(topic, payload))
        return True

    def close(self, identity: Identity) -> bool:
        """False: there was none."""
        key = self._ids.pop(identity, None)
        return self._by_id.pop(key, None) is not None if key else False

    def by_password(self, product_key: str) -> list[Identity]:
        """Which devices of a product have a session that stands on no certificate."""
        sessions = self._by_id.values()
        return [s.identity for s in sessions if s.identity.product_key == product_key and not s.certified]

    def over(self) -> list[Identity]:
        """Whose sessions have been silent for too long."""
        return [session.identity for session in self._by_id.values() if self._is_over(session)]

    def _of(self, identity: Identity) -> HttpSession | None:
        key = self._ids.get(identity)
        session = self._by_id[key] if key else None
        return session if session is not None and not self._is_over(session) else None

    def _is_over(self, session: HttpSession) -> bool:
        return self._clock() - session.heard > session.lifetime_s


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
