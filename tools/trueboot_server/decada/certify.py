# SPDX-License-Identifier: MIT
"""A certificate for a public key that a device has proven to hold: may it have one, and the issue of it.

Every road to a certificate ends here (EST, EnOS's REST, renewal), whatever proof it asked for.  Rules kept:

- A device secret certifies one public key; the same key again gets the same certificate while that has life left.
  A later key needs `later_key`: the caller has seen a proof by the last key, or an operator's order.
- A key belongs to one device, server-wide.
- What was cut off and is asked again gets the same answer: also a renewal, which names the certificate before it.

Every function runs inside the caller's transaction.
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ..ca import Authority
from ..errors import ApiError
from ..keyprint import keyprint
from ..limits import Limits
from ..names import Identity
from ..store import Transaction
from . import registry


def certify(
    t: Transaction,
    authority: Authority,
    limits: Limits,
    identity: Identity,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    base_url: str,
    later_key: bool = False,
    life_s: int | None = None,
    after: Any | None = None,
) -> Any:
    """The row of the device's certificate for `key`, issued now or before.  ApiError when it may have none.

    `life_s`: what was asked for, within the product's; `after`: the row of the one that it is to follow.
    """
    device = registry.known_device(t, identity)
    print_ = keyprint(key)
    if device.key_thumbprint not in (None, print_) and not later_key:
        raise ApiError(
            403,
            "another_key",
            "this device secret has certified another public key",
            "A later key needs a proof by the earlier one, or an operator.",
        )
    if registry.key_of_another(t, identity, print_):
        raise ApiError(403, "foreign_key", "this public key belongs to another device", "Make a key of its own.")
    for row in registry.live_certificates(t, identity, limits):
        if after is not None and row.handle <= after.handle:
            continue
        # A renewal is due for the last third of its own life.
        if (
            row.thumbprint == print_
            and row.superseded_at is None
            and row.not_after - t.now > (row.not_after - row.issued_at) // 3
        ):
            return row
    issued = authority.issue(identity, key, base_url + "/ca/crl", life_s)
    registry.store_certificate(t, identity, print_, issued, limits)
    return registry.certificate(t, issued.serial)
