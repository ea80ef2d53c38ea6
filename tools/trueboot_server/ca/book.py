# SPDX-License-Identifier: MIT
"""What the database knows of certificates as such: whose CA signed them, and which are revoked, since when and why.

- The number of a CRL rises with every CRL, durably, whatever the clock does (RFC 5280, 5.2.3).
- Every revocation is counted in its own transaction, so that whoever keeps a CRL sees that it is out of date.
- A revoked certificate stays on the CRL for a day after its end, so that every reader of CRLs meets it once.

Every function runs inside the caller's transaction.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from ..store import Transaction
from ..store.schema import certificates, meta, own_certificates
from .authority import Issued
from .lists import REASON_NAMES, Revoked

_KEEP_AFTER_END_MS = 24 * 3600 * 1000
_REVOCATIONS = "revocations"


class Standing(NamedTuple):
    status: str  # good, revoked, unknown
    at_ms: int = 0
    reason: int = 0


def revoked(t: Transaction, issuer: str, with_unnamed: bool) -> list[Revoked]:
    """For the CRL of a CA.  `with_unnamed`: rows from before issuers were written down are its too."""
    found = []
    for table in (certificates, own_certificates):
        statement = sa.select(table.c.serial, table.c.revoked_at, table.c.reason).where(
            table.c.revoked_at.is_not(None),
            table.c.not_after > t.now - _KEEP_AFTER_END_MS,
            _of(table, issuer, with_unnamed),
        )
        found += [Revoked(row.serial, row.revoked_at, row.reason or 0) for row in t.execute(statement)]
    return found


def standing(t: Transaction, serial: str, issuer: str, with_unnamed: bool) -> Standing:
    """What this CA has to say of one of its certificates."""
    for table in (certificates, own_certificates):
        row = t.row(sa.select(table).where(table.c.serial == serial, _of(table, issuer, with_unnamed)))
        if row is not None:
            return Standing("good") if row.revoked_at is None else Standing("revoked", row.revoked_at, row.reason or 0)
    return Standing("unknown")


def _of(table: sa.Table, issuer: str, with_unnamed: bool) -> sa.ColumnElement[bool]:
    own = table.c.issuer == issuer
    return sa.or_(own, table.c.issuer.is_(None)) if with_unnamed else own


# Certificates of servers: this one (kind "server"), others that the operator asked for ("other")


def note_own(t: Transaction, issued: Issued, kind: str = "server") -> None:
    """Idempotent.  Those that ended are forgotten."""
    t.execute(own_certificates.delete().where(own_certificates.c.not_after < t.now - _KEEP_AFTER_END_MS))
    if own(t, issued.serial) is None:
        values = {"serial": issued.serial, "der": issued.der, "not_after": issued.not_after_ms, "issuer": issued.issuer}
        t.execute(own_certificates.insert().values(kind=kind, issued_at=t.now, **values))


def own(t: Transaction, serial: str) -> Any | None:
    return t.row(sa.select(own_certificates).where(own_certificates.c.serial == serial))


def revoke_own(t: Transaction, serial: str, reason: int) -> None:
    """What was revoked before stays as it is."""
    t.execute(
        own_certificates.update()
        .where(own_certificates.c.serial == serial, own_certificates.c.revoked_at.is_(None))
        .values(revoked_at=t.now, reason=reason)
    )
    count_revocation(t)
    t.event("certificate.revoked", serial=serial, reason=REASON_NAMES[reason])


# Numbers


def count_revocation(t: Transaction) -> None:
    _set(t, _REVOCATIONS, revocations(t) + 1)


def revocations(t: Transaction) -> int:
    """Changes whenever something was revoked."""
    return _get(t, _REVOCATIONS)


def next_crl_number(t: Transaction, issuer: str) -> int:
    """Above all earlier ones.  The time is in it, so that it rises over a database that was restored, too."""
    key = "crl." + issuer
    number = max(_get(t, key) + 1, t.now // 1000)
    _set(t, key, number)
    return number


def _get(t: Transaction, key: str) -> int:
    row = t.row(sa.select(meta.c.value).where(meta.c.key == key))
    return int(row.value) if row else 0


def _set(t: Transaction, key: str, value: int) -> None:
    t.execute(meta.delete().where(meta.c.key == key))
    t.execute(meta.insert().values(key=key, value=str(value)))
