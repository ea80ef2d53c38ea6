# SPDX-License-Identifier: MIT
"""POST /api/v1/register: how devices of esthesis CORE come, and ours in its language.  See `esthesis.registration`.

One error format: {"errorMessage", "traceId"}.  A success is 200 and nothing else: esthesis's agent takes every other
number for a failure, and asks again.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from .. import csr, strict_json
from ..errors import ApiError
from ..esthesis import registration
from ..esthesis.paths import both
from ..fleet import registry
from ..fleet.certify import certify
from ..store import Transaction
from .parts import PARTS, Parts
from .request import address, read_body, refuse_guessing

ROAD = "/api/v1/register"
_RSA_BITS = 2048


def routes() -> list[web.RouteDef]:
    return [web.post(path, register) for path in both(ROAD)]


async def register(request: web.Request) -> web.Response:
    parts = request.app[PARTS]
    try:
        refuse_guessing(request, parts)
        refuse_haste(request, parts)
        body = strict_json.loads(await read_body(request, parts.limits.registration_body_bytes))
        if not isinstance(body, dict):
            raise registration.Refused(400, "the body is not a JSON object")
        asked = registration.parse(body)
        key = None if asked.csr else await asyncio.to_thread(rsa.generate_private_key, 65537, _RSA_BITS)
        return web.json_response(_registered(parts, asked, key), headers={"Cache-Control": "no-store"})
    except registration.Refused as refused:
        if refused.proof:
            parts.proofs.failed(address(request))
        return failure(refused.status, str(refused))
    except ValueError:
        return failure(400, "the body is not JSON")
    except ApiError as error:
        answer = failure(error.status, error.message, error.headers)
        if error.status in (408, 413):
            answer.force_close()  # the rest of the body is not worth reading
        return answer


def failure(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    body = {"errorMessage": message, "traceId": secrets.token_hex(16)}
    return web.json_response(body, status=status, headers={"Cache-Control": "no-store", **(headers or {})})


def refuse_haste(request: web.Request, parts: Parts) -> None:
    """Each registration may cost an RSA key."""
    if wait := parts.registrations.wait_s(address(request)):
        raise ApiError(
            429,
            "too_many_requests",
            "too many registrations from this address",
            "",
            {"Retry-After": str(int(wait) + 1)},
        )
    parts.registrations.failed(address(request))


def _registered(parts: Parts, asked: registration.Asked, key: rsa.RSAPrivateKey | None) -> dict[str, Any]:
    """`key`: made here, for a client that sent no request."""
    request = csr.read(_der(asked.csr)) if asked.csr is not None else None
    public: Any = request.key if request is not None else key.public_key() if key else None
    with parts.store.transaction() as t:
        product, identity = registration.admit(t, asked, parts.limits)
        device = registry.known_device(t, identity)
        if request is None:
            if not product.generated_keys:
                raise registration.Refused(500, "this product's devices make their own keys")
            if device.key_thumbprint is not None:
                raise registration.Refused(500, "the device is registered already")
        else:
            csr.key_for(t, identity, request)
        certificate = _certify(t, parts, identity, public)
    pem = lambda der: x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode()  # noqa: E731
    chain = [bytes(certificate.der), *parts.authority.chain_der()]
    spki = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return {
        "certificate": "".join(pem(der) for der in chain),
        "publicKey": spki,
        "privateKey": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode() if key else None,
        "mqttServer": parts.desk.mqtt_url,
        "provisioningUrl": parts.base_url,
        "rootCaCertificate": pem(parts.authority.roots_der()[0]),
        "productKey": identity.product_key,
        "deviceSecret": None,
    }


def _certify(t: Transaction, parts: Parts, identity: Any, public: Any) -> Any:
    try:
        return certify(t, parts.authority, parts.limits, identity, public, parts.base_url)
    except ApiError as error:
        if error.code in ("another_key", "foreign_key"):
            raise registration.Refused(500, "the device is registered already") from error
        raise


def _der(pem: str) -> bytes:
    lines = [line.strip() for line in pem.strip().splitlines()]
    if len(lines) < 3 or not lines[0].startswith("-----BEGIN") or "CERTIFICATE REQUEST" not in lines[0]:
        raise registration.Refused(400, "csr must be a PEM certificate request")
    return csr.from_base64("".join(lines[1:-1]))
