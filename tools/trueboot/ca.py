# SPDX-License-Identifier: MIT
"""The server's CA for its operator: what it is and has signed (asked of the server), and ceremonies with its keys.

A ceremony works on the state folder, with the server stopped: it holds the folder's lock meanwhile, and changes
nothing when it cannot be done.  The root's key is read from a file that may lie on a stick, and is never sent anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .api import DEFAULT_STATE, Api
from .keyfiles import Passwords, encrypted_pem, write_new
from .problem import Problem
from .tables import moment, show_facts, show_json, show_table

if TYPE_CHECKING:
    from cryptography import x509

    from trueboot_server.ca.ceremony import Ceremony


# Asked of the server


def show(api: Api, as_json: bool) -> None:
    facts = api.get("/api/v1/ca")
    if as_json:
        return show_json(facts)
    lines = [("root", _told(root)) for root in facts["roots"]]
    lines += [("root's key", "here" if facts["root_key_here"] else "kept elsewhere")]
    if facts["root_issues"]:
        lines += [("issuing", "the root itself")]
    else:
        lines += [("issuing", _told(facts["issuing"])), ("root's CRL", f"good until {moment(facts['root_crl_until'])}")]
    lines += [("former", _told(one)) for one in facts["former"]]
    if facts["new_root"]:
        lines += [("rotation", "a new root is being introduced: trueboot ca rotate-root finish")]
    show_facts(lines)


def _told(ca: dict[str, Any]) -> str:
    name = next((part[3:] for part in ca["name"].split(",") if part.startswith("CN=")), ca["name"])
    return f"{name}, until {moment(ca['not_after'])}, {ca['id']}"


def list_certificates(api: Api, device: str, as_json: bool) -> None:
    found, servers, before = [], [], 0
    while before is not None:
        page = api.get("/api/v1/certificates", params={"before": before, **({"device_key": device} if device else {})})
        found += page["certificates"]
        servers += page["server"]
        before = page["before"]
    if as_json:
        return show_json({"certificates": found, "server": servers})
    show_table(
        ("SERIAL", "HANDLE", "OF", "STATUS", "UNTIL", "REASON"),
        [(c["serial"], c["handle"], c["device_key"], *_state(c)) for c in found]
        + [(c["serial"], None, f"({c['kind']})", *_state(c)) for c in servers],
    )


def _state(certificate: dict[str, Any]) -> tuple[Any, ...]:
    return certificate["status"], moment(certificate["not_after"]), certificate["reason"]


def revoke(api: Api, serial: str, reason: str, as_json: bool) -> None:
    check_reason(reason)
    done = api.post(f"/api/v1/certificates/{_in_path(serial)}/revoke", {"reason": reason})
    if as_json:
        return show_json(done)
    show_facts(
        [
            ("serial", done["serial"]),
            ("of", done.get("device_key", done.get("kind"))),
            ("status", done["status"]),
            ("since", moment(done["revoked_at"])),
            ("reason", done["reason"]),
        ]
    )


def revoke_device(api: Api, device: dict[str, Any], reason: str, as_json: bool) -> None:
    check_reason(reason)
    path = f"/api/v1/devices/{device['product_key']}/{device['device_key']}/revoke"
    done = api.post(path, {"reason": reason})
    if as_json:
        return show_json(done)
    show_facts([("device", done["device_key"]), ("state", done["state"]), ("reason", reason)])


def check_reason(reason: str) -> None:
    from trueboot_server.ca.lists import REASONS

    if reason not in REASONS:
        raise Problem("usage", f"--reason {reason}: it is one of {', '.join(REASONS)}.")


def _in_path(serial: str) -> str:
    if not serial or not all(c in "0123456789abcdefABCDEFxX:" for c in serial):
        raise Problem("usage", f"{serial!r} is neither a serial number in hex nor a handle.", todo="trueboot ca ls")
    return serial


def crls(api: Api) -> bytes:
    """All that a TLS server's file of CRLs must hold, in PEM: of every CA that has issued, and of the root."""
    facts = api.get("/api/v1/ca")
    ids = [facts["issuing"]["id"], *(one["id"] for one in facts["former"])]
    parts = [api.request("GET", f"/ca/crl/{one}", headers={"Accept": "application/x-pem-file"}) for one in ids]
    return b"".join([*parts, api.request("GET", "/ca/root.crl")])


def issue_server(api: Api, names: list[str], folder: Path) -> dict[str, Any]:
    """key.pem, chain.pem and trusted.pem (to check clients by) in `folder`; the key is made here and stays here."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    made = api.post("/api/v1/ca/servers", {"names": names, "csr": csr.public_bytes(Encoding.PEM).decode()})
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problem("file_unusable", f"{folder} cannot be made.", error.strerror or str(error)) from None
    write_new(folder / "key.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    write_new(folder / "chain.pem", made["chain"].encode())
    write_new(folder / "trusted.pem", made["trusted"].encode())
    return {"serial": made["serial"], "not_after": made["not_after"], "folder": str(folder)}


# Ceremonies


@contextmanager
def ceremony(
    state: str, root_key: Path | None = None, passwords: Passwords | None = None, new: bool = False, lock: bool = True
) -> Iterator[Ceremony]:
    """On the state folder of --state, TRUEBOOT_STATE or ./trueboot-state.  Problem for whatever cannot be done."""
    from trueboot_server.ca.ceremony import Ceremony
    from trueboot_server.ca.files import Unusable
    from trueboot_server.errors import StartError
    from trueboot_server.state import State

    folder = State(Path(state or os.environ.get("TRUEBOOT_STATE", "") or DEFAULT_STATE))
    if not new and not folder.ca.exists():
        raise Problem("ca_unusable", f"There is no CA in {folder.path}.", "it holds no ca.pem", "Name it with --state.")
    try:
        if lock:
            folder.open()
        yield Ceremony(folder, root_key, passwords.for_file(root_key) if passwords and root_key else None)
    except StartError as error:
        raise Problem("state_in_use", why=str(error)) from None
    except Unusable as error:
        raise Problem("ca_unusable", why=str(error)) from None
    finally:
        folder.close()


def export_root_key(state: str, file: Path, password: bytes | None) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    with ceremony(state, lock=False) as work:
        key = work.export_root_key()
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    write_new(file, encrypted_pem(der, password), 0o600)


def tell_ca(certificate: x509.Certificate, what: str, as_json: bool) -> None:
    facts = {
        what: certificate.subject.rfc4514_string(),
        "not_after": certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if as_json:
        return show_json(facts)
    show_facts([(what, facts[what]), ("until", facts["not_after"])])
