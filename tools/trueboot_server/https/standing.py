# SPDX-License-Identifier: MIT
"""How a certificate stands, for whoever knows its serial number: a device that is refused asks it of its own.

Rules kept:
- The answer is about the serial alone: no identity, no other certificate, no device.  Serials are random, so that they
  cannot be tried out; and askers are limited per address all the same.
- No client certificate is asked for: who was revoked has none that counts.  The answer is worth what the TLS session
  is worth, which the device verifies with its anchors.
- A certificate that a newer one pushed aside is "superseded", also where the CRL lists it: the device is not condemned.
"""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from ..ca import lists
from ..clock import iso
from ..errors import ApiError
from ..fleet import registry
from .parts import PARTS
from .request import address

_SERIAL = re.compile(r"[0-9A-Fa-f]{1,40}\Z")  # 20 octets (RFC 5280, 4.1.2.2)


def routes() -> list[web.RouteDef]:
    return [web.get("/ca/status/{serial}", standing)]


async def standing(request: web.Request) -> web.Response:
    parts = request.app[PARTS]
    if wait := parts.asked.wait_s(address(request)):
        seconds = str(int(wait) + 1)
        raise ApiError(429, "too_many_questions", "too many questions", f"Wait {seconds} s.", {"Retry-After": seconds})
    parts.asked.failed(address(request))
    given = request.match_info["serial"]
    if not _SERIAL.match(given):
        raise ApiError(400, "bad_serial", "that is no serial number", "Send 1 to 40 hexadecimal digits.")
    serial = format(int(given, 16), "x")
    with parts.store.transaction() as t:
        row = registry.certificate(t, serial)
        answer = {"serial": serial, **of_certificate(row, t.now), "time": t.now // 1000}
    return web.json_response(answer, headers={"Cache-Control": "no-store"})


def of_certificate(row: Any | None, now: int) -> dict[str, Any]:
    """`row` of certificates, None for a serial that was never issued; `now` in milliseconds."""
    told: dict[str, Any] = {"status": "good", "reason": "unspecified", "revoked_at": None}
    if row is None:
        told["status"] = "unknown"
    elif row.revoked_at is not None and row.reason != lists.SUPERSEDED:
        told.update(
            status="revoked",
            reason=lists.REASON_NAMES.get(row.reason or 0, "unspecified"),
            revoked_at=iso(row.revoked_at),
        )
    elif row.revoked_at is not None or row.superseded_at is not None:
        told.update(status="superseded", reason="superseded")
    elif row.not_after <= now:
        told["status"] = "expired"
    return told
