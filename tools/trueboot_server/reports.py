# SPDX-License-Identifier: MIT
"""Boot reports: a signed statement (`jws`) whose claims have the shape that is agreed on.

Decides whether a text is a well-formed report, whose key it names, whether that key signed it, and whether
its claims have that shape.  Whether they prove anything is for `fleet.proof`.
"""

from __future__ import annotations

import re
from typing import Any

from . import jws
from .errors import RefusedReport

TYPE = "trueboot-report+jwt"
OUTCOMES = ("running", "updated", "rolled_back", "failed", "refused", "trial", "below_floor", "fell_back")
UNREADABLE = "unreadable"  # what a device says of an image that it cannot read
_COUNTER_MAX = 2**53 - 1  # what every JSON reader can hold exactly
_TEXT_CHARS = 256
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def parse(text: object, max_bytes: int) -> jws.Unverified:
    try:
        return jws.parse(text, TYPE, max_bytes)
    except jws.BadJws as error:
        raise RefusedReport(str(error)) from error


def verify(report: jws.Unverified, point: bytes) -> dict[str, Any]:
    """The claims, once the key with this uncompressed point has signed them."""
    try:
        return _claims(report.verified(point))
    except jws.BadJws as error:
        raise RefusedReport(str(error)) from error


def _claims(claims: dict[str, Any]) -> dict[str, Any]:
    for name in ("aud", "sub", "version", "slot", "measured"):
        if not _is_text(claims.get(name)) or not claims[name]:
            raise RefusedReport(f"{name} must be a text")
    for name in ("job", "nonce", "target_version"):
        if claims.get(name) is not None and not _is_text(claims[name]):
            raise RefusedReport(f"{name} must be a text or null")
    for name in ("boot", "seq", "floor"):
        value = claims.get(name)
        if type(value) is not int or not 0 <= value <= _COUNTER_MAX:
            raise RefusedReport(f"{name} must be a whole number")
    if claims.get("outcome") not in OUTCOMES:
        raise RefusedReport("outcome is unknown")
    image = claims.get("image")
    if not isinstance(image, str) or not (_SHA256.match(image) or image == UNREADABLE):
        raise RefusedReport("image must be a SHA-256 in lower-case hex")
    if not _is_text(claims.get("reason", "")):
        raise RefusedReport("reason must be a text")
    return claims


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _TEXT_CHARS and value.isprintable()
