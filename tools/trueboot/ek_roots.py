# SPDX-License-Identifier: MIT
"""The folder STATE/ek-roots: one PEM file a maker of TPMs, named after its certificate's SHA-256.

The server reads the folder at each attestation, so nothing has to be started anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .api import DEFAULT_STATE
from .problem import Problem
from .tables import moment, show_json, show_table

if TYPE_CHECKING:
    from cryptography import x509

_ID_CHARS = 16


def add(state: str, file: Path, as_json: bool) -> None:
    from trueboot_server.state import write_atomically

    found = _read(file)
    for certificate in found:
        _check_ca(certificate, file)
    folder = _folder(state)
    folder.mkdir(mode=0o755, exist_ok=True)
    for certificate in found:
        write_atomically(folder / f"{_id(certificate)}.pem", _pem(certificate))
    _show(found, as_json)


def show(state: str, as_json: bool) -> None:
    _show([one for file in sorted(_folder(state).glob("*.pem")) for one in _read(file)], as_json)


def remove(state: str, name: str, as_json: bool) -> None:
    file = _folder(state) / f"{name}.pem"
    if not name.isalnum() or not file.is_file():
        raise Problem("not_found", f"No maker {name} is trusted.", todo="List them: trueboot ca ek-root ls")
    file.unlink()
    show(state, as_json)


def _folder(state: str) -> Path:
    path = Path(state or os.environ.get("TRUEBOOT_STATE") or DEFAULT_STATE)
    if not path.is_dir():
        raise Problem("server_unknown", f"There is no state folder {path}.", todo="Give the server's with --state.")
    return path / "ek-roots"


def _read(file: Path) -> list[x509.Certificate]:
    from cryptography import x509

    try:
        data = file.read_bytes()
        if b"-----BEGIN" in data:
            return x509.load_pem_x509_certificates(data)
        return [x509.load_der_x509_certificate(data)]
    except OSError as error:
        raise Problem("file_unusable", f"{file} cannot be read.", error.strerror or str(error)) from None
    except (ValueError, x509.InvalidVersion):
        raise Problem("file_unusable", f"{file} holds no certificate.") from None


def _check_ca(certificate: x509.Certificate, file: Path) -> None:
    from cryptography import x509

    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        if constraints.ca:
            return
    except (ValueError, x509.ExtensionNotFound):
        pass
    raise Problem(
        "file_unusable", f"{file} holds a certificate that is no CA's.", todo="Give the maker's, not a TPM's."
    )


def _id(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives import hashes

    return certificate.fingerprint(hashes.SHA256()).hex()[:_ID_CHARS]


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _show(found: list[x509.Certificate], as_json: bool) -> None:
    makers = [
        {
            "id": _id(certificate),
            "name": certificate.subject.rfc4514_string(),
            "not_after": certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        for certificate in found
    ]
    if as_json:
        return show_json(makers)
    show_table(("ID", "NAME", "VALID UNTIL"), ((m["id"], m["name"], moment(m["not_after"])) for m in makers))
