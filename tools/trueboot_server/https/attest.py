# SPDX-License-Identifier: MIT
"""A certificate for a key in a TPM: two steps beside EST, with the same proofs and the same answer.

    POST /api/device/v1/attest            the statement; the answer is what the TPM has to open
    POST /api/device/v1/attest/{session}  what it opened; the answer is that of simpleenroll

Proofs as in `proving`: the device's secret, or its live certificate.  After its certificates have ended, the secret is
enough for a later key when the TPM is the one that held the last key: nothing but that TPM opens the credential.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from aiohttp import web

from .. import csr
from ..attestation import BadAttestation, endorsement, statement
from ..attestation.credential import Credential
from ..errors import ApiError
from ..fleet import registry, tpms
from ..fleet.certify import certify
from ..names import Identity
from ..store import Transaction
from .est import issued
from .parts import PARTS, Parts
from .proving import BySecret, by_certificate, by_secret, unproven
from .request import address, read_object, refuse_guessing

_PATH = "/api/device/v1/attest"
_SECRET_CHARS = 256


def routes() -> list[web.RouteDef]:
    return [web.post(_PATH, begin), web.post(_PATH + "/{session}", finish)]


async def begin(request: web.Request) -> web.Response:
    parts = request.app[PARTS]
    proof = _proof(request, parts)
    body = await read_object(request)
    with parts.store.transaction() as t:
        identity, _ = _proven(t, request, parts, proof)
    try:
        name, credential = _begun(parts, identity, proof, body)
    except BadAttestation as error:
        with parts.store.transaction() as t:
            t.event("attestation.refused", identity, why=error.code)
        status = 400 if error.code == "attestation_unreadable" else 403
        raise ApiError(status, error.code, str(error), "docs/est.md names each check.") from error
    answer = {
        "session": name,
        "credential": base64.b64encode(credential.blob).decode(),
        "secret": base64.b64encode(credential.secret).decode(),
    }
    return web.json_response(answer, headers={"Cache-Control": "no-store"})


def _begun(parts: Parts, identity: Identity, proof: BySecret | str, body: dict[str, Any]) -> tuple[str, Credential]:
    told = statement.read(body)
    wanted = csr.read(told.csr)
    with parts.store.transaction() as t:
        key: Any = csr.key_for(t, identity, wanted)  # P-256: `read` takes nothing else
    if not parts.nonces.take(told.nonce):
        raise ApiError(401, "nonce_stale", "the nonce is not ours, was used, or is too old", "Ask for a new one.")
    checked = statement.check(told, identity, key, endorsement.roots(parts.ek_roots, parts.log))
    opened = parts.attestations.begin(identity, key, checked, proof)
    if opened is None:
        raise ApiError(
            503, "too_many_requests", "too many attestations are under way", "Wait 5 s.", {"Retry-After": "5"}
        )
    return opened


async def finish(request: web.Request) -> web.Response:
    parts = request.app[PARTS]
    refuse_guessing(request, parts)
    secret = _secret(await read_object(request))
    session = parts.attestations.take(request.match_info["session"])
    if session is None:
        parts.proofs.failed(address(request))
        raise ApiError(
            401,
            "attestation_session",
            "the session is unknown, was used, or is too old",
            "Begin the attestation again.",
        )
    if not session.opened_with(secret):
        parts.proofs.failed(address(request))
        with parts.store.transaction() as t:
            t.event("attestation.refused", session.identity, why="credential_wrong")
        raise ApiError(
            403,
            "credential_wrong",
            "the credential was not opened: endorsement and attestation key are not in one TPM",
            "Begin the attestation again.",
        )
    vouched = tpms.Attested(session.endorsement.ek, session.endorsement.facts)
    with parts.store.transaction() as t:
        identity, certificate = _proven(t, request, parts, session.proof)
        device = registry.known_device(t, identity)
        same_tpm = device.attested_at is not None and device.ek == vouched.ek
        row = certify(
            t,
            parts.authority,
            parts.limits,
            identity,
            session.key,
            parts.base_url,
            later_key=certificate is not None or same_tpm,
            proven_by=certificate,
            attested=vouched,
        )
    return issued(parts, row)


def _proof(request: web.Request, parts: Parts) -> BySecret | str:
    """The device's secret, or the serial number of the certificate that the connection proved."""
    if request.headers.get("Authorization"):
        return by_secret(request)
    with parts.store.transaction() as t:
        row = by_certificate(t, request, parts)
    if row is None:
        raise unproven("neither a device secret nor a live certificate proves the device")
    return str(row.serial)


def _proven(t: Transaction, request: web.Request, parts: Parts, proof: BySecret | str) -> tuple[Identity, Any | None]:
    """(whose, the certificate that proved it if it was one), as it is now."""
    if isinstance(proof, BySecret):
        proof.noted(t)
        return proof.identity, None
    row = registry.certificate(t, proof)
    if row is None or registry.live_device_of(t, proof, parts.limits) is None:
        raise unproven("the certificate was revoked meanwhile")
    return Identity(row.product_key, row.device_key), row


def _secret(body: dict[str, Any]) -> bytes:
    text = body.get("secret")
    try:
        if set(body) != {"secret"} or not isinstance(text, str) or len(text) > _SECRET_CHARS:
            raise ValueError
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(400, "attestation_unreadable", "the member must be secret, in base64") from error
