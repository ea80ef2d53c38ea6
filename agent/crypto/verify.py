# SPDX-License-Identifier: MIT
"""The port `verify` for boards: the same verdict as on every other platform, by this package alone.

Key types and schemes are TUF's words (TUF specification, 4.2).  What is not
known, or malformed in any way, is not a valid signature: False, never an error.
A scheme's arithmetic is loaded when a key of it is met.
"""

import hashlib

from agent.errors import RefusedError

P256_TYPES = ("ecdsa", "ecdsa-sha2-nistp256")  # the latter is what older repositories write
P256 = "ecdsa-sha2-nistp256"


class Whole:
    """A message that is in memory as one piece of bytes; see `verify` for what a message is."""

    def __init__(self, data: bytes):
        self._data = data

    def sha256(self) -> bytes:
        return hashlib.sha256(self._data).digest()

    def emit(self, update) -> None:
        update(self._data)


def verify(key_type: str, scheme: str, public: bytes, message, signature: bytes) -> bool:
    """Whether `signature` is that of `message` by the key `public`.

    message: `sha256()` gives its digest, `emit(update)` calls `update(piece)` for all of its bytes, as often as asked.

        key type   scheme                  public                         signature
        "ecdsa"    "ecdsa-sha2-nistp256"   point, 65 bytes                DER
        "ed25519"  "ed25519"               32 bytes                       64 bytes
        "rsa"      "rsassa-pss-sha256"     SubjectPublicKeyInfo in DER    as long as the modulus
    """
    if key_type in P256_TYPES and scheme == P256:
        return verify_p256(public, message, signature)
    if key_type == "ed25519" and scheme == "ed25519":
        from agent.crypto import ed25519

        return ed25519.verify(public, message, signature)
    if key_type == "rsa" and scheme == "rsassa-pss-sha256":
        from agent.crypto import rsa

        return rsa.verify(public, message.sha256(), signature)
    return False


def verify_p256(point: bytes, message, signature: bytes, comb=None) -> bool:
    """The first of these; with the point's `comb` (see `p256_comb`) in half the time."""
    from agent.wire.signature import from_der

    try:
        raw = from_der(signature)
    except RefusedError:
        return False
    if comb is not None:
        from agent.crypto import p256_comb

        return p256_comb.verify(comb, message.sha256(), raw)
    from agent.crypto import p256

    return p256.verify(point, message.sha256(), raw)
