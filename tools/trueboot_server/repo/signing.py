# SPDX-License-Identifier: MIT
"""Making and signing TUF metadata: for the command line and for tests, without a server.

All metadata are written compact with sorted keys: boards read them with a small tokenizer.  Keys are P-256
in PEM (PKCS#8, 0600); key ids are python-tuf's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey
from tuf.api.metadata import Metadata, Root, TargetFile, Targets
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from .paths import check_custom

ROOT_LIFE = timedelta(days=3650)
TARGETS_LIFE = timedelta(days=365)
SPEC_VERSION = "1.0.31"


class SigningError(Exception):
    """What is wrong with a key or with metadata, in one sentence."""


def make_key(path: Path) -> CryptoSigner:
    """A new P-256 key in a new file.  Never overwrites one."""
    signer = CryptoSigner.generate_ecdsa()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise SigningError(f"{path} exists; a key is never overwritten") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(signer.private_bytes)
        file.flush()
        os.fsync(file.fileno())
    return signer


def load_signer(path: Path) -> CryptoSigner:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, OSError) as error:
        raise SigningError(f"{path} is not a private key in PEM without a password") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SigningError(f"{path} is not a P-256 key")
    return CryptoSigner(key)


def load_public(path: Path) -> Key:
    """The public half, from a public or a private key file."""
    data = path.read_bytes()
    if b"PRIVATE KEY" in data:
        return load_signer(path).public_key
    try:
        return SSlibKey.from_crypto(load_pem_public_key(data))
    except ValueError as error:
        raise SigningError(f"{path} is not a public key in PEM") from error


def public_pem(signer: CryptoSigner) -> bytes:
    key = load_pem_private_key(signer.private_bytes, password=None)
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def new_root(
    root: Iterable[CryptoSigner],
    targets: Iterable[Key],
    online: Key,
    root_threshold: int = 1,
    targets_threshold: int = 1,
    life: timedelta = ROOT_LIFE,
) -> bytes:
    """1.root.json.  `online` is the server's key: it signs snapshot and timestamp."""
    signers = list(root)
    signed = Root(version=1, spec_version=SPEC_VERSION, expires=in_future(life), consistent_snapshot=True)
    for signer in signers:
        signed.add_key(signer.public_key, "root")
    for key in targets:
        signed.add_key(key, "targets")
    for role in ("snapshot", "timestamp"):
        signed.add_key(online, role)
    signed.roles["root"].threshold = root_threshold
    signed.roles["targets"].threshold = targets_threshold
    return sign(Metadata(signed), signers)


def new_targets(signers: Iterable[Signer], life: timedelta = TARGETS_LIFE) -> bytes:
    """1.targets.json, without a target."""
    return sign(Metadata(Targets(version=1, spec_version=SPEC_VERSION, expires=in_future(life))), signers)


def add_target(
    targets_md: bytes,
    path: str,
    length: int,
    sha256: str,
    custom: dict[str, Any],
    signers: Iterable[Signer],
    life: timedelta = TARGETS_LIFE,
) -> bytes:
    """The next version of targets.json, with one target more, signed; the first when nothing was signed before.

    BadTarget for a path or custom data that break the rules; SigningError for metadata that cannot be read.
    """
    check_custom(path, length, custom)
    metadata = read_targets(targets_md)
    file = TargetFile(length, {"sha256": sha256}, path, unrecognized_fields={"custom": custom})
    metadata.signed.targets[path] = file
    if metadata.signatures:
        metadata.signed.version += 1
    metadata.signed.expires = in_future(life)
    return sign(metadata, signers)


def read_targets(data: bytes) -> Metadata[Targets]:
    try:
        return Metadata[Targets].from_bytes(data)
    except (DeserializationError, ValueError, KeyError, RecursionError) as error:
        raise SigningError("not TUF targets metadata") from error


def sign(metadata: Metadata[Any], signers: Iterable[Signer]) -> bytes:
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    return to_bytes(metadata)


def to_bytes(metadata: Metadata[Any]) -> bytes:
    return metadata.to_bytes(JSONSerializer(compact=True))


def in_future(life: timedelta) -> datetime:
    return (datetime.now(UTC) + life).replace(microsecond=0)
