# SPDX-License-Identifier: MIT
"""The envelope of every message (enos-decada, 3), and the codes that this server answers with (6).

`id` is echoed as it came, and may be missing, as the platform's documents say; `method` and `version` are not looked
at, since real SDKs get them wrong.  What a message is about is told by its topic alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .. import strict_json

OK = 200
TOO_MANY = 429
BAD_PARAMETER = 460
NO_SUCH_TOPIC = 1009
BAD_JSON = 1220
EMPTY = 1251
REPORT_REJECTED = 1261  # ours
NO_SUCH_ATTEMPT = 1262  # ours
UNREADABLE = -1  # a reply's code that is no number

_MAX_ID_CHARS = 64


@dataclass(frozen=True, slots=True)
class Envelope:
    id: str | int
    params: Any
    code: int | None  # of a reply
    message: str
    data: Any
    skip_invalid: bool = False  # of a batch of measure points


class BadEnvelope(Exception):
    def __init__(self, code: int, text: str):
        super().__init__(text)
        self.code = code


def parse(payload: bytes) -> Envelope:
    if not payload:
        raise BadEnvelope(EMPTY, "empty payload")
    try:
        body = strict_json.loads(payload)
    except ValueError as error:
        raise BadEnvelope(BAD_JSON, "not JSON") from error
    if not isinstance(body, dict):
        raise BadEnvelope(BAD_JSON, "not a JSON object")
    number = body.get("id", "")
    if isinstance(number, bool) or not isinstance(number, str | int) or len(str(number)) > _MAX_ID_CHARS:
        raise BadEnvelope(BAD_JSON, "id must be a text")
    message = body.get("message")
    return Envelope(
        number,
        body.get("params"),
        _code(body.get("code")),
        message if isinstance(message, str) else "",
        body.get("data"),
        body.get("skipInvalidMeasurepoints") is True,
    )


def _code(value: Any) -> int | None:
    """None when there is none; what cannot be read must not pass for that."""
    if value is None:
        return None
    number = whole_number(value)
    return UNREADABLE if number is None else number


def request(number: str, method: str, params: Any) -> bytes:
    return _dump({"id": number, "version": "1.0", "method": method, "params": params})


def reply(number: str | int, code: int = OK, message: str = "", data: Any = None) -> bytes:
    return _dump({"id": number, "code": code, "message": message, "data": {} if data is None else data})


def whole_number(value: Any) -> int | None:
    """SDKs write numbers as texts, and the other way round."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and len(value) <= 12:
        try:
            return int(value)
        except ValueError:
            return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e12:
        return int(value)
    return value if isinstance(value, int) and abs(value) < 10**12 else None


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
