# SPDX-License-Identifier: MIT
"""CONNECT in EnOS's spelling: who it is in client id and user name, the proof in the password.

Source: enos-decada, 2.  The password is a plain digest, in spite of the names, over sorted key-value pairs and
the secret.  Its timestamp is opaque (SDKs send the year 2050), so freshness rests on TLS.  Only SHA-256 is
accepted; hex case is not looked at; comparison takes constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from ..names import Identity, is_identity

STATIC, DYNAMIC = 2, 3  # securemode: proof by device secret, by product secret
_SIGN_METHODS = ("sha256", "hmacsha256")
_MAX_CHARS = 512
_FORM = re.compile(r"([^|]{1,256})\|([^|]{1,256})\|\Z")


class BadLogin(Exception):
    """Client id or user name break the form, or do not agree with each other."""


@dataclass(frozen=True, slots=True)
class Login:
    identity: Identity
    client: str  # what stands before the first "|", verbatim
    secure_mode: int
    timestamp: str

    def proven_by(self, password: bytes | None, secret: str) -> bool:
        expected = sign(self.client, self.identity, self.timestamp, secret).encode()
        return hmac.compare_digest((password or b"").lower(), expected)


def parse(client_id: str, username: str | None) -> Login:
    form = _FORM.match(client_id) if len(client_id) <= _MAX_CHARS else None
    if form is None:
        raise BadLogin("the client id has not the form id|securemode=..,signmethod=..,timestamp=..|")
    client, pairs = form[1], _pairs(form[2])
    device_key, _, product_key = (username or "").rpartition("&")
    identity = Identity(product_key, device_key)
    if not is_identity(identity):
        raise BadLogin("the user name has not the form deviceKey&productKey")
    if not _agrees(client, identity):
        raise BadLogin("client id and user name name different devices")
    if pairs.get("signmethod", "").lower() not in _SIGN_METHODS:
        raise BadLogin("signmethod must be sha256")
    timestamp = pairs.get("timestamp", "")
    if not 1 <= len(timestamp) <= 32:
        raise BadLogin("timestamp")
    mode = pairs.get("securemode", "")
    if mode not in ("2", "3"):
        raise BadLogin("securemode must be 2 or 3")
    return Login(identity, client, int(mode), timestamp)


def sign(client: str, identity: Identity, timestamp: str, secret: str) -> str:
    """The password, in lower-case hex."""
    text = f"clientId{client}deviceKey{identity.device_key}productKey{identity.product_key}timestamp{timestamp}{secret}"
    return hashlib.sha256(text.encode()).hexdigest()


def _pairs(text: str) -> dict[str, str]:
    pairs = {}
    for pair in text.split(","):
        name, equals, value = pair.strip().partition("=")
        if not equals or name in pairs:
            raise BadLogin("the client id's parameters")
        pairs[name] = value.strip()
    return pairs


def _agrees(client: str, identity: Identity) -> bool:
    # The C SDK puts the product key in front; the Java one adds remarks in braces, compression among them.
    product_key, device_key = identity
    if client in (device_key, f"{product_key}.{device_key}"):
        return True
    remarks = client.removeprefix(device_key)
    if remarks == client or not (remarks.startswith("{") and remarks.endswith("}")):
        return False
    return "compress=" not in remarks.replace("compress=DEFAULT", "")
