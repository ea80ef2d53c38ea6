# SPDX-License-Identifier: MIT
"""Certificates over EnOS's REST: apply, renew, revoke, list (enos-decada, 8.4), for calls that the access key has signed.

The access key is an application's, not the operator's: it gets the certificate of a device's first key, the same again
after a cut, and a renewal for that key.  A later key needs what it needs everywhere: a proof by the earlier one (EST), or
the operator's `replace`.  Only the public key is taken from a CSR.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from .. import csr
from ..ca import lists
from ..enos import answers
from ..enos.answers import EnosError
from ..enos.pem import request_der
from ..errors import ApiError
from ..fleet import registry
from ..fleet.certify import certify
from ..limits import Limits
from ..names import Identity
from ..store import Transaction
from ..store.schema import certificates
from .enos import answered, find, read_object, signed_call
from .parts import PARTS, Parts

_PATH = "/connect-service/v2.0/certificates"
_DAY_S = 24 * 3600
_CURVE = "ECC"
VALID, REVOKED, EXPIRED = 0, 1, 2


def routes() -> list[web.RouteDef]:
    return [
        web.post(_PATH, answered(change, answers.of_services)),
        web.get(_PATH, answered(show, answers.of_services)),
    ]


async def change(request: web.Request) -> Any:
    body = await signed_call(request)
    acts = {"apply": _apply, "renew": _renew, "revoke": _revoke}
    act = acts.get(request.query.get("action", ""))
    if act is None:
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: action is apply, renew or revoke")
    return act(request, read_object(body))


async def show(request: web.Request) -> Any:
    await signed_call(request)
    if request.query.get("action") != "list":
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: action is list")
    with request.app[PARTS].store.transaction() as t:
        identity, _ = find(t, request)
        return listed(t, identity)


def _apply(request: web.Request, body: dict[str, Any]) -> dict[str, Any]:
    with request.app[PARTS].store.transaction() as t:
        identity, device = find(t, request)
        return apply(t, request.app[PARTS], identity, device, body)


def apply(t: Transaction, parts: Parts, identity: Identity, device: Any, body: dict[str, Any]) -> dict[str, Any]:
    """The answer's data.  EnosError or ApiError when there is no certificate to be had; then nothing has changed."""
    _check_authority(body)
    key = _key(t, parts, identity, body)
    _check_standing(device)
    life_s = _life_s(t, parts.limits, identity, body)
    row = certify(t, parts.authority, parts.limits, identity, key, parts.base_url, life_s=life_s)
    return _issued(parts, row)


def _renew(request: web.Request, body: dict[str, Any]) -> dict[str, Any]:
    parts = request.app[PARTS]
    with parts.store.transaction() as t:
        identity, device = find(t, request)
        _check_authority(body)
        _check_standing(device)
        old = by_handle(t, identity, body)
        if old.revoked_at is not None or old.not_after <= t.now:
            state = "has expired" if old.revoked_at is None else "is revoked"
            raise EnosError(answers.BAD_ARGUMENT, f"the certificate {state}: apply for a new one")
        key: Any = x509.load_der_x509_certificate(old.der).public_key()
        if body.get("csr"):
            key = _key(t, parts, identity, body)
        life_s = _life_s(t, parts.limits, identity, body)
        row = certify(t, parts.authority, parts.limits, identity, key, parts.base_url, life_s=life_s, after=old)
        return _issued(parts, row)


def _revoke(request: web.Request, body: dict[str, Any]) -> None:
    """The number is in the body; the documents have it in the query as well."""
    parts = request.app[PARTS]
    with parts.store.transaction() as t:
        identity, _ = find(t, request)
    numbers = {name: request.query[name] for name in ("certSn", "certSN") if name in request.query}
    revoke_one(parts, identity, numbers | body)


def revoke_one(parts: Parts, identity: Identity, body: dict[str, Any]) -> None:
    """A certificate that is revoked already stays as it is: the answer of a call that was cut off may be asked for again."""
    reason = body.get("reason", 0)
    if type(reason) is not int or reason not in lists.REASON_NAMES:
        raise EnosError(
            answers.BAD_ARGUMENT, f"invalid argument: reason is one of {', '.join(map(str, lists.REASON_NAMES))}"
        )
    with parts.store.transaction() as t:
        row = by_handle(t, identity, body)
    if row.revoked_at is None:
        parts.desk.revoke_serial(row.serial, reason)


