# SPDX-License-Identifier: MIT
"""A certificate for a public key that a device has proven to hold: may it have one, and the issue of it.

Every road to a certificate ends here (EST, EnOS's REST, renewal), whatever proof it asked for.  Rules kept:

- A device secret certifies one public key; the same key again gets the same certificate while that has life left.
  A later key needs `later_key`: the caller has seen a proof by the last key, or an operator's order.
- A key belongs to one device, server-wide.
- What was cut off and is asked again gets the same answer: also a renewal that names the certificate before it.

Every function runs inside the caller's transaction.
"""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..ca import Authority
from ..errors import ApiError
from ..jws import encode, thumbprint
from ..limits import Limits
from ..names import Identity
from ..store import Transaction
from . import registry

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


def certify(
    t: Transaction,
    authority: Authority,
    limits: Limits,
    identity: Identity,
    key: PublicKey,
    base_url: str,
    later_key: bool = False,
    proven_by: Any | None = None,
    life_s: int | None = None,
    after: Any | None = None,
) -> Any:
    """The row of the device's certificate for `key`, issued now or before.  ApiError when it may have none.

    `proven_by`: the row of the certificate whose key the caller has seen a proof by, if there was one.
    `life_s`: what was asked for, within the product's.  `after`: the row of the certificate that this one is to follow,
    although that has life left.
    """
    device = registry.known_device(t, identity)
    print_ = thumbprint_of(key)
    if device.key_thumbprint not in (None, print_) and not later_key:
        raise ApiError(
            403,
            "another_key",
            "this device secret has certified another public key",
            "If the board was erased on purpose: trueboot device replace, and give it the new secret.",
        )
    if registry.key_of_another(t, identity, print_):
        raise ApiError(403, "foreign_key", "this public key belongs to another device", "Make a key of its own.")
    if proven_by is not None:
        registry.note_use(t, proven_by)
    for row in registry.live_certificates(t, identity, limits):
        if after is not None and row.handle <= after.handle:
            continue
        if row.thumbprint == print_ and row.superseded_at is None and not _ends_soon(row, t.now):
            return row
    life_s = life_s or registry.certificate_life_s(t, identity.product_key, limits)
    issued = authority.issue(identity, key, base_url, life_s)
    registry.store_certificate(t, identity, print_, issued, limits, proven_by)
    return registry.certificate(t, issued.serial)


def thumbprint_of(key: PublicKey) -> str:
    """RFC 7638.  RSA is what EnOS's own tools bring; our profile for EST is P-256."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return thumbprint(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
    numbers = key.public_numbers()
    e, n = (encode(value.to_bytes((value.bit_length() + 7) // 8, "big")) for value in (numbers.e, numbers.n))
    return encode(hashlib.sha256(f'{{"e":"{e}","kty":"RSA","n":"{n}"}}'.encode()).digest())


def _ends_soon(row: Any, now: int) -> bool:
    """In its last third, when devices renew."""
    return bool(row.not_after - now <= (row.not_after - row.issued_at) // 3)
