# SPDX-License-Identifier: MIT
"""A board's identity, seen from the bench: its place at the server, a certificate for the key that it has made, and the proof.

The private key stays on the chip.  What passes through here is the request, the certificate, and the device's secret on its
way from the server to the board; it is written to no file of this machine.  Every step may be repeated.
"""

from __future__ import annotations

import base64
import os
from typing import Any, NamedTuple

from ..api import Api
from ..problem import Problem
from .repl import Repl

PROOF_BYTES = 32
PROOF_TEXT = b"trueboot bench: I hold the key. "  # so that no signature over something else is ever asked for
MAX_CSR_CHARS = 16 * 1024


class Certified(NamedTuple):
    leaf: bytes  # DER
    chain: str  # PEM, leaf first
    serial: str
    fingerprint: str  # SHA-256 of the leaf


def secret_for(api: Api, product_key: str, device_key: str, replace: bool) -> str:
    """A device's secret, of a new device or of one that begins anew.  A device in use is left alone without `replace`."""
    found = known(api, product_key, device_key)
    if found is None:
        body = {"device_key": device_key, "product_key": product_key}
        try:
            return str(api.post("/api/v1/devices", body)["device_secret"])
        except Problem as problem:
            if problem.server_code != "device_exists":  # or the answer to an earlier try was lost
                raise
            found = known(api, product_key, device_key) or {}
    if not replace:
        refuse_in_use(found, device_key)
    return str(api.post(_path(product_key, device_key) + "/replace", {})["device_secret"])


def known(api: Api, product_key: str, device_key: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = api.get(_path(product_key, device_key))
        return found
    except Problem as problem:
        if problem.code != "not_found":
            raise
        return None


def refuse_in_use(device: dict[str, Any] | None, device_key: str) -> None:
    """One that the server has heard from is not taken over by a board that happens to have its name."""
    state = (device or {}).get("state")
    if device and state == "revoked":
        raise Problem("device_in_use", f"{device_key} is a revoked device.", "its name would be good again")
    if device and device.get("last_seen") and state != "registered":
        why = f"the server heard from it last at {device['last_seen']}"
        raise Problem("device_in_use", f"{device_key} is a device in use.", why)


def certify(api: Api, product_key: str, device_key: str, secret: str, request: str) -> Certified:
    """EST simpleenroll, as the device itself would do it (RFC 7030, 4.2.1)."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

    try:
        csr = x509.load_pem_x509_csr(request.encode()) if len(request) <= MAX_CSR_CHARS else None
    except ValueError:
        csr = None
    if csr is None or not csr.is_signature_valid:
        raise Problem("csr_unusable", "What the board sent is no certificate request.")
    proof = base64.b64encode(f"{device_key}:{secret}".encode()).decode()
    answer = api.request(
        "POST",
        f"/.well-known/est/{product_key}/simpleenroll",
        body=base64.encodebytes(csr.public_bytes(Encoding.DER)),
        headers={"Content-Type": "application/pkcs10", "Authorization": f"Basic {proof}"},
    )
    try:
        chain = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer))
        leaf = next(one for one in chain if one.public_key() == csr.public_key())
    except (ValueError, StopIteration):
        raise Problem("server_failed", "The server's certificate is not for this board's key.") from None
    rest = [one for one in chain if one is not leaf and one.subject != one.issuer]
    pem = "".join(one.public_bytes(Encoding.PEM).decode() for one in [leaf, *rest])
    return _certified(leaf, pem)


def check_read_back(repl: Repl, certified: Certified) -> None:
    if not bytes.fromhex(repl.ask("certificate")).startswith(certified.leaf):
        raise Problem("board_differs", "The certificate does not come back from the board as it was sent.")


def prove(repl: Repl, certified: Certified) -> None:
    """The board signs what nobody could foresee; the certificate's key must fit."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    message = PROOF_TEXT + os.urandom(PROOF_BYTES)
    key = x509.load_der_x509_certificate(certified.leaf).public_key()
    try:
        raw = bytes.fromhex(repl.ask(f"prove, {message.hex()!r}"))
        signature = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        assert isinstance(key, ec.EllipticCurvePublicKey) and len(raw) == 64
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError, AssertionError):
        raise Problem("key_unproven") from None


def on_board(repl: Repl, api: Api, product_key: str, device_key: str) -> Certified | None:
    """The certificate that a board of an earlier try holds, if the server still takes it for this device."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    held = bytes.fromhex(repl.ask("certificate"))
    if not held:
        return None
    try:
        leaf = x509.load_der_x509_certificate(_first(held))
        row = api.get(f"/api/v1/certificates/{leaf.serial_number:x}")
    except ValueError:
        return None
    except Problem as problem:
        if problem.code != "not_found":  # a server that is away is no reason to make another key
            raise
        return None
    if (row.get("status"), row.get("product_key"), row.get("device_key")) != ("good", product_key, device_key):
        return None
    return _certified(leaf, leaf.public_bytes(Encoding.PEM).decode())


def _first(chain: bytes) -> bytes:
    """The first DER element: 30 82 LL LL, as every certificate begins."""
    if len(chain) < 4 or chain[:2] != b"\x30\x82":
        raise ValueError("no certificate")
    return chain[: 4 + int.from_bytes(chain[2:4], "big")]


def _certified(leaf: Any, pem: str) -> Certified:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    return Certified(
        leaf.public_bytes(Encoding.DER), pem, f"{leaf.serial_number:x}", leaf.fingerprint(hashes.SHA256()).hex()
    )


def _path(product_key: str, device_key: str) -> str:
    return f"/api/v1/devices/{product_key}/{device_key}"
