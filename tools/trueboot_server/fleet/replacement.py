# SPDX-License-Identifier: MIT
"""A board that begins anew: noticed when it asks, and made the same device again when the operator says so.

Whoever asks with the right secret where a device is known holds a board that was erased, or the secret and no board.
Nobody can tell which from here; so it is told, refused, and kept in view until it is settled.

Every function runs inside the caller's transaction.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ..ca import book, lists
from ..names import Identity
from ..store import Transaction
from ..store.schema import certificates
from . import registry


def note_reflash(t: Transaction, identity: Identity, how: str) -> None:
    """Somebody with the right secret begins anew where a device is known.  Told once, until it is settled."""
    row = registry.known_device(t, identity)
    if row.reflashed_at is None:
        registry.update(t, identity, reflashed_at=t.now)
        t.event("device.reflashed", identity, how=how)


def settle_reflash(t: Transaction, row: Any) -> None:
    """The device is alive under its old key: nobody has erased it, whoever asked for its secret."""
    if row.reflashed_at is not None:
        registry.update(t, Identity(row.product_key, row.device_key), reflashed_at=None)
        t.event("device.not_reflashed", Identity(row.product_key, row.device_key))


def replace(t: Transaction, identity: Identity, tpm_too: bool) -> None:
    """Begin the device's life anew, as the same device: a new secret, no key, no certificate.

    Changes nothing when it has begun already, so that a secret that was noted down stays good.  The TPM is forgotten
    only with `tpm_too`: a board that was erased still has its own.  The caller ends the session after the commit.
    """
    row = registry.known_device(t, identity)
    own = registry.is_device(certificates, identity)
    left = t.execute(sa.select(certificates.c.serial).where(*own, certificates.c.revoked_at.is_(None)).limit(1)).first()
    begun = row.state in ("registered", "activated") and row.secret_used_at is None and row.key_thumbprint is None
    if tpm_too and row.ek is not None:
        registry.update(t, identity, ek=None, tpm=None)
    elif begun and left is None:
        return
    t.execute(
        certificates.update()
        .where(*own, certificates.c.revoked_at.is_(None))
        .values(revoked_at=t.now, reason=lists.SUPERSEDED)
    )
    book.count_revocation(t)
    registry.update(
        t,
        identity,
        state="registered",
        device_secret=registry.new_secret(),
        secret_used_at=None,
        key_thumbprint=None,
        attested_at=None,
        reflashed_at=None,
    )
    t.event("device.replaced", identity, tpm_too=tpm_too)
