# SPDX-License-Identifier: MIT
"""The three TLS contexts, which differ in one thing: what they ask of the client.

TLS 1.2 stays allowed, since MicroPython speaks nothing newer.  Revocation is not looked for here: a CRL loaded
into a live context is ignored, so the serial is looked up in the database at every connection.
"""

from __future__ import annotations

import ssl
from pathlib import Path


def context(certificate: Path, key: Path, ca: Path, client: ssl.VerifyMode) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.load_cert_chain(certificate, key)
    made.verify_mode = client
    if client != ssl.CERT_NONE:
        made.load_verify_locations(ca)
    return made
