# SPDX-License-Identifier: MIT
"""A certificate for a public key that a device has proven to hold: may it have one, and the issue of it.

Every road to a certificate ends here (EST, EnOS's REST, renewal), whatever proof it asked for.  Rules kept:

- A device secret certifies one public key; the same key again gets the same certificate while that has life left.
  A later key needs `later_key`: the caller has seen a proof by the last key, or an operator's order.
- A key belongs to one device, server-wide; a key that was compromised gets no certificate any more.
- What was cut off and is asked again gets the same answer: also a renewal, which names the certificate before it.
- Where the product requires it, the key was proven to be in the device's TPM (see `attestation`), whichever road led here.

Every function runs inside the caller's transaction.
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ..ca import Authority, lists
from ..errors import ApiError
from ..keyprint import keyprint
from ..limits import Limits
from ..names import Identity
from ..store import Transaction
from . import registry, replacement, tpms


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
    proven_by: Any | None = None,
    attested: tpms.Attested | None = None,
) -> Any:
    """The row of the device's certificate for `key`, issued now or before.  ApiError when it may have none.

    `life_s`: what was asked for, within the product's; `after`: the row of the one that it is to follow;
    `proven_by`: the row of the one whose key the caller has seen a proof by; `attested`: the TPM that holds the key.
    """
    device = registry.known_device(t, identity)
    product: Any = registry.product(t, identity.product_key)
    print_ = keyprint(key)
    if attested is None and _must_attest(product, device):
        raise ApiError(
            403,
            "attestation_required",
            "the product demands keys in a TPM, and a proof of it",
            "Enrol by /api/device/v1/attest.",
        )
    if device.key_thumbprint not in (None, print_) and not later_key:
        raise ApiError(
            403,
            "another_key",
            "this device secret has certified another public key",
            "If the board was erased on purpose: trueboot device replace, and give it the new secret.",
        )
    history = registry.key_history(t, identity, print_)
    if history.of_another:
        raise ApiError(403, "foreign_key", "this public key belongs to another device", "Make a key of its own.")
    proofs = registry.key_history(t, identity, proven_by.thumbprint) if proven_by is not None else history
    if lists.REASONS["keyCompromise"] in history.reasons | proofs.reasons:
        raise ApiError(403, "revoked_key", "this key was compromised", "Make a new one.")
    if attested is not None:
        tpms.bind(t, identity, attested)
    if proven_by is not None:
        registry.note_use(t, proven_by)
        replacement.settle_reflash(t, device)
    live = registry.live_certificates(t, identity, limits)
    for row in live:
        if row.thumbprint != print_ or row.superseded_at is not None or _ends_soon(row, t.now):
            continue
        if not _is_of(authority, row):
            continue  # what is answered beside it is the present CA's chain
        if (after is None or row.handle > after.handle) and (attested is None or row.attested):
            return row
    life_s = life_s or product.certificate_life_s or limits.certificate_life_s
    issued = authority.issue(identity, key, base_url, life_s)
    return registry.store_certificate(t, identity, print_, issued, limits, live, proven_by, attested is not None)


def _must_attest(product: Any, device: Any) -> bool:
    """`optional`: who is known to have a TPM has no way around it any more."""
    return product.attestation == "required" or (product.attestation == "optional" and device.ek is not None)


def _is_of(authority: Authority, row: Any) -> bool:
    """Whether the CA that issues now has signed it.  One of no known issuer is from when the root itself did."""
    issuer = authority.issuers[0]
    return bool(row.issuer == issuer.id or (row.issuer is None and issuer.is_root))


def _ends_soon(row: Any, now: int) -> bool:
    """In the last third of its own life, when devices renew."""
    return bool(row.not_after - now <= (row.not_after - row.issued_at) // 3)
