# SPDX-License-Identifier: MIT
"""Certificate requests as EnOS's clients send them: one PEM block, in the newer spelling or the older."""

from __future__ import annotations

import base64
import binascii
import re

from .answers import BAD_ARGUMENT, EnosError

# OpenSSL writes the first, older tools the second.
_BLOCK = re.compile(
    r"\s*-----BEGIN (NEW )?CERTIFICATE REQUEST-----\s([A-Za-z0-9+/=\s]+)-----END (NEW )?CERTIFICATE REQUEST-----\s*\Z"
)


def request_der(pem: object, max_chars: int) -> bytes:
    """The DER in a body's member `csr`; what it is worth is not looked at here."""
    if not isinstance(pem, str) or not pem.strip():
        raise EnosError(BAD_ARGUMENT, "invalid argument: csr is missing")
    found = _BLOCK.match(pem) if len(pem) <= max_chars else None
    if found is None or found[1] != found[3]:
        raise EnosError(BAD_ARGUMENT, "invalid argument: csr is not one PEM block CERTIFICATE REQUEST")
    try:
        return base64.b64decode("".join(found[2].split()), validate=True)
    except binascii.Error:
        raise EnosError(BAD_ARGUMENT, "invalid argument: csr is not base64") from None
