# SPDX-License-Identifier: MIT
"""The certificate roads of EnOS's interface of 2018, which enos-cert-tool speaks (enos-decada, 8.4, "Legacy endpoint").

The body of `apply` is a JSON text that holds the CSR.  The digest over it is SHA-1, by their choice; it proves a secret
inside TLS, names its time, and what it asks for may be repeated without harm.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from .. import strict_json
from ..enos import answers
from ..enos.access import readings
from ..enos.answers import EnosError
from ..fleet import registry
from ..names import Identity, is_identity
from .enos import ACCESS, answered, check_organisation
from .enos_certificates import apply, listed, revoke_one
from .parts import PARTS
from .request import read_body

_PATH = "/connectService/products/{product_key}/devices/{device_key}/certificates/"


def routes() -> list[web.RouteDef]:
    return [
        web.post(_PATH + "apply", answered(apply_for_one, answers.of_2018)),
        web.get(_PATH + "list", answered(show, answers.of_2018)),
        web.delete(_PATH + "revoke", answered(revoke, answers.of_2018)),
    ]


async def apply_for_one(request: web.Request) -> dict[str, Any]:
    body = await _signed_call(request)
    try:
        csr = strict_json.loads(body)
    except ValueError as error:
        raise EnosError(answers.BAD_ARGUMENT, "invalid argument: the body is not JSON") from error
    with request.app[PARTS].store.transaction() as t:
        identity, device = _find(t, request)
        return apply(t, request.app[PARTS], identity, device, {"csr": csr})


async def show(request: web.Request) -> list[dict[str, Any]]:
    await _signed_call(request)
    with request.app[PARTS].store.transaction() as t:
        identity, _ = _find(t, request)
        return listed(t, identity)


async def revoke(request: web.Request) -> None:
    await _signed_call(request)
    parts = request.app[PARTS]
    with parts.store.transaction() as t:
        identity, _ = _find(t, request)
    revoke_one(parts, identity, {"certSn": request.query.get("certSN", "")})


async def _signed_call(request: web.Request) -> bytes:
    body = await read_body(request, request.app[PARTS].limits.json_body_bytes)
    request.app[ACCESS].check_call_of_2018(readings(request.rel_url.raw_query_string), body)
    check_organisation(request)
    return body


def _find(t: Any, request: web.Request) -> tuple[Identity, Any]:
    identity = Identity(request.match_info["product_key"], request.match_info["device_key"])
    row = registry.device(t, identity) if is_identity(identity) else None
    if row is None:
        raise EnosError(answers.NO_DEVICE, "device not found")
    return identity, row
