# SPDX-License-Identifier: MIT
"""Who may register as esthesis's devices do, and what the reply gives them.

A request names a hardware id and no product.  Its product is that of a device registered under the id, or the one whose
registration secret it brings, or the only one that is open.  The product's mode decides:

    DISABLED           nobody
    OPEN               any new id
    OPEN_WITH_SECRET   any new id, with the product's registration secret
    ID                 ids that an operator has registered

A device is registered once.  With a certificate request (ours; the key was born on the device) the same key gets its
certificate again, so that a power cut costs nothing; another key needs an operator's `replace`.  Without one, as
esthesis's own agents ask, the server makes an RSA key, gives it away and keeps none of it: who lost the reply needs
`replace`, too.

Source: esthesis, protocol 2.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..fleet import registry, shadow
from ..fleet.dialect import ESTHESIS
from ..limits import Limits
from ..names import Identity, is_identity
from ..store import Transaction
from ..store.schema import products
from .elp import BadLine, Value, typed
from .words import HARDWARE_ID

MODES = ("DISABLED", "OPEN", "OPEN_WITH_SECRET", "ID")
_TYPES = ("CORE", "EDGE", "OTHER")
_WHOLE = ("BYTE", "SHORT", "INTEGER", "LONG", "BIG_INTEGER")
_REAL = ("FLOAT", "DOUBLE", "BIG_DECIMAL")
_HINTS = ("STRING", "BOOLEAN", "UNKNOWN", *_WHOLE, *_REAL)


class Refused(Exception):
    """`status` and text of the answer; `proof`: a secret was wrong, which counts against the address."""

    def __init__(self, status: int, message: str, proof: bool = False):
        super().__init__(message)
        self.status = status
        self.proof = proof


class Asked(NamedTuple):
    hardware_id: str
    tags: list[str]
    attributes: dict[str, Value]
    secret: str
    csr: str | None


def parse(body: dict[str, Any]) -> Asked:
    """Members that nobody knows are ignored, as everywhere in this language; `capabilities` is one."""
    texts = {}
    for name in ("tags", "attributes", "registrationSecret"):
        value = body.get(name)
        if value is not None and not isinstance(value, str):
            raise Refused(400, f"{name} must be a text")
        texts[name] = value or ""
    hardware_id, csr = body.get("hardwareId"), body.get("csr")
    if not isinstance(hardware_id, str) or not HARDWARE_ID.match(hardware_id):
        raise Refused(400, "hardwareId must have 3 to 512 of A-Z a-z 0-9 _ -")
    if body.get("type") not in _TYPES:
        raise Refused(400, f"type must be one of {', '.join(_TYPES)}")
    if csr is not None and not isinstance(csr, str):
        raise Refused(400, "csr must be a text")
    tags = [tag for tag in texts["tags"].split(",") if tag]
    return Asked(hardware_id, tags, _attributes(texts["attributes"]), texts["registrationSecret"], csr or None)


def admit(t: Transaction, asked: Asked, limits: Limits) -> tuple[Any, Identity]:
    """(the product, the device, which is registered from now on).  Refused when it may not be."""
    row = registry.find_hardware(t, asked.hardware_id)
    product = registry.product(t, row.product_key) if row is not None else _product_for(t, asked)
    if product is None:
        raise Refused(500, "registration is not possible", proof=bool(asked.secret))
    identity = Identity(product.product_key, asked.hardware_id)
    if product.registration == "DISABLED":
        raise Refused(500, "registration is disabled")
    if product.registration == "OPEN_WITH_SECRET" and not _is_secret(product, asked.secret):
        raise Refused(500, "registration is not possible", proof=True)
    if row is not None:
        if row.state == "revoked":
            raise Refused(500, "the device is revoked")
        return product, identity
    if product.registration == "ID":
        raise Refused(500, "registration is not possible")
    if not is_identity(identity):
        raise Refused(
            400, "this server takes hardware ids of up to 64 characters, its product's key and a slash included"
        )
    if not registry.room_for_another(t, product.product_key, limits):
        raise Refused(500, "the product is full")
    registry.register(t, identity)
    try:
        if asked.attributes:
            shadow.set_attributes(t, identity, asked.attributes, limits)
        if asked.tags and product.pushed_tags:
            shadow.set_tags(
                t, identity, dict.fromkeys((tag for tag in asked.tags if HARDWARE_ID.match(tag + "__")), ""), limits
            )
    except shadow.BadShadow as error:
        raise Refused(500, str(error)) from error
    return product, identity


def secret_hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _product_for(t: Transaction, asked: Asked) -> Any | None:
    """Of a device that nobody knows yet."""
    found = t.rows(sa.select(products).where(products.c.dialect == ESTHESIS).order_by(products.c.product_key))
    if len(found) == 1:
        return found[0]
    if asked.secret and (mine := [row for row in found if _is_secret(row, asked.secret)]):
        return mine[0]
    is_open = [row for row in found if row.registration == "OPEN"]
    return is_open[0] if len(is_open) == 1 else None


def _is_secret(product: Any, secret: str) -> bool:
    return hmac.compare_digest(product.registration_secret or "", secret_hash(secret))


def _attributes(text: str) -> dict[str, Value]:
    """name=value[;TYPE], with commas between; one that is none spoils the registration, as in esthesis."""
    found: dict[str, Value] = {}
    for pair in text.split(",") if text.strip() else ():
        name, equals, value = pair.partition("=")
        value, semicolon, hint = value.partition(";")
        if not name.strip() or not equals or "=" in value or (semicolon and hint.upper() not in _HINTS):
            raise Refused(500, "attributes are name=value[;TYPE] with commas between")
        try:
            found[name.strip()] = _value(value, hint.upper())
        except (ValueError, OverflowError, BadLine) as error:
            raise Refused(500, "an attribute's value is not of its type") from error
    return found


def _value(text: str, hint: str) -> Value:
    if hint in _WHOLE:
        if len(text) > 40:
            raise ValueError(text)
        return int(text)
    if hint in _REAL:
        number = typed(text)
        if isinstance(number, bool | str):
            raise ValueError(text)
        return number
    if hint == "BOOLEAN":
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    return text if hint == "STRING" or not text else typed(text)
