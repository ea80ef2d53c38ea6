# SPDX-License-Identifier: MIT
"""Login over HTTP: `sign` is a plain digest over sorted pairs and the device secret (enos-decada, 7.1).

There is no timestamp in it at all: who sees one login can repeat it, so that it is taken over TLS alone.  Whom it lets
in is what `decada.admission` says of MQTT: with a live certificate of its own, or where the product allows passwords.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any

from ..fleet import registry
from ..limits import Limits
from ..names import Identity, is_identity
from ..store import Transaction
from .sessions import INVOCATIONS, UPGRADES, HttpSession

_SIGN_METHODS = ("sha256", "hmacsha256")
_DEFAULT_LIFETIME_MS = 300_000
_NOBODY = secrets.token_hex(16)  # what an unknown device's proof is compared with


class BadLogin(Exception):
    """The request breaks the form."""


@dataclass(frozen=True, slots=True)
class Login:
    identity: Identity
    sign: str
    sign_method: str
    lifetime: str  # milliseconds, as the device signed them
    accepts: frozenset[str]


def parse(identity: Identity, body: dict[str, Any]) -> Login:
    method, sign = body.get("signMethod"), body.get("sign")
    if not isinstance(method, str) or method.lower() not in _SIGN_METHODS:
        raise BadLogin("signMethod must be sha256")
    if not isinstance(sign, str) or len(sign) != 64:
        raise BadLogin("sign must be a SHA-256 in hex")
    lifetime = body.get("lifetime", _DEFAULT_LIFETIME_MS)
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | str) or not _is_number(str(lifetime)):
        raise BadLogin("lifetime must be milliseconds")
    kinds = body.get("acceptCommandTypes")
    if kinds is None:
        kinds = [UPGRADES, INVOCATIONS]
    if not isinstance(kinds, list) or len(kinds) > 16 or not all(isinstance(kind, str) for kind in kinds):
        raise BadLogin("acceptCommandTypes must be a list")
    return Login(identity, sign, method, str(lifetime), frozenset(kinds))


def admit(t: Transaction, login: Login, certified: Identity | None, limits: Limits) -> HttpSession | None:
    """`certified`: whose live certificate the connection proved.  None: refused, and nobody is told why."""
    identity = login.identity
    device = registry.device(t, identity) if is_identity(identity) else None
    secret = _NOBODY if device is None or device.state == "revoked" else device.device_secret
    proven = hmac.compare_digest(login.sign.lower().encode("utf-8", "replace"), expected(login, secret).encode())
    if device is None or device.state == "revoked" or not proven:
        return None
    if certified is not None and certified != identity:
        return None
    product = registry.product(t, identity.product_key)
    if certified is None and not (product and product.allow_password_login):
        return None
    registry.note_proof(t, device)
    lifetime_s = min(max(int(login.lifetime) / 1000, 1.0), limits.http_session_s)
    return HttpSession(identity, lifetime_s, login.accepts, secret, certified is not None)


def still_stands(t: Transaction, session: HttpSession, certified: Identity | None) -> bool:
    """Asked at every request: device, policy and certificate may have changed meanwhile."""
    device = registry.device(t, session.identity)
    if device is None or device.state == "revoked" or device.device_secret != session.secret:
        return False
    if session.certified:
        return certified == session.identity
    product = registry.product(t, session.identity.product_key)
    return bool(product and product.allow_password_login)


def expected(login: Login, secret: str) -> str:
    product_key, device_key = login.identity
    text = f"deviceKey{device_key}lifetime{login.lifetime}productKey{product_key}signMethod{login.sign_method}{secret}"
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 12
