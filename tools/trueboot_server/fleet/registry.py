# SPDX-License-Identifier: MIT
"""Products, devices and certificates: what the database knows of identities, and the rules of their life.

- A device secret certifies one public key: the last that was in use.
- A secret is handed out again only until the first proof made with it; who asks later holds a board that was
  erased, or the product secret and no board: it is noted, refused, and an operator decides (`replace`).
- At most two live certificates a device; the first use of a newer one supersedes the older, which may still
  log in for a day (a power cut may have come before the device promoted the newer).  When a third is issued, the
  one that asks for it stays, since the device has nothing else until the new one has reached it.
- A later key needs a proof by the last one: by its certificate while that lives, by its signature afterwards.
- Revocation ends secret and certificates in one transaction.

Every function runs inside the caller's transaction.
"""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..ca import Issued, book, lists
from ..limits import Limits
from ..names import Identity
from ..store import Prepared, Transaction
from ..store.kept import Question
from ..store.schema import certificates, devices, products

# Asked at every request of a device: built once, and most answers are kept until they change.
_PRODUCT = Question(sa.select(products).where(products.c.product_key == sa.bindparam("product_key")))
_DEVICE = sa.select(devices).where(
    devices.c.product_key == sa.bindparam("product_key"), devices.c.device_key == sa.bindparam("device_key")
)
_STANDING = [
    devices.c[name]
    for name in ("product_key", "device_key", "state", "device_secret", "secret_used_at", "reflashed_at")
]
_STANDING_OF = Question(
    sa.select(*_STANDING).where(
        devices.c.product_key == sa.bindparam("product_key"), devices.c.device_key == sa.bindparam("device_key")
    )
)
_HARDWARE = Question(
    sa.select(*_STANDING)
    .join(products, products.c.product_key == devices.c.product_key)
    .where(devices.c.device_key == sa.bindparam("hardware_id"), products.c.dialect == "esthesis")
    .limit(1)
)
_UPDATE = devices.update().where(  # of the columns that it is given
    devices.c.product_key == sa.bindparam("of_product"), devices.c.device_key == sa.bindparam("of_device")
)
# Nothing that is kept shows it.
_SEEN = Prepared(
    devices.update()
    .where(devices.c.product_key == sa.bindparam("of_product"), devices.c.device_key == sa.bindparam("of_device"))
    .values(last_seen=sa.bindparam("last_seen")),
    "last_seen",
    "of_product",
    "of_device",
)
_CERTIFICATE = Question(sa.select(certificates).where(certificates.c.serial == sa.bindparam("serial")))
_UNREVOKED = Question(
    sa.select(certificates)
    .where(
        certificates.c.product_key == sa.bindparam("product_key"),
        certificates.c.device_key == sa.bindparam("device_key"),
        certificates.c.revoked_at.is_(None),
    )
    .order_by(certificates.c.issued_at.desc(), certificates.c.not_after.desc())
)
_OF_KEY = sa.select(certificates.c.product_key, certificates.c.device_key, certificates.c.reason).where(
    certificates.c.thumbprint == sa.bindparam("thumbprint")
)
_STORE = certificates.insert().returning(certificates)
_HIGHEST_HANDLE = sa.select(sa.func.max(certificates.c.handle))


def new_secret() -> str:
    return secrets.token_hex(16)


def product(t: Transaction, product_key: str) -> Any | None:
    return next(iter(t.kept(_PRODUCT, product_key=product_key)), None)


def certificate_life_s(t: Transaction, product_key: str, limits: Limits) -> int:
    """Of the certificates of a product's devices."""
    found = product(t, product_key)
    return int(found.certificate_life_s) if found and found.certificate_life_s else limits.certificate_life_s


def device(t: Transaction, identity: Identity) -> Any | None:
    return t.row(_DEVICE, **identity._asdict())


def standing(t: Transaction, identity: Identity) -> Any | None:
    """What decides whether a device is let in: its state and its secret, and whether that was used or asked for again."""
    return next(iter(t.kept(_STANDING_OF, product_key=identity.product_key, device_key=identity.device_key)), None)


def find_hardware(t: Transaction, hardware_id: str) -> Any | None:
    """The same of the device of that id among all products that speak esthesis, whose devices name no product."""
    return next(iter(t.kept(_HARDWARE, hardware_id=hardware_id)), None)


