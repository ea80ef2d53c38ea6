# SPDX-License-Identifier: MIT
"""Nonces: what a device signs to show that it speaks now, and once.

A nonce is a time, random bytes and a MAC over both under a key of this process.  So making one costs no memory
(nobody can push another's nonce out by asking for many), none is good after a restart, and what has to be
remembered is only which were taken, until they would have expired anyway.  When too many are remembered, the
next is refused: who takes them has proven a key before (see `https.est`), and comes again.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from . import jws

_TIME_BYTES, _RANDOM_BYTES, _MAC_BYTES = 8, 16, 16
_MAX_CHARS = 64


class Nonces:
    def __init__(self, life_s: float, remembered: int, clock: Callable[[], float] = time.monotonic):
        self.life_s = life_s
        self._remembered = remembered
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._taken: OrderedDict[bytes, float] = OrderedDict()  # with the moment of its end

    def make(self) -> str:
        """Base64url, without padding."""
        body = int(self._clock() * 1000).to_bytes(_TIME_BYTES, "big") + secrets.token_bytes(_RANDOM_BYTES)
        return jws.encode(body + self._mac(body))

    def take(self, text: object) -> bool:
        """Whether this one was made here, has not expired, and is taken for the first time."""
        if not isinstance(text, str) or len(text) > _MAX_CHARS:
            return False
        try:
            data = jws.decode(text)
        except jws.BadJws:
            return False
        body, mac = data[:-_MAC_BYTES], data[-_MAC_BYTES:]
        if not hmac.compare_digest(self._mac(body), mac):
            return False
        now = self._clock()
        end = int.from_bytes(body[:_TIME_BYTES], "big") / 1000 + self.life_s
        self._forget(now)
        if now >= end or body in self._taken or len(self._taken) >= self._remembered:
            return False
        self._taken[body] = now + self.life_s
        return True

    def _forget(self, now: float) -> None:
        while self._taken and next(iter(self._taken.values())) <= now:
            self._taken.popitem(last=False)

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)[:_MAC_BYTES]
