# SPDX-License-Identifier: MIT
"""The three TLS contexts, which differ in one thing: what they ask of the client.

TLS 1.2 stays allowed, since MicroPython speaks nothing newer.  Revocation is not looked for here: a CRL loaded
into a live context is ignored, so the serial is looked up in the database at every connection.
"""

from __future__ import annotations

import ssl


def context(anchors: str, client: ssl.VerifyMode) -> ssl.SSLContext:
    """Without a certificate as yet: `load_cert_chain` gives it one, and later another, for the handshakes that follow."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.verify_mode = client
    if client != ssl.CERT_NONE:
        made.load_verify_locations(cadata=anchors)
    return made
