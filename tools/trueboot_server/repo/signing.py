# SPDX-License-Identifier: MIT
"""Making and signing TUF metadata: for the command line and for tests, without a server.

Layout: `targets` holds no target itself; it delegates every path to hash bins (`bin-00` ...), all signed by the
release keys.  A bin is made when the first target falls into it, so that adding a release needs a release key only.
Roles with path patterns, one level below `targets`, are read as well.  All metadata are written compact with
sorted keys: boards read them with a small tokenizer.  Keys are P-256, Ed25519 or RSA (at least 2048 bits, PSS with
SHA-256) in PEM (PKCS#8, 0600, with a password or without); key ids are python-tuf's.

Source: TUF specification 1.0, sections 4.3 and 4.5; TAP 15 (succinct hash bins).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey
from tuf.api.metadata import Delegations, Metadata, Root, Snapshot, SuccinctRoles, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from .paths import check_custom

ROOT_LIFE = timedelta(days=3650)
TARGETS_LIFE = timedelta(days=365)
SPEC_VERSION = "1.0.31"
BIN_BITS = 5  # 32 bins: 200 releases make bins of some 3 KB, and a snapshot that a board still reads at once
BIN_PREFIX = "bin"
RSA_MIN_BITS = 2048

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)


class SigningError(Exception):
    """What is wrong with a key or with metadata, in one sentence."""


class PasswordNeeded(SigningError):
    """The key file is encrypted, and no password or a wrong one was given."""


# Keys


def make_key(path: Path, password: bytes | None = None) -> CryptoSigner:
    """A new P-256 key in a new file, encrypted when there is a password.  Never overwrites one."""
    private = ec.generate_private_key(ec.SECP256R1())
    encryption: KeySerializationEncryption = BestAvailableEncryption(password) if password else NoEncryption()
    data = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise SigningError(f"{path} exists; a key is never overwritten") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return CryptoSigner(private)


def load_signer(path: Path, password: bytes | None = None) -> CryptoSigner:
    """The signer of a private key file.  PasswordNeeded (a SigningError) when the password is missing or wrong."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SigningError(f"{path} cannot be read: {error.strerror or error}") from error
    encrypted = is_encrypted(data)
    if encrypted and not password:
        raise PasswordNeeded(f"{path} needs a password")
    try:
        key = load_pem_private_key(data, password if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if encrypted:
            raise PasswordNeeded(f"{path} does not open with this password") from error
        raise SigningError(f"{path} is not a private key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey):
        raise SigningError(f"{path} is not a P-256, Ed25519 or RSA key")
    _check_kind(path, key.public_key())
    return CryptoSigner(key)


def load_public(path: Path) -> Key:
    """The public half, from a public key file, or from a private one without a password."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SigningError(f"{path} cannot be read: {error.strerror or error}") from error
    if b"PRIVATE KEY" in data:
        return load_signer(path).public_key
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SigningError(f"{path} is not a public key in PEM") from error
    _check_kind(path, key)
    return SSlibKey.from_crypto(key)


def is_encrypted(pem: bytes) -> bool:
    return b"ENCRYPTED PRIVATE KEY" in pem or b"Proc-Type: 4,ENCRYPTED" in pem


def public_pem(signer: CryptoSigner) -> bytes:
    key = load_pem_private_key(signer.private_bytes, password=None)
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _check_kind(path: Path, key: Any) -> None:
    """SigningError for keys that devices do not verify."""
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= RSA_MIN_BITS:
        return
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise SigningError(f"{path} is not a P-256, Ed25519 or RSA key (of at least {RSA_MIN_BITS} bits)")


# Metadata


def new_root(
    root: Iterable[Signer | Key],
    targets: Iterable[Key],
    online: Key,
    root_threshold: int = 1,
    targets_threshold: int = 1,
    life: timedelta = ROOT_LIFE,
) -> bytes:
    """1.root.json, signed by the signers among `root`; of the others the public key is enough (they sign later).

    `online` is the server's key: it signs snapshot and timestamp.
    """
    holders = list(root)
    signed = Root(version=1, spec_version=SPEC_VERSION, expires=in_future(life), consistent_snapshot=True)
    for holder in holders:
        signed.add_key(holder.public_key if isinstance(holder, Signer) else holder, "root")
    for key in targets:
        signed.add_key(key, "targets")
    for role in ("snapshot", "timestamp"):
        signed.add_key(online, role)
    signed.roles["root"].threshold = root_threshold
    signed.roles["targets"].threshold = targets_threshold
    return sign(Metadata(signed), [holder for holder in holders if isinstance(holder, Signer)])


def new_targets(
    signers: Iterable[Signer],
    release_keys: Iterable[Key],
    threshold: int = 1,
    bit_length: int = BIN_BITS,
    life: timedelta = TARGETS_LIFE,
) -> bytes:
    """1.targets.json: no target, all paths delegated to 2**bit_length bins that the release keys sign."""
    keys = {key.keyid: key for key in release_keys}
    bins = SuccinctRoles(list(keys), threshold, bit_length, BIN_PREFIX)
    signed = Targets(
        version=1,
        spec_version=SPEC_VERSION,
        expires=in_future(life),
        delegations=Delegations(keys, succinct_roles=bins),
    )
    return sign(Metadata(signed), signers)


def role_for(targets_md: bytes, path: str) -> str:
    """The role that a new target at `path` belongs to: its bin, the first path pattern that matches, or "targets".

    SigningError when `targets` delegates, and no delegation covers the path.
    """
    delegations = read_targets(targets_md).signed.delegations
    if delegations is None:
        return "targets"
    for name, _ in delegations.get_roles_for_target(path):
        return name
    raise SigningError(f"no role may sign for {path}")


def add_target(
    role_md: bytes | None,
    path: str,
    length: int,
    sha256: str,
    custom: dict[str, Any],
    signers: Iterable[Signer],
    life: timedelta = TARGETS_LIFE,
) -> bytes:
    """The next version of a role's metadata, with one target more, signed; the first for None.

    BadTarget for a path or custom data that break the rules; SigningError for metadata that cannot be read.
    """
    check_custom(path, length, custom)
    metadata = _next(role_md, life)
    metadata.signed.targets[path] = TargetFile(length, {"sha256": sha256}, path, {"custom": custom})
    return sign(metadata, signers)


def remove_target(role_md: bytes, path: str, signers: Iterable[Signer], life: timedelta = TARGETS_LIFE) -> bytes:
    """The next version of a role's metadata without `path`.  SigningError when it is not in there."""
    metadata = _next(role_md, life)
    if metadata.signed.targets.pop(path, None) is None:
        raise SigningError(f"{path} is not in this role")
    return sign(metadata, signers)


def renew(role_md: bytes, signers: Iterable[Signer], life: timedelta = TARGETS_LIFE) -> bytes:
    """The next version with the same content and a new life: before it expires, or for new keys."""
    return sign(_next(role_md, life), signers)


def _next(role_md: bytes | None, life: timedelta) -> Metadata[Targets]:
    if role_md is None:
        return Metadata(Targets(version=1, spec_version=SPEC_VERSION, expires=in_future(life)))
    metadata = read_targets(role_md)
    metadata.signed.version += 1
    metadata.signed.expires = in_future(life)
    return metadata


def read(data: bytes, kind: type[T]) -> Metadata[T]:
    """Metadata of the role type `kind`, not verified.  SigningError when they are not."""
    try:
        metadata: Metadata[T] = Metadata[T].from_bytes(data)
    except (DeserializationError, ValueError, KeyError, RecursionError) as error:
        raise SigningError(f"not TUF {kind.type} metadata") from error
    if metadata.signed.type != kind.type:
        raise SigningError(f"not TUF {kind.type} metadata")
    return metadata


def read_targets(data: bytes) -> Metadata[Targets]:
    return read(data, Targets)


def sign(metadata: Metadata[Any], signers: Iterable[Signer]) -> bytes:
    """The bytes, signed by these and by nobody else."""
    metadata.signatures.clear()
    return _signed(metadata, signers)


def add_signatures(data: bytes, signers: Iterable[Signer]) -> bytes:
    """The same metadata with signatures more: where a threshold takes several people, each signs in turn."""
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
    except (DeserializationError, ValueError, KeyError, RecursionError) as error:
        raise SigningError("not TUF metadata") from error
    return _signed(metadata, signers)


def _signed(metadata: Metadata[Any], signers: Iterable[Signer]) -> bytes:
    for signer in signers:
        metadata.sign(signer, append=True)
    return to_bytes(metadata)


def to_bytes(metadata: Metadata[Any]) -> bytes:
    return metadata.to_bytes(JSONSerializer(compact=True))


def in_future(life: timedelta) -> datetime:
    return (datetime.now(UTC) + life).replace(microsecond=0)
