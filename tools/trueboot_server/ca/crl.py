# SPDX-License-Identifier: MIT
"""The CRLs of the moment: one for each CA that has signed certificates here.

A list is kept until something is revoked, and is made anew at half of its life at the latest.  Readers that fetched it
know of a revocation when theirs ends: `limits.crl_life_s`.
"""

from __future__ import annotations

from typing import NamedTuple

from ..store import Transaction
from . import book, lists
from .authority import Authority
from .files import Issuer


class _Made(NamedTuple):
    der: bytes
    revocations: int
    again_ms: int


class Crls:
    def __init__(self, authority: Authority, life_s: int):
        self._authority = authority
        self._life_s = life_s
        self._made: dict[str, _Made] = {}

    def der(self, t: Transaction, issuer: Issuer | None = None) -> bytes:
        """The present list of one CA; of the one that issues when none is named."""
        issuer = issuer or self._authority.issuers[0]
        made, revocations = self._made.get(issuer.id), book.revocations(t)
        if made is None or made.revocations != revocations or t.now >= made.again_ms:
            entries = book.revoked(t, issuer.id, issuer.is_root)
            number = book.next_crl_number(t, issuer.id)
            der = lists.sign(issuer.certificate, issuer.key, entries, number, t.now, self._life_s)
            made = self._made[issuer.id] = _Made(der, revocations, t.now + self._life_s * 500)
        return made.der

    def refresh(self, t: Transaction) -> None:
        """Make anew whatever is due, so that nobody who asks has to wait for it."""
        for issuer in self._authority.issuers:
            self.der(t, issuer)
