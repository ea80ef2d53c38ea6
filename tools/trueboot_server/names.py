# SPDX-License-Identifier: MIT
"""Names of products and devices, and the identity made of both.

Letters, digits, "-", "_", "." (enos-decada, 1): none of them means anything in a topic, a path,
a user name or a certificate, so a checked name can be put into each of these as it is.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_KEY = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")

_HOST = re.compile(r"[A-Za-z0-9:]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9:])?\Z")

COMMON_NAME_CHARS = 64  # X.520 ub-common-name: "productKey/deviceKey" has to fit


class Identity(NamedTuple):
    """Who a device is.  Server-wide unique; sessions, certificates and rows all key on it."""

    product_key: str
    device_key: str

    @property
    def common_name(self) -> str:
        return f"{self.product_key}/{self.device_key}"


def is_key(text: object) -> bool:
    return isinstance(text, str) and _KEY.match(text) is not None and text not in (".", "..")


def is_identity(identity: Identity) -> bool:
    return (
        is_key(identity.product_key) and is_key(identity.device_key) and len(identity.common_name) <= COMMON_NAME_CHARS
    )


def is_host(text: object) -> bool:
    """A DNS name or an address, as far as its letters go."""
    return isinstance(text, str) and _HOST.match(text) is not None