def note_seen(t: Transaction, identity: Identity) -> None:
    t.quietly(_SEEN, t.now, identity.product_key, identity.device_key)


def is_device(table: sa.Table, identity: Identity) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return table.c.product_key == identity.product_key, table.c.device_key == identity.device_key


def known_device(t: Transaction, identity: Identity) -> Any:
    """The row of a device that was let in: there is one."""
    return t.execute(_DEVICE, **identity._asdict()).one()


def update(t: Transaction, identity: Identity, **values: Any) -> None:
    t.execute(_UPDATE, of_product=identity.product_key, of_device=identity.device_key, **values)


def room_for_another(t: Transaction, product_key: str, limits: Limits) -> bool:
    count = t.execute(
        sa.select(sa.func.count()).select_from(devices).where(devices.c.product_key == product_key)
    ).scalar_one()
    return bool(count < limits.devices_per_product)


def register(t: Transaction, identity: Identity, ek: str | None = None) -> Any:
    """`ek`: the TPM that the device is known to have."""
    t.execute(
        devices.insert().values(
            product_key=identity.product_key,
            device_key=identity.device_key,
            device_secret=new_secret(),
            state="registered",
            created_at=t.now,
            asset_id=secrets.token_hex(4),
            ek=ek,
        )
    )
    t.event("device.registered", identity)
    return known_device(t, identity)


def note_proof(t: Transaction, row: Any) -> None:
    """The device has shown that it holds its secret."""
    if row.secret_used_at is None:
        update(t, Identity(row.product_key, row.device_key), secret_used_at=t.now)


def certificate(t: Transaction, serial: str) -> Any | None:
    return next(iter(t.kept(_CERTIFICATE, serial=serial)), None)


def presented(t: Transaction, serial: str | None, der: bytes) -> Any | None:
    """The row of a certificate that a peer has shown, if it is the very one that was issued."""
    row = certificate(t, serial) if serial else None
    return row if row is not None and bytes(row.der) == der else None


def is_live(row: Any, now: int, limits: Limits) -> bool:
    return row.revoked_at is None and row.not_after > now and not _overlap_is_over(row, now, limits)


def _overlap_is_over(row: Any, now: int, limits: Limits) -> bool:
    return row.superseded_at is not None and now >= row.superseded_at + limits.certificate_overlap_s * 1000


def live_certificates(t: Transaction, identity: Identity, limits: Limits) -> list[Any]:
    """Newest first."""
    rows = t.kept(_UNREVOKED, product_key=identity.product_key, device_key=identity.device_key)
    return [row for row in rows if is_live(row, t.now, limits)]


def live_device_of(t: Transaction, serial: str | None, limits: Limits) -> Identity | None:
    """Whose certificate this is, if it is one that may be used."""
    return _live_device(certificate(t, serial) if serial else None, t.now, limits)


def live_device_with(t: Transaction, serial: str | None, der: bytes, limits: Limits) -> Identity | None:
    """The same for a certificate that a peer has shown."""
    return _live_device(presented(t, serial, der), t.now, limits)


def _live_device(row: Any | None, now: int, limits: Limits) -> Identity | None:
    return Identity(row.product_key, row.device_key) if row is not None and is_live(row, now, limits) else None


class KeyHistory(NamedTuple):
    of_another: bool  # a certificate for this public key was issued to any other device
    reasons: set[int]  # for which certificates for it were revoked


def key_history(t: Transaction, identity: Identity, thumbprint: str) -> KeyHistory:
    rows = t.rows(_OF_KEY, thumbprint=thumbprint)
    others = any((row.product_key, row.device_key) != identity for row in rows)
    return KeyHistory(others, {row.reason for row in rows if row.reason is not None})


def last_key(t: Transaction, kid: str, limits: Limits) -> Any | None:
    """The certificate, expired or not, whose key with this thumbprint may sign for a later key.

    It is the last that the device used (or the first of all, that never came to be used).  The one before may speak
    for as long as it may log in: the device may have gone back to it.  Never a revoked one, or a revoked device's.
    """
    rows = t.rows(
        sa.select(certificates, devices.c.key_thumbprint)
        .join(devices)
        .where(
            certificates.c.thumbprint == kid,
            certificates.c.revoked_at.is_(None),
            devices.c.state != "revoked",
        )
        .order_by(certificates.c.issued_at.desc())
    )
    for row in rows:
        if row.key_thumbprint == kid or (row.superseded_at is not None and not _overlap_is_over(row, t.now, limits)):
            return row
    return None


