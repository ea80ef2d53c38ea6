# SPDX-License-Identifier: MIT
"""Private key files: made encrypted, opened with a password from the environment, a file or a person.

A key is PKCS#8 in PEM.  cryptography encrypts PKCS#8 with 2048 rounds of PBKDF2, which a thief's graphics card makes
short work of; here it is PBES2 with 600 000 rounds of PBKDF2-HMAC-SHA256 and AES-256-CBC, which it and OpenSSL read.
Files are complete or absent, 0600, and no key file is ever overwritten.  Source: RFC 8018, 6.2 and appendix A;
OWASP's password storage cheat sheet (rounds).
"""

from __future__ import annotations

import getpass
import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .problem import Problem

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, Key

ROUNDS = 600_000
KEY_TYPES = ("ecdsa", "ed25519", "rsa")
RSA_BITS = 3072
ENVIRONMENT = "TRUEBOOT_KEY_PASSWORD"
PASSWORD_FILE_MAX_BYTES = 4096
_TRIES = 3


def write_new(path: Path, data: bytes, mode: int = 0o644, force: bool = False) -> None:
    """A complete, durable file or none; without `force` never over another.  Problem when it cannot be written."""
    from trueboot_server.state import sync_folder

    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if force:
                os.replace(temporary, path)
            else:
                os.link(temporary, path)  # unlike rename, it fails when there is one
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    except FileExistsError:
        raise Problem("file_exists", f"{path} exists already.") from None
    except OSError as error:
        raise Problem("file_unusable", f"{path} cannot be written.", error.strerror or str(error)) from None


def check_type(key_type: str) -> None:
    if key_type not in KEY_TYPES:
        raise Problem("usage", f"--key-type {key_type}: it is one of {', '.join(KEY_TYPES)}.")


def make(path: Path, key_type: str, password: bytes | None) -> CryptoSigner:
    """A new private key in a new file, encrypted when there is a password."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from securesystemslib.signer import CryptoSigner

    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
    if key_type == "ecdsa":
        key = ec.generate_private_key(ec.SECP256R1())
    elif key_type == "ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    else:
        key = rsa.generate_private_key(65537, RSA_BITS)
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    write_new(path, encrypted_pem(der, password), 0o600)
    return CryptoSigner(key)


def encrypted_pem(der: bytes, password: bytes | None) -> bytes:
    """A private key (PKCS#8, DER) as a file holds it, encrypted when there is a password."""
    return _pem("ENCRYPTED PRIVATE KEY", _encrypted(der, password)) if password else _pem("PRIVATE KEY", der)


def _encrypted(der: bytes, password: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes, padding
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

    from agent.wire.der import integer, oid, sequence, tlv

    salt, vector = secrets.token_bytes(16), secrets.token_bytes(16)
    key = PBKDF2HMAC(hashes.SHA256(), 32, salt, ROUNDS).derive(password)
    padder, cipher = padding.PKCS7(128).padder(), Cipher(algorithms.AES256(key), modes.CBC(vector)).encryptor()
    contents = cipher.update(padder.update(der) + padder.finalize()) + cipher.finalize()
    null, octets = tlv(5), 4
    derivation = sequence(
        oid("1.2.840.113549.1.5.12"),
        sequence(tlv(octets, salt), integer(ROUNDS), sequence(oid("1.2.840.113549.2.9"), null)),
    )
    encryption = sequence(oid("2.16.840.1.101.3.4.1.42"), tlv(octets, vector))
    return sequence(
        sequence(oid("1.2.840.113549.1.5.13"), sequence(derivation, encryption)),
        tlv(octets, contents),
    )


def _pem(label: str, der: bytes) -> bytes:
    import base64

    text = base64.b64encode(der).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


class Passwords:
    """Where passwords come from: a file that was named, else TRUEBOOT_KEY_PASSWORD, else the person at the terminal."""

    def __init__(self, file: Path | None = None):
        self._given = _of_file(file) if file else os.environ.get(ENVIRONMENT, "").encode() or None
        self._known: list[bytes] = []

    def for_new(self) -> bytes:
        """The password of keys that are made now; a person types it twice."""
        if self._given:
            return self._given
        _need_terminal("new keys", " or leave them unencrypted with --no-password")
        first = _ask("Password for the new keys: ")
        if not first:
            raise Problem("password_missing", "The password is empty.", todo="Choose one, or say --no-password.")
        if _ask("The same again: ") != first:
            raise Problem("password_wrong", "The two passwords differ.", "they were typed for new keys")
        self._known.append(first)
        return first

    def for_file(self, path: Path) -> bytes | None:
        """The password of one key file; None when it needs none.  Whether it is right is seen when it is opened."""
        try:
            with path.open("rb") as file:
                encrypted = b"ENCRYPTED" in file.read(PASSWORD_FILE_MAX_BYTES)
        except OSError as error:
            raise Problem("file_unusable", f"{path} cannot be read.", error.strerror or str(error)) from None
        if not encrypted:
            return None
        if self._given is None:
            _need_terminal(str(path))
        return self._given or _ask(f"Password for {path}: ")

    def open(self, path: Path) -> CryptoSigner:
        """The signer of a private key file, whatever it takes to open it."""
        from trueboot_server.repo import signing

        tried = [self._given] if self._given else list(self._known)
        try:
            for password in (None, *tried):
                try:
                    return signing.load_signer(path, password)
                except signing.PasswordNeeded:
                    continue
            if self._given:
                raise Problem("password_wrong", f"The password does not open {path}.")
            _need_terminal(str(path))
            for _ in range(_TRIES):
                password = _ask(f"Password for {path}: ")
                try:
                    signer = signing.load_signer(path, password)
                except signing.PasswordNeeded:
                    continue
                self._known.append(password)
                return signer
        except signing.SigningError as error:
            raise Problem("key_unusable", why=str(error)) from None
        raise Problem("password_wrong", f"The password does not open {path}.", f"{_TRIES} were tried")


def load_public(path: Path) -> Key:
    """A public key, from a PEM file of either half (a private one without a password)."""
    from trueboot_server.repo import signing

    try:
        return signing.load_public(path)
    except (OSError, signing.SigningError) as error:
        raise Problem("key_unusable", why=str(error)) from None


def read_public(pem: bytes, source: str) -> Key:
    """A public key in PEM that came from elsewhere."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    try:
        return SSlibKey.from_crypto(load_pem_public_key(pem))
    except (ValueError, UnsupportedAlgorithm):
        raise Problem("key_unusable", why=f"what {source} gave is not a public key in PEM") from None


def _of_file(path: Path) -> bytes:
    try:
        data = path.read_bytes()[: PASSWORD_FILE_MAX_BYTES + 1]
    except OSError as error:
        raise Problem("file_unusable", f"{path} cannot be read.", error.strerror or str(error)) from None
    password = data.partition(b"\n")[0].rstrip(b"\r")
    if not password or len(data) > PASSWORD_FILE_MAX_BYTES:
        raise Problem("file_unusable", f"{path} holds no password.", "its first line is empty, or it is too long")
    return password


def _need_terminal(what: str, otherwise: str = "") -> None:
    if not sys.stdin.isatty():
        raise Problem(
            "password_missing",
            f"There is no password for {what}.",
            todo=f"Give it in {ENVIRONMENT} or with --password-file,{otherwise or ' or run this at a terminal'}.",
        )


def _ask(text: str) -> bytes:
    try:
        return getpass.getpass(text, sys.stderr).encode()
    except EOFError:
        raise Problem("password_missing", "No password was typed.") from None
