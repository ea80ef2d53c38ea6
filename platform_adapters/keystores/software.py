# SPDX-License-Identifier: MIT
"""P-256 keys as files, for devices without a secure element; and the RSA key that a service made, where one is let in.

One PKCS #8 PEM file a label (see `keyfile`).  Whoever reads the folder has the
identity: docs/threat-model.md says so; `keystores/tpm.py` is the answer.
"""

from __future__ import annotations

import ssl
import stat
import tempfile
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from agent.crypto import rsa_sign
from agent.errors import DeviceError, MisuseError
from platform_adapters.keystores import keyfile


class SoftwareKeys:
    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def has(self, label: str) -> bool:
        return self.file(label).exists()

    def make(self, label: str) -> None:
        if self.has(label):
            return
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        keyfile.put(self.file(label), pem)

    def public(self, label: str) -> bytes:
        return (
            self._key(label)
            .public_key()
            .public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        )

    def sign(self, label: str, message: bytes) -> bytes:
        r, s = decode_dss_signature(self._key(label).sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def adopt(self, label: str, private: bytes) -> None:
        rsa_sign.read(private)  # which says what is wrong with it
        key = serialization.load_der_private_key(private, None)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        keyfile.put(self.file(label), pem)

    def sign_rsa(self, label: str, message: bytes) -> bytes:
        key = self._load(label)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise DeviceError("key_store", "%s is not an RSA key" % self.file(label))
        signed = key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        try:
            key.public_key().verify(signed, message, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            raise DeviceError("rsa_fault", "a signature came out wrong: it is not given away") from None
        return signed

    def drop(self, label: str) -> None:
        keyfile.remove(self.file(label))

    def attach(self, context: ssl.SSLContext, label: str, chain: list[bytes]) -> None:
        key = self.file(label)
        if not key.exists():
            raise MisuseError("no_key", "the key store has no key %r" % label)
        self._private(key)
        # OpenSSL takes file names only.  The key is a file already; the chain is public.
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write("".join(map(ssl.DER_cert_to_PEM_cert, chain)))
            file.flush()
            context.load_cert_chain(file.name, key)

    def tls_road(self) -> str:
        return "file"

    def file(self, label: str) -> Path:
        """Where the key is; it need not exist."""
        return keyfile.path(self.folder, label, ".pem")

    def _private(self, file: Path) -> None:
        """Whoever else could read it may have it already: that is for people to hear of, not to go on with."""
        try:
            mode = stat.S_IMODE(file.stat().st_mode)
        except OSError:
            return  # reading it will say more
        if mode & 0o077:
            text = "%s can be read by others (mode %03o): give the device a new key, or chmod 600 if nobody has read it"
            raise DeviceError("key_exposed", text % (file, mode))

    def _key(self, label: str) -> ec.EllipticCurvePrivateKey:
        key = self._load(label)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise DeviceError("key_store", "%s is not a P-256 key" % self.file(label))
        return key

    def _load(self, label: str) -> Any:
        self._private(self.file(label))
        try:
            return serialization.load_pem_private_key(self.file(label).read_bytes(), None)
        except FileNotFoundError:
            raise MisuseError("no_key", "the key store has no key %r" % label) from None
        except (OSError, ValueError) as error:
            raise DeviceError("key_store", "cannot read %s: %s" % (self.file(label), error)) from None
