# SPDX-License-Identifier: MIT
"""The three TLS contexts, which differ in one thing: what they ask of the client.

TLS 1.2 stays allowed, since MicroPython speaks nothing newer.  Revocation is not looked for here: a CRL loaded
into a live context is ignored, so the certificate is looked up in the database at every connection: by its serial
number, and it has to be the very one, since whoever steals an issuing CA's key may make others with the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl

_SERIALS = 16_384
_serials: dict[bytes, str] = {}  # by SHA-256 of a certificate that a handshake proved: taking it apart is dear


def context(anchors: str, client: ssl.VerifyMode) -> ssl.SSLContext:
    """Without a certificate as yet: `load_cert_chain` gives it one, and later another, for the handshakes that follow."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.verify_mode = client
    # Nobody comes back to a session of before: each connection proves its key, and tickets cost more than they save.
    made.num_tickets = 0
    made.options |= ssl.OP_NO_TICKET
    if client != ssl.CERT_NONE:
        made.load_verify_locations(cadata=anchors)
    return made


def proven_certificate(transport: asyncio.BaseTransport | None) -> tuple[str | None, bytes]:
    """(serial number as the database spells it, DER) of the certificate whose key the handshake proved."""
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object") if transport else None
    der = tls.getpeercert(binary_form=True) if tls else None
    if tls is None or not der:
        return None, b""
    digest = hashlib.sha256(der).digest()
    serial = _serials.get(digest)
    if serial is None:
        certificate = tls.getpeercert()
        if not certificate:  # it was not asked for one
            return None, b""
        if len(_serials) >= _SERIALS:
            _serials.clear()
        serial = _serials[digest] = format(int(str(certificate["serialNumber"]), 16), "x")
    return serial, der