def store_certificate(
    t: Transaction,
    identity: Identity,
    thumbprint: str,
    issued: Issued,
    limits: Limits,
    live: list[Any],
    proven_by: Any | None = None,
    attested: bool = False,
) -> Any:
    """The row of the new certificate.  `live`: those before it; `proven_by`: the one whose key asked for it."""
    if proven_by is not None:
        _take_back(t, identity, proven_by)
    _make_room(t, live, limits, proven_by)
    values = {
        "serial": issued.serial,
        "product_key": identity.product_key,
        "device_key": identity.device_key,
        "thumbprint": thumbprint,
        "der": issued.der,
        "not_after": issued.not_after_ms,
        "issued_at": t.now,
        # Small and rising, as EnOS's serial numbers are; never used twice.
        "handle": int(t.execute(_HIGHEST_HANDLE).scalar() or 32_767) + 1,
        "attested": attested,
        "issuer": issued.issuer,
    }
    row = t.execute(_STORE, **values).one()
    # The secret certifies a later key when that is used, and not before.
    update(t, identity, state="enrolled", **({} if proven_by is not None else {"key_thumbprint": thumbprint}))
    t.event("certificate.issued", identity, serial=issued.serial)
    return row


def _make_room(t: Transaction, live: list[Any], limits: Limits, proven_by: Any | None) -> None:
    """Leave one live certificate less than are allowed: best the one that asks, else the last that was used."""
    keep = proven_by.serial if proven_by is not None else None
    ranked = sorted(live, key=lambda row: (row.serial != keep, -(row.first_used_at or 0), -row.issued_at))
    for row in ranked[limits.certificates_live - 1 :]:
        t.execute(
            certificates.update()
            .where(certificates.c.serial == row.serial)
            .values(revoked_at=t.now, reason=lists.SUPERSEDED)
        )
        book.count_revocation(t)


def _take_back(t: Transaction, identity: Identity, row: Any) -> None:
    """A superseded certificate that asks for a later one is in use again: the device has gone back to it."""
    if row.superseded_at is not None:
        t.execute(certificates.update().where(certificates.c.serial == row.serial).values(superseded_at=None))
        update(t, identity, key_thumbprint=row.thumbprint)
        t.event("certificate.taken_back", identity, serial=row.serial)


def note_use(t: Transaction, used: Any) -> None:
    """A certificate has proven its key: the first time, it takes the place of the older ones."""
    if used.first_used_at is not None:
        return
    t.execute(certificates.update().where(certificates.c.serial == used.serial).values(first_used_at=t.now))
    identity = Identity(used.product_key, used.device_key)
    update(t, identity, key_thumbprint=used.thumbprint)
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


def revoke(t: Transaction, identity: Identity, reason: int = 0) -> None:
    """End secret and certificates.  The caller ends the session after the commit."""
    t.execute(
        certificates.update()
        .where(*is_device(certificates, identity), certificates.c.revoked_at.is_(None))
        .values(revoked_at=t.now, reason=reason)
    )
    book.count_revocation(t)
    update(t, identity, state="revoked", device_secret=new_secret())
    t.event("device.revoked", identity, reason=lists.REASON_NAMES[reason])


def revoke_serial(t: Transaction, serial: str, reason: int = 0) -> Identity | None:
    """End one certificate, and with the last that lives its device.  The device, whose session the caller ends.

    What was revoked before stays as it is.
    """
    row = certificate(t, serial)
    if row is None:
        return None
    identity = Identity(row.product_key, row.device_key)
    if row.revoked_at is not None:
        return identity
    t.execute(certificates.update().where(certificates.c.serial == serial).values(revoked_at=t.now, reason=reason))
    book.count_revocation(t)
    t.event("certificate.revoked", identity, serial=serial, reason=lists.REASON_NAMES[reason])
    if known_device(t, identity).state != "revoked" and not _has_certificate(t, identity):
        revoke(t, identity, reason)
    return identity


def _has_certificate(t: Transaction, identity: Identity) -> bool:
    statement = sa.select(certificates.c.serial).where(
        *is_device(certificates, identity), certificates.c.revoked_at.is_(None), certificates.c.not_after > t.now
    )
    return t.execute(statement.limit(1)).first() is not None
