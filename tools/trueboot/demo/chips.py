# SPDX-License-Identifier: MIT
"""The demo with TPMs: a maker, a TPM for each device, what has to happen more, and that no private key is on a disk.

Looked for on a device's disk
  * private keys as files have them: PEM, PKCS #8 and SEC 1 in DER, JWK;
  * the number itself: each 32 bytes of what the key store has written are tried as the key;
  * and what there is instead, the TPM's blob, is given to another TPM, which must not load it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.errors import DeviceError

from ..problem import Problem
from . import swtpm
from .expect import Step

# PEM of any kind; ECPrivateKey (RFC 5915) and the PrivateKeyInfo (RFC 5958) around it; the private member of a JWK
PRIVATE = re.compile(
    rb"PRIVATE KEY-----|\x02\x01\x01\x04\x20.{32}|\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48|\"d\"\s*:\s*\"", re.S
)
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (SEC 2, 2.4.2)
LARGEST_BYTES = 64 * 1024  # of a file of the key store; there are only small ones


class Chips:
    def __init__(self, folder: Path):
        if lacking := swtpm.lacks():
            raise Problem(
                "tpm_missing",
                f"There is no TPM in software here: {lacking}.",
                todo=f"As root: {swtpm.APT}; then {swtpm.PIP}",
            )
        self._folder = folder
        self._maker = swtpm.Maker(folder / "tpm-maker")
        self._chips: dict[str, swtpm.Swtpm] = {}

    def give(self, device: str) -> None:
        self._chips[device] = swtpm.Swtpm(self._folder / "tpm" / device, self._maker).start()

    def config(self, device: str) -> dict[str, str]:
        """What the device's configuration says of its TPM."""
        return {"keys": "tpm", "tpm": self._chips[device].tcti}

    def trusted(self, server: Path, api: Any, product_key: str) -> None:
        """The server trusts this maker, and no key of the product's but in a TPM."""
        folder = server / "ek-roots"
        folder.mkdir(exist_ok=True)
        (folder / "demo-maker.pem").write_text(self._maker.roots())
        api.post(f"/api/v1/products/{product_key}/policy", {"attestation": "required"})

    def stop(self) -> None:
        for chip in self._chips.values():
            chip.stop()

    def findings(self, device: str, folder: Path) -> list[str]:
        found = [f"{path}: {what}" for path, what in private_keys(folder)]
        keys = folder / "state" / "keys"
        blobs = sorted(keys.glob("*.tpm"))
        if not blobs or [path for path in keys.iterdir() if path not in blobs]:
            found.append(f"{keys}: not just blobs of a TPM: {sorted(path.name for path in keys.iterdir())}")
        return found + self._elsewhere(device, keys, blobs)

    def _elsewhere(self, device: str, keys: Path, blobs: list[Path]) -> list[str]:
        from platform_adapters.keystores.tpm import TpmBackend
        from platform_adapters.keystores.tpm_link import Link

        other = swtpm.Swtpm(self._folder / "tpm" / f"{device}-other").start()
        self._chips[f"{device}-other"] = other
        backend, found = TpmBackend(keys, Link(other.tcti)), []
        for path in blobs:
            if holds_secret(path, backend.public(path.stem)):
                found.append(f"{path}: the private key itself is in it")
            try:
                backend.sign_digest(path.stem, bytes(32))
                found.append(f"{path}: another TPM signs with it")
            except DeviceError as error:
                if error.code != "tpm_swapped":
                    found.append(f"{path}: another TPM says {error}")
        backend.link.close()
        return found


def private_keys(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files below the folder that hold a private key as files have them."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and PRIVATE.search(path.read_bytes()):
            yield path, "a private key is in it"


def holds_secret(path: Path, point: bytes) -> bool:
    """Whether any 32 bytes of the file, as they are or out of its base64, are the private key of this public point."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    data = path.read_bytes()[:LARGEST_BYTES]
    blob = json.loads(data)
    for text in (data, base64.b64decode(blob["public"]), base64.b64decode(blob["private"])):
        for at in range(len(text) - 31):
            number = int.from_bytes(text[at : at + 32], "big")
            if 0 < number < ORDER:
                public = ec.derive_private_key(number, ec.SECP256R1()).public_key()
                if public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) == point:
                    return True
    return False


def on_device() -> list[Step]:
    """In place of the plain certificate: between the CSR and its certificate the TPM vouched for the key."""
    return [
        Step("key made in the TPM", "device", "identity.key_made"),
        Step("CSR sent", "device", "identity.csr_sent"),
        Step("the TPM vouched for the key", "device", "identity.attested"),
        Step("certificate stored", "device", "identity.certificate_stored"),
    ]


def at_server() -> list[Step]:
    return [
        Step("server: TPM bound to the device", "server", "device.tpm_bound", {}, ("ek",)),
        Step("server: certificate issued", "server", "certificate.issued"),
    ]
