# SPDX-License-Identifier: MIT
"""Attestations that wait for their TPM to open the credential: one a device, each for one try and a minute."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from ..names import Identity
from . import credential
from .endorsement import Endorsement
from .statement import Checked

_SECRET_BYTES = 32  # no name's hash is shorter


@dataclass(frozen=True)
class Session:
    identity: Identity
    key: ec.EllipticCurvePublicKey  # what a certificate is asked for
    endorsement: Endorsement
    proof: Any  # how the device proved itself; looked at again when the certificate is issued
    secret: bytes
    ends: float

    def opened_with(self, secret: bytes) -> bool:
        return hmac.compare_digest(secret, self.secret)


class Sessions:
    def __init__(self, life_s: float, most: int, clock: Callable[[], float] = time.monotonic):
        self._life_s = life_s
        self._most = most
        self._clock = clock
        self._open: dict[str, Session] = {}  # in the order of their ends
        self._of_device: dict[Identity, str] = {}

    def begin(
        self, identity: Identity, key: ec.EllipticCurvePublicKey, checked: Checked, proof: Any
    ) -> tuple[str, credential.Credential] | None:
        """(the session's name, what the TPM has to open); None when too many others wait."""
        self._forget()
        self.take(self._of_device.get(identity, ""))
        if len(self._open) >= self._most:
            return None
        secret = secrets.token_bytes(_SECRET_BYTES)
        made = credential.make(checked.ek, checked.ak.name, secret)
        name, ends = secrets.token_urlsafe(24), self._clock() + self._life_s
        self._open[name] = Session(identity, key, checked.endorsement, proof, secret, ends)
        self._of_device[identity] = name
        return name, made

    def take(self, name: str) -> Session | None:
        """The session, this once."""
        self._forget()
        session = self._open.pop(name, None)
        if session is not None:
            del self._of_device[session.identity]
        return session

    def _forget(self) -> None:
        now = self._clock()
        while self._open:
            name = next(iter(self._open))
            if self._open[name].ends > now:
                return
            del self._of_device[self._open.pop(name).identity]
