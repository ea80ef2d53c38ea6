# SPDX-License-Identifier: MIT
"""EnOS's three kinds of answers, and its error codes (enos-decada, 8.1 to 8.4).

The token service says `status`, the services say `code`, and the interface of 2018 says `status` beside `submsg`.  A
refusal is an answer with status 200: a client of 2018 raises on any other before it reads why.  What no client is meant
to read (too long, too many, our own fault) keeps its HTTP status.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

OK = 0

# Of the gateway and its token service
REPEATED = 1001
UNKNOWN_KEY = 1002
BAD_PROOF = 1003
BAD_PARAMETER = 1004
GATEWAY_FAILED = 1005
EMPTY_PARAMETER = 1202
TOKEN_EXPIRED = 1203
REFRESH_FAILED = 1204
TOO_MANY = 429

# Of the services
BAD_ARGUMENT = 99400
FAILED = 99500
NO_DEVICE = 11404
KEY_EXISTS = 11702
NO_KEY = 11714
PRODUCT_FULL = 11739
BOUND_TO_ANOTHER = 11833

NO_JOB = 24404
STARTED = 24615

_OF_THE_GATEWAY = range(1001, 1300)


class EnosError(Exception):
    """A refusal.  `guess`: it may have been an attempt to guess, and is counted as one."""

    def __init__(self, code: int, text: str, guess: bool = False):
        super().__init__(text)
        self.code = code
        self.text = text
        self.guess = guess


Answer = Callable[[int, str, Any], dict[str, Any]]


def of_tokens(code: int, text: str, data: Any) -> dict[str, Any]:
    return {"status": code, "msg": text if code else "SUCCESS", "business": "apim-token-service", "data": data}


def of_services(code: int, text: str, data: Any) -> dict[str, Any]:
    answer = {"code": code, "msg": text if code else "OK", "requestId": _number(), "data": data}
    # The gateway stands before the services, and its refusals have the form of the token service as well.
    return answer | ({"status": code} if code in _OF_THE_GATEWAY else {})


def of_2018(code: int, text: str, data: Any) -> dict[str, Any]:
    return {"status": code, "requestId": _number(), "submsg": "", "msg": text if code else "OK", "data": data}


def _number() -> str:
    return secrets.token_hex(8)
