# SPDX-License-Identifier: MIT
"""Products, devices and certificates: what the database knows of identities, and the rules of their life.

- A device secret certifies one public key.
- A secret is handed out again only until the first proof made with it.
- At most two live certificates a device; the first use of a newer one supersedes the older, which may still
  log in for a day (a power cut may have come before the device promoted the newer).
- Revocation ends secret and certificates in one transaction.

Every function runs inside the caller's transaction.
"""

from __future__ import annotations

import secrets
from typing import Any

import sqlalchemy as sa

from ..ca import Issued
from ..limits import Limits
from ..names import Identity
from ..store import Transaction
from ..store.schema import certificates, devices, products


def new_secret() -> str:
    return secrets.token_hex(16)


def product(t: Transaction, product_key: str) -> Any | None:
    return t.row(sa.select(products).where(products.c.product_key == product_key))


def device(t: Transaction, identity: Identity) -> Any | None:
    return t.row(sa.select(devices).where(*is_device(devices, identity)))


def is_device(table: sa.Table, identity: Identity) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return table.c.product_key == identity.product_key, table.c.device_key == identity.device_key


def known_device(t: Transaction, identity: Identity) -> Any:
    """The row of a device that was let in: there is one."""
    return t.execute(sa.select(devices).where(*is_device(devices, identity))).one()


def update(t: Transaction, identity: Identity, **values: Any) -> None:
    t.execute(devices.update().where(*is_device(devices, identity)).values(**values))


def room_for_another(t: Transaction, product_key: str, limits: Limits) -> bool:
    count = t.execute(
        sa.select(sa.func.count()).select_from(devices).where(devices.c.product_key == product_key)
    ).scalar_one()
    return bool(count < limits.devices_per_product)


def register(t: Transaction, identity: Identity) -> Any:
    t.execute(
        devices.insert().values(
            product_key=identity.product_key,
            device_key=identity.device_key,
            device_secret=new_secret(),
            state="registered",
            created_at=t.now,
            asset_id=secrets.token_hex(4),
        )
    )
    t.event("device.registered", identity)
    return known_device(t, identity)


def note_proof(t: Transaction, row: Any) -> None:
    """The device has shown that it holds its secret."""
    if row.secret_used_at is None:
        update(t, Identity(row.product_key, row.device_key), secret_used_at=t.now)


def certificate(t: Transaction, serial: str) -> Any | None:
    return t.row(sa.select(certificates).where(certificates.c.serial == serial))


def is_live(row: Any, now: int, limits: Limits) -> bool:
    if row.revoked_at is not None or row.not_after <= now:
        return False
    return row.superseded_at is None or now < row.superseded_at + limits.certificate_overlap_s * 1000


def live_certificates(t: Transaction, identity: Identity, limits: Limits) -> list[Any]:
    """Newest first."""
    rows = t.rows(
        sa.select(certificates)
        .where(*is_device(certificates, identity), certificates.c.revoked_at.is_(None))
        .order_by(certificates.c.issued_at.desc(), certificates.c.not_after.desc())
    )
    return [row for row in rows if is_live(row, t.now, limits)]


def live_device_of(t: Transaction, serial: str | None, limits: Limits) -> Identity | None:
    """Whose certificate this is, if it is one that may be used."""
    row = certificate(t, serial) if serial else None
    if row is None or not is_live(row, t.now, limits):
        return None
    return Identity(row.product_key, row.device_key)


def key_of_another(t: Transaction, identity: Identity, thumbprint: str) -> bool:
    """Whether a certificate for this public key was issued to any other device."""
    statement = sa.select(certificates.c.serial).where(
        certificates.c.thumbprint == thumbprint, sa.not_(sa.and_(*is_device(certificates, identity)))
    )
    return t.execute(statement.limit(1)).first() is not None


def store_certificate(t: Transaction, identity: Identity, thumbprint: str, issued: Issued, limits: Limits) -> None:
    for older in live_certificates(t, identity, limits)[limits.certificates_live - 1 :]:
        t.execute(certificates.update().where(certificates.c.serial == older.serial).values(revoked_at=t.now, reason=4))
    t.execute(
        certificates.insert().values(
            serial=issued.serial,
            product_key=identity.product_key,
            device_key=identity.device_key,
            thumbprint=thumbprint,
            der=issued.der,
            not_after=issued.not_after_ms,
            issued_at=t.now,
            handle=_free_handle(t),
        )
    )
    update(t, identity, state="enrolled", key_thumbprint=thumbprint)
    t.event("certificate.issued", identity, serial=issued.serial)


def _free_handle(t: Transaction) -> int:
    """Small and rising, as EnOS's serial numbers are; never used twice."""
    highest = t.execute(sa.select(sa.func.max(certificates.c.handle))).scalar()
    return int(highest or 32_767) + 1


def note_use(t: Transaction, used: Any) -> None:
    """A certificate has logged in: the first time, it takes the place of the older ones."""
    if used.first_used_at is not None:
        return
    t.execute(certificates.update().where(certificates.c.serial == used.serial).values(first_used_at=t.now))
    identity = Identity(used.product_key, used.device_key)
    t.execute(
        certificates.update()
        .where(
            *is_device(certificates, identity),
            certificates.c.serial != used.serial,
            certificates.c.issued_at <= used.issued_at,
            certificates.c.superseded_at.is_(None),
        )
        .values(superseded_at=t.now)
    )


def revoke(t: Transaction, identity: Identity) -> None:
    """End secret and certificates.  The caller ends the session after the commit."""
    t.execute(
        certificates.update()
        .where(*is_device(certificates, identity), certificates.c.revoked_at.is_(None))
        .values(revoked_at=t.now)
    )
    update(t, identity, state="revoked", device_secret=new_secret())
    t.event("device.revoked", identity)


def revoked_serials(t: Transaction) -> list[tuple[str, int]]:
    rows = t.rows(
        sa.select(certificates.c.serial, certificates.c.revoked_at).where(
            certificates.c.revoked_at.is_not(None), certificates.c.not_after > t.now
        )
    )
    return [(row.serial, row.revoked_at) for row in rows]
