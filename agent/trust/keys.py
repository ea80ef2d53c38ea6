# SPDX-License-Identifier: MIT
"""Public keys of TUF metadata, as the port `verify` takes them.

A key that is unknown or malformed is no key: None, never an error, because a
repository may serve clients that know more (TUF specification 1.0.x, 4.2).
"""

from binascii import a2b_base64, unhexlify

# SubjectPublicKeyInfo of an uncompressed P-256 point: everything before its 65 bytes (RFC 5480, 2.1.1).
_P256 = b"0Y0\x13\x06\x07*\x86H\xce=\x02\x01\x06\x08*\x86H\xce=\x03\x01\x07\x03B\x00"


def public(key):
    """The bytes of a key object's public key, or None.

    ecdsa: uncompressed point, 65 bytes      ed25519: 32 bytes      rsa: SubjectPublicKeyInfo (DER)
    """
    try:
        kind, text = key["keytype"], key["keyval"]["public"]
        if kind == "ed25519":
            raw = unhexlify(text)
            return raw if len(raw) == 32 else None
        _, label, body, _ = text.split("-----", 3)
        der = a2b_base64(body) if label == "BEGIN PUBLIC KEY" else b""
        if kind == "rsa":
            return der or None
        if kind in ("ecdsa", "ecdsa-sha2-nistp256") and len(der) == 91 and der[:27] == _P256 + b"\x04":
            return der[26:]
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    return None