def by_handle(t: Transaction, identity: Identity, body: dict[str, Any]) -> Any:
    """The row of one of this device's certificates, by EnOS's number of it."""
    text = str(body.get("certSn", body.get("certSN", "")))
    if isinstance(body.get("certSn"), bool) or not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: certSn is the number of a certificate")
    own = registry.is_device(certificates, identity)
    row = t.row(sa.select(certificates).where(*own, certificates.c.handle == int(text)))
    if row is None:
        raise EnosError(answers.BAD_ARGUMENT, "the device has no certificate with this number")
    return row


def listed(t: Transaction, identity: Identity) -> list[dict[str, Any]]:
    """Newest first."""
    own = registry.is_device(certificates, identity)
    rows = t.rows(sa.select(certificates).where(*own).order_by(certificates.c.handle.desc()))
    return [_shown(row, t.now) for row in rows]


def _shown(row: Any, now: int) -> dict[str, Any]:
    certificate = x509.load_der_x509_certificate(row.der)
    shown = {
        "certSN": str(row.handle),
        "cert": _pem(row.der),
        "certStatus": REVOKED if row.revoked_at is not None else EXPIRED if row.not_after <= now else VALID,
        "issuer": certificate.issuer.rfc4514_string(),
        "subject": certificate.subject.rfc4514_string(),
        "signDate": row.issued_at,
        "effectiveDate": int(certificate.not_valid_before_utc.timestamp() * 1000),
        "expireDate": row.not_after,
    }
    if row.revoked_at is not None:
        shown |= {"revoker": "", "revokerReason": str(row.reason or 0)}
    return shown


def _issued(parts: Parts, row: Any) -> dict[str, Any]:
    return {
        "certChainURL": parts.base_url + "/enos/CA/chain/" + _CURVE,
        "caCert": "".join(map(_pem, parts.authority.chain_der() or parts.authority.roots_der())),
        "cert": _pem(row.der),
        "certSN": str(row.handle),  # what clients read, as a text ...
        "certSn": row.handle,  # ... and what is documented
        "issueAuthority": _CURVE,
    }


def _pem(der: bytes) -> str:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode()


def _check_authority(body: dict[str, Any]) -> None:
    authority = body.get("issueAuthority")
    if authority is None or (isinstance(authority, str) and authority.upper() in ("", _CURVE)):
        return  # EnOS's default is RSA; whoever names none takes what there is
    if isinstance(authority, str) and authority.upper() == "RSA":
        raise EnosError(answers.BAD_ARGUMENT, "issueAuthority RSA: this server's CA is ECC; leave it out, or say ECC")
    raise EnosError(answers.BAD_ARGUMENT, "invalid argument: issueAuthority is ECC")


def _check_standing(device: Any) -> None:
    if device.state == "revoked":
        raise EnosError(answers.BAD_ARGUMENT, "the device is revoked; an operator may replace it")


def _key(t: Transaction, parts: Parts, identity: Identity, body: dict[str, Any]) -> csr.PublicKey:
    der = request_der(body.get("csr"), parts.limits.enos_csr_chars)
    wanted = csr.read(der, rsa_too=True)
    try:
        return csr.key_for(t, identity, wanted)
    except ApiError as error:
        raise EnosError(answers.BOUND_TO_ANOTHER, f"duplicate subject: {error.message} ({error.code})") from error


def _life_s(t: Transaction, limits: Limits, identity: Identity, body: dict[str, Any]) -> int:
    """What is asked for, in seconds; the CA's own end clips it later."""
    most = registry.certificate_life_s(t, identity.product_key, limits)
    days = body.get("validDay")
    if days in (None, ""):
        return most
    text = str(days)
    if isinstance(days, bool) or not (text.isascii() and text.isdigit() and 0 < int(text[:9]) and len(text) < 9):
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: validDay is a number of days from 1")
    if int(text) * _DAY_S > most:
        raise EnosError(answers.BAD_ARGUMENT, f"validDay {text} is more than the product's {most // _DAY_S}")
    return int(text) * _DAY_S
