# SPDX-License-Identifier: MIT
"""The certificate authority.

`profiles` says what certificates look like, `files` what lies in the state folder, `authority` issues, `crl` and
`ocsp` tell what was revoked, `ceremony` changes the CA's own keys, and `csr` reads requests.
The CA signs; who may have a certificate is decided by `fleet.certify`.
"""

from .authority import Authority, Issued, serial_text
from .csr import MAX_CSR_DER_BYTES, BadRequest, certs_only, public_point

__all__ = [
    "MAX_CSR_DER_BYTES",
    "Authority",
    "BadRequest",
    "Issued",
    "certs_only",
    "public_point",
    "serial_text",
]
