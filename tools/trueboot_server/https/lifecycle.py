# SPDX-License-Identifier: MIT
"""What an operator orders for a device's identity: begin anew (`replace`), renew."""

from __future__ import annotations

from aiohttp import web

from ..errors import ApiError
from ..names import Identity
from . import schemas as s
from .devices import find, shown_device
from .operations import OPERATE, operation
from .parts import Parts
from .request import only, read_object, require_admin

_ONE = "/api/v1/devices/{product_key}/{device_key}"
RENEW_SERVICE = "trueboot.renew"
_RENEW_TIMEOUT_S = 10.0


def routes() -> list[web.RouteDef]:
    return [web.post(_ONE + "/replace", replace), web.post(_ONE + "/renew", renew)]


@operation(
    OPERATE,
    "Begin a device's identity anew",
    s.both("Device", device_secret=s.text("told this once")),
    body=s.obj("", tpm_too=s.FLAG),
    refusals=(409,),
)
async def replace(request: web.Request) -> web.Response:
    """A board was erased or exchanged: the same device, with a new secret.  The answer holds it, for a bench.

    Repeated before the secret was used, it answers with the same one.
    """
    parts = require_admin(request)
    body = await read_object(request)
    only(body, "tpm_too")
    tpm_too = body.get("tpm_too", False)
    if not isinstance(tpm_too, bool):
        raise ApiError(400, "bad_parameter", "tpm_too must be true or false")
    with parts.store.transaction() as t:
        identity, _ = find(t, request)
    parts.desk.replace(identity, tpm_too)
    with parts.store.transaction() as t:
        _, row = find(t, request)
        return web.json_response({**shown_device(t, parts, identity), "device_secret": row.device_secret})


@operation(
    OPERATE,
    "Ask a device to renew its certificate",
    s.ref("Device"),
    body=s.obj(),
    refusals=(409, 503, 504),
)
async def renew(request: web.Request) -> web.Response:
    """Ask a connected device to renew its certificate: it says yes at once, and begins when no update is under way."""
    parts = require_admin(request)
    only(await read_object(request))
    with parts.store.transaction() as t:
        identity, _ = find(t, request)
    await ask_to_renew(parts, identity)
    with parts.store.transaction() as t:
        return web.json_response(shown_device(t, parts, identity))


async def ask_to_renew(parts: Parts, identity: Identity) -> None:
    """ApiError when the device is not there, or says no."""
    code, _, message = await parts.desk.commands.invoke(identity, RENEW_SERVICE, {}, _RENEW_TIMEOUT_S)
    if code != 200:
        raise ApiError(409, "renewal_declined", f"the device answered {code}: {message[:200]}", "Look at its log.")
    with parts.store.transaction() as t:
        t.event("device.renewal_asked", identity)
