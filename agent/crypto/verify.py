# SPDX-License-Identifier: MIT
"""The port `verify` for boards: the same verdict as on every other platform, by P-256 alone.

Key types and schemes are TUF's words (TUF specification, 4.2).  What is not
known, or malformed in any way, is not a valid signature: False, never an error.
"""

import hashlib

from agent.crypto import p256
from agent.errors import RefusedError
from agent.wire import ecdsa

_KEY_TYPES = ("ecdsa", "ecdsa-sha2-nistp256")  # the latter is what older repositories write
_SCHEME = "ecdsa-sha2-nistp256"


def verify(key_type: str, scheme: str, public: bytes, message, signature: bytes) -> bool:
    """Whether `signature` (DER) is that of a message (or of a SHA-256 digest) by the point `public` (65 bytes)."""
    digest = message if isinstance(message, bytes) else message.sha256()
    if key_type not in _KEY_TYPES or scheme != _SCHEME:
        return False
    try:
        raw = ecdsa.signature_from_der(signature)
    except RefusedError:
        return False
    return p256.verify(public, digest, raw)


def verify_message(key_type: str, scheme: str, public: bytes, message: bytes, signature: bytes) -> bool:
    """The same for a message that fits into memory."""
    return verify(key_type, scheme, public, hashlib.sha256(message).digest(), signature)
