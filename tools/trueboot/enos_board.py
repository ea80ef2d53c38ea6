# SPDX-License-Identifier: MIT
"""EnOS's road for one board: a device, its secret, and a certificate for the key that the board has made.

The board keeps its private key and never sees the organisation's access key; what passes through here is its CSR.  Every
step may be repeated: a device is created when there is none, the same CSR gets the same certificate, and `device.json`,
written last and whole, is what says that all is there.  So whatever was cut off, the same command is given again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from .enos import KEY_EXISTS, Enos
from .keyfiles import write_new
from .problem import Problem

MAX_CSR_CHARS = 16 * 1024
DOCUMENT, CHAIN = "device.json", "device.pem"
REASONS = {
    "unspecified": 0,
    "keyCompromise": 1,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "certificateHold": 6,
    "privilegeWithdrawn": 9,
}
STATES = ("valid", "revoked", "expired")


class Csr(NamedTuple):
    pem: str
    key: Any
    is_rsa: bool


def read_csr(name: str) -> Csr:
    """Of a file, or of standard input for "-"; checked here as well, so that a wrong file is told at once."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import rsa

    try:
        pem = sys.stdin.read(MAX_CSR_CHARS + 1) if name == "-" else Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(
            "file_unusable", f"{name} cannot be read.", getattr(error, "strerror", "") or str(error)
        ) from None
    try:
        csr = x509.load_pem_x509_csr(pem.encode()) if len(pem) <= MAX_CSR_CHARS else None
        if csr is not None and csr.is_signature_valid:
            return Csr(pem, csr.public_key(), isinstance(csr.public_key(), rsa.RSAPublicKey))
    except (ValueError, UnsupportedAlgorithm):
        pass
    raise Problem("csr_unusable", f"{'Standard input' if name == '-' else name} holds no certificate request.")


def apply(enos: Enos, device: dict[str, str], csr: Csr, days: int = 0) -> dict[str, Any]:
    body: dict[str, Any] = {"csr": csr.pem} | _wishes(days, csr.is_rsa)
    return checked(enos.certificates("apply", device, body), csr.key)


def renew(enos: Enos, device: dict[str, str], number: str, csr: Csr | None, days: int = 0) -> dict[str, Any]:
    body: dict[str, Any] = {"certSn": int(number)} | ({"csr": csr.pem} if csr else {})
    # Which CA a certificate without a CSR came from, EnOS knows.
    return checked(enos.certificates("renew", device, body | _wishes(days, csr is None or csr.is_rsa)), csr and csr.key)


def _wishes(days: int, any_authority: bool) -> dict[str, Any]:
    """EnOS's default authority is RSA."""
    return ({"validDay": days} if days else {}) | ({} if any_authority else {"issueAuthority": "ECC"})


def checked(answer: Any, key: Any) -> dict[str, Any]:
    """`answer` with "chain" (PEM, leaf first, without the root) and "notAfter"; Problem unless it is for `key`."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        leaf = x509.load_pem_x509_certificate(answer["cert"].encode())
        above = x509.load_pem_x509_certificates(answer["caCert"].encode()) if answer.get("caCert") else []
        public = leaf.public_key()
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Problem("enos_answer", why="it holds no certificate") from None
    if key is not None and public != key:
        raise Problem("enos_answer", "EnOS's certificate is not for this key.", "it belongs to another request")
    chain = [leaf, *(one for one in above if one.subject != one.issuer and one != leaf)]
    return {
        **answer,
        "chain": "".join(one.public_bytes(Encoding.PEM).decode() for one in chain),
        "notAfter": leaf.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "certSN": str(answer.get("certSN", answer.get("certSn", ""))),
    }


def provision(
    enos: Enos, device: dict[str, str], csr: Csr, folder: Path, about: dict[str, Any], days: int
) -> dict[str, Any]:
    """What `device.json` holds, written to `folder`."""
    found = enos.get_device(device)
    if found is None:
        try:
            found = enos.create_device({**device, **about})
        except Problem as problem:
            if problem.server_code != str(KEY_EXISTS):  # somebody else was quicker, or our answer was lost
                raise
            found = enos.get_device(device) or {}
    secret = found.get("deviceSecret") or _earlier_secret(folder, device)
    if not secret:
        raise Problem("enos_no_secret", todo=f"If the board was erased: trueboot device replace {device['deviceKey']}")
    answer = apply(enos, device, csr, days)
    document = {
        "product_key": device["productKey"],
        "device_key": device["deviceKey"],
        "asset_id": found.get("assetId", ""),
        "device_secret": secret,
        "certificate": answer["chain"],
        "cert_sn": answer["certSN"],
        "not_after": answer["notAfter"],
    }
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    except OSError as error:
        raise Problem("file_unusable", f"{folder} cannot be made.", error.strerror or str(error)) from None
    write_new(folder / CHAIN, answer["chain"].encode(), force=True)
    write_new(folder / DOCUMENT, (json.dumps(document, indent=2) + "\n").encode(), 0o600, force=True)
    return document


def _earlier_secret(folder: Path, device: dict[str, str]) -> str:
    try:
        found = json.loads((folder / DOCUMENT).read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    mine = isinstance(found, dict) and found.get("device_key") == device["deviceKey"]
    mine = mine and found.get("product_key") == device["productKey"]
    secret = found.get("device_secret") if mine else ""
    return secret if isinstance(secret, str) else ""
