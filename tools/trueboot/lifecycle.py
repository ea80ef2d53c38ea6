# SPDX-License-Identifier: MIT
"""A device's identity, on top of the operator's REST interface: register, replace, renew."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from .api import Api
from .fleet import find_device
from .problem import Problem
from .tables import moment, show_facts, show_json


def register(api: Api, name: str, product: str, ek: Path | None, as_json: bool) -> None:
    wanted = {"device_key": name, "product_key": product, "ek": fingerprint(ek) if ek else None}
    made = api.post("/api/v1/devices", {member: value for member, value in wanted.items() if value})
    _show(made, as_json)


def replace(api: Api, name: str, tpm_too: bool, as_json: bool) -> None:
    _show(api.post(_path(api, name) + "/replace", {"tpm_too": tpm_too}), as_json)


def renew(api: Api, name: str, as_json: bool) -> None:
    device = api.post(_path(api, name) + "/renew", {})
    if as_json:
        return show_json(device)
    certificate = device["certificate"] or {}
    show_facts(
        [
            ("device", f"{device['product_key']}/{device['device_key']}"),
            ("certificate", certificate.get("serial")),
            ("valid until", moment(certificate.get("not_after"))),
            ("now", "the device was asked, and renews"),
        ]
    )


def fingerprint(file: Path) -> str:
    """SHA-256, hex, of the SubjectPublicKeyInfo in a certificate or a public key, PEM or DER."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization as form

    try:
        data = file.read_bytes()
    except OSError as error:
        raise Problem("file_unusable", f"{file} cannot be read.", error.strerror or str(error)) from None
    pem = b"-----BEGIN" in data
    for read in (
        lambda: (x509.load_pem_x509_certificate if pem else x509.load_der_x509_certificate)(data).public_key(),
        lambda: (form.load_pem_public_key if pem else form.load_der_public_key)(data),
    ):
        try:
            key = read()
        except ValueError:
            continue
        spki = key.public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(spki).hexdigest()
    raise Problem("file_unusable", f"{file} holds no certificate and no public key.")


def _path(api: Api, name: str) -> str:
    found = find_device(api, name)
    return f"/api/v1/devices/{found['product_key']}/{found['device_key']}"


def _show(device: dict[str, Any], as_json: bool) -> None:
    if as_json:
        return show_json(device)
    show_facts(
        [
            ("device", f"{device['product_key']}/{device['device_key']}"),
            ("state", device["state"]),
            ("TPM", device["key"]["ek"]),
            ("device secret", device["device_secret"]),
            ("now", "its next start enrols it; a board without a product secret needs this device secret first"),
        ]
    )
