# SPDX-License-Identifier: MIT
"""Which TPM is which device's: one of each, bound by the first attestation or when the device is registered.

Every function runs inside the caller's transaction.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from ..errors import ApiError
from ..names import Identity
from ..store import Transaction
from ..store.schema import devices
from . import registry


class Attested(NamedTuple):
    """What a key was proven to be in."""

    ek: str  # SHA-256, hex, of the endorsement key's SubjectPublicKeyInfo
    tpm: dict[str, str]  # manufacturer, model, version, as its certificate says


def device_of(t: Transaction, ek: str) -> Identity | None:
    """Whose TPM has this endorsement key."""
    row = t.execute(sa.select(devices.c.product_key, devices.c.device_key).where(devices.c.ek == ek).limit(1)).first()
    return Identity(row.product_key, row.device_key) if row is not None else None


def bind(t: Transaction, identity: Identity, attested: Attested) -> None:
    """The device's TPM is this one, from now on.  ApiError when it is another's, or the device has another."""
    row = registry.known_device(t, identity)
    if row.ek not in (None, attested.ek):
        raise ApiError(
            403,
            "another_tpm",
            "the device has another TPM",
            "If the board was exchanged on purpose: trueboot device replace --tpm-too.",
        )
    if device_of(t, attested.ek) not in (None, identity):
        raise ApiError(403, "foreign_ek", "this TPM is another device's", "One TPM is one device.")
    if row.ek is None:
        t.event("device.tpm_bound", identity, ek=attested.ek)
    registry.update(t, identity, ek=attested.ek, tpm=attested.tpm, attested_at=t.now)
