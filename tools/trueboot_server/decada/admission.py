# SPDX-License-Identifier: MIT
"""Who is let in: a decision over database rows, made before any session is looked at.

Listener with certificates: serial -> row -> identity, live and not revoked; user name and client id agree
with it; and the password proves the device secret.  Listener without: activation by product secret, for
device keys that are registered and whose secret was never used; sessions by device secret only where the
product allows them.  Where there is no TLS nothing is possible for other products: neither a proof that could be
repeated nor a secret is worth anything to who listens in.  See `mqtt.codec` for the codes.
"""

from __future__ import annotations

from typing import Any

from ..fleet import registry, replacement
from ..limits import Limits
from ..mqtt import codec
from ..mqtt.desk import Admitted, Peer, Refused
from ..names import Identity
from ..store import Transaction
from .login import DYNAMIC, STATIC, Login

_BAD_PROOF = Refused(codec.BAD_CREDENTIALS, "wrong secret")
_NEEDS_CERTIFICATE = Refused(codec.NOT_AUTHORISED, "the product requires certificates")


def activation_topic(identity: Identity) -> str:
    return f"/ext/session/{identity.product_key}/{identity.device_key}/thing/activate/info"


def decide(
    t: Transaction, peer: Peer, login: Login, password: bytes | None, limits: Limits, open_registration: bool
) -> Admitted | Refused:
    if peer.certified:
        return _with_certificate(t, peer, login, password, limits)
    if login.secure_mode == DYNAMIC:
        return _activation(t, peer, login, password, limits, open_registration)
    return _with_password(t, login, password)


def _with_certificate(
    t: Transaction, peer: Peer, login: Login, password: bytes | None, limits: Limits
) -> Admitted | Refused:
    certificate = registry.presented(t, peer.serial, peer.der)
    if certificate is None:
        return Refused(codec.NOT_AUTHORISED, "unknown certificate")
    if Identity(certificate.product_key, certificate.device_key) != login.identity:
        return Refused(codec.NOT_AUTHORISED, "the certificate is another device's")
    if not registry.is_live(certificate, t.now, limits):
        return Refused(codec.NOT_AUTHORISED, "the certificate is revoked or superseded")
    device = registry.standing(t, login.identity)
    if device is None or login.secure_mode != STATIC or not _proves(device, login, password):
        return _BAD_PROOF
    registry.note_proof(t, device)
    registry.note_use(t, certificate)
    replacement.settle_reflash(t, device)
    return Admitted(login.identity)


def _activation(
    t: Transaction, peer: Peer, login: Login, password: bytes | None, limits: Limits, open_registration: bool
) -> Admitted | Refused:
    identity = login.identity
    product = registry.product(t, identity.product_key)
    if product is None or not login.proven_by(password, product.product_secret):
        return _BAD_PROOF
    if not peer.encrypted and not product.allow_password_login:
        return _NEEDS_CERTIFICATE
    device = registry.device(t, identity)
    if device is None:
        if not open_registration:
            return Refused(codec.NOT_AUTHORISED, "the device key is not registered")
        if not registry.room_for_another(t, identity.product_key, limits):
            return Refused(codec.NOT_AUTHORISED, "the product is full")
        device = registry.register(t, identity)
    if device.state == "revoked":
        return Refused(codec.NOT_AUTHORISED, "the device is revoked")
    if device.secret_used_at is not None:
        replacement.note_reflash(t, identity, "activation")
        return Refused(
            codec.NOT_AUTHORISED, "the device has used its secret; it is not handed out again: trueboot device replace"
        )
    if device.state == "registered":
        registry.update(t, identity, state="activated")
        t.event("device.activated", identity)
    return Admitted(identity, activation=True, answers_on=activation_topic(identity) + "_reply")


def _with_password(t: Transaction, login: Login, password: bytes | None) -> Admitted | Refused:
    product = registry.product(t, login.identity.product_key)
    device = registry.device(t, login.identity)
    if product is None or not _proves(device, login, password):
        return _BAD_PROOF
    if not product.allow_password_login:
        return _NEEDS_CERTIFICATE
    registry.note_proof(t, device)
    return Admitted(login.identity, by_password=True)


def _proves(device: Any | None, login: Login, password: bytes | None) -> bool:
    if device is None or device.state == "revoked":
        return False
    return login.proven_by(password, device.device_secret)
