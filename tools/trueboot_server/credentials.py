# SPDX-License-Identifier: MIT
"""The organisation's credentials and its first product: made once, the same after every restart.

What is only compared is kept as a hash; what enters a digest is kept in clear (see `store.schema`).  The clear
texts of the former live in operator.json alone (0600): without that file a new one is made, and the old dies.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from .fleet.registry import new_secret
from .store import Store, Transaction
from .store.schema import meta, products

_COMPARED = ("admin_token", "registration_secret")


@dataclass(frozen=True)
class Credentials:
    org_id: str
    product_key: str
    product_secret: str
    access_key: str
    secret_key: str
    registration_secret: str
    admin_token: str

    def is_admin(self, token: str) -> bool:
        return hmac.compare_digest(_hash(token), _hash(self.admin_token))


def load_or_make(store: Store, operator_file: Path) -> Credentials:
    written = _written(operator_file)
    with store.transaction() as t:
        tokens = {name: _token(t, name, written.get(name)) for name in _COMPARED}
        product_key = _kept(t, "product_key", "pk-" + secrets.token_hex(4))
        row = t.row(sa.select(products).where(products.c.product_key == product_key))
        if row is None:
            values = {
                "product_secret": new_secret(),
                "allow_password_login": False,
                "claims_count": False,
                "attestation": "none",
            }
            t.execute(products.insert().values(product_key=product_key, created_at=t.now, dialect="decada", **values))
            row = t.row(sa.select(products).where(products.c.product_key == product_key))
        return Credentials(
            org_id=_kept(t, "org_id", "o" + secrets.token_hex(8)),
            product_key=product_key,
            product_secret=row.product_secret,  # type: ignore[union-attr]
            access_key=_kept(t, "access_key", secrets.token_hex(12)),
            secret_key=_kept(t, "secret_key", new_secret()),
            **tokens,
        )


def _token(t: Transaction, name: str, written: object) -> str:
    """The token that operator.json holds, if it is the one that the database knows; else a new one."""
    known = _get(t, name + "_sha256")
    if isinstance(written, str) and known is not None and hmac.compare_digest(_hash(written), known):
        return written
    token = new_secret()
    t.execute(meta.delete().where(meta.c.key == name + "_sha256"))
    t.execute(meta.insert().values(key=name + "_sha256", value=_hash(token)))
    return token


def _kept(t: Transaction, name: str, fresh: str) -> str:
    value = _get(t, name)
    if value is None:
        t.execute(meta.insert().values(key=name, value=fresh))
    return value or fresh


def _get(t: Transaction, name: str) -> str | None:
    row = t.row(sa.select(meta.c.value).where(meta.c.key == name))
    return row.value if row else None


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _written(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
