# SPDX-License-Identifier: MIT
"""Signed statements of a device, as compact JWS: boot reports, and the request for a certificate after the last one's end.

Source: RFC 7515 (JWS, compact form), RFC 7518 3.4 (ES256), RFC 7638 (thumbprint).
The payload is signed as the bytes that are sent; nobody re-serialises it.
"""

import binascii
import hashlib
import json

REPORT_TYPE = "trueboot-report+jwt"
RENEWAL_TYPE = "trueboot-renewal+jwt"
QUERY_TYPE = "trueboot-query+jwt"


def base64url(data):
    """Without padding (RFC 7515, 2)."""
    text = binascii.b2a_base64(data).decode().strip()
    return text.rstrip("=").replace("+", "-").replace("/", "_")


def thumbprint(public):
    """RFC 7638 thumbprint of an uncompressed P-256 point, base64url."""
    members = '{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}' % (base64url(public[1:33]), base64url(public[33:65]))
    return base64url(hashlib.sha256(members.encode()).digest())


def report(claims, public, sign):
    """The compact JWS over `claims` (a dict of JSON values); `sign(message)` gives r and s, 64 bytes."""
    return _jws(REPORT_TYPE, claims, public, sign)


def renewal(claims, public, sign):
    """The same over aud, sub, the server's nonce and the CSR, by the key that was in use last."""
    return _jws(RENEWAL_TYPE, claims, public, sign)


def query(claims, public, sign):
    """The same over the server's nonce and what is asked: method, path, query, aud (the origin), sub; `iat` is advisory."""
    return _jws(QUERY_TYPE, claims, public, sign)


def _jws(kind, claims, public, sign):
    header = {"alg": "ES256", "typ": kind, "kid": thumbprint(public)}
    signed = base64url(json.dumps(header).encode()) + "." + base64url(json.dumps(claims).encode())
    return signed + "." + base64url(sign(signed.encode()))
