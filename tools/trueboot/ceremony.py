# SPDX-License-Identifier: MIT
"""Changes of keys and of expiry: what they make of root, targets and bins.  All offline; `staging` publishes.

Roles as people know them: `root`; `targets`, which only says who may sign releases; `release`, the keys of all bins;
`online`, the server's key for snapshot and timestamp.  Rules kept: a key has one role; a new root is signed by the keys
of the old one and its own; whatever the new keys no longer vouch for is signed anew with them.
Source: TUF specification 1.0, 5.3 and 6.1 (key management).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .keyfiles import make, write_new
from .keyfolder import KeyFolder, Reference, table_of
from .problem import Problem
from .published import file_name, parse, signatures, version_of
from .staging import Draft

if TYPE_CHECKING:
    from securesystemslib.signer import Key
    from tuf.api.metadata import Delegations, Metadata, Root, Targets

ROLES = ("root", "targets", "release", "online")


def init(
    folder: Path,
    online: Key,
    password: bytes | None,
    key_type: str = "ecdsa",
    root_keys: int = 1,
    root_threshold: int = 1,
    holders: Iterable[Key] = (),
    bits: int = 5,
    root_days: int = 3650,
    targets_days: int = 365,
) -> dict[str, Any]:
    """A new folder of keys, complete or absent.  `holders` are others' root keys; they sign 1.root.json in turn."""
    from trueboot_server.repo import signing

    others = list(holders)
    if not 1 <= root_threshold <= root_keys + len(others):
        raise Problem("usage", f"--root-threshold {root_threshold}: there are {root_keys + len(others)} root keys.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Problem("keys_exist", f"{folder} is not empty.", "a folder of keys is made new, and keys are kept")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        growing = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise Problem("file_unusable", f"{folder} cannot be made.", error.strerror or str(error)) from None
    try:
        references, signers = [], {}
        roles = ["root"] * root_keys + ["targets", "release"]
        for number, role in enumerate(roles):
            count = roles[:number].count(role) + 1
            name = f"{role}.pem" if count == 1 else f"{role}-{count}.pem"
            signer = make(growing / name, key_type, password)
            signers[name] = signer
            references.append(Reference(role, f"file:{quote(name)}", signer.public_key.keyid))
        roots = [signer for name, signer in signers.items() if name.startswith("root")]
        targets, release = signers["targets.pem"], signers["release.pem"]
        root = signing.new_root(
            [*roots, *others], [targets.public_key], online, root_threshold, life=timedelta(days=root_days)
        )
        _check_apart(parse(root, "root"), None)
        write_new(growing / "1.root.json", root)
        write_new(
            growing / "1.targets.json",
            signing.new_targets([targets], [release.public_key], bit_length=bits, life=timedelta(days=targets_days)),
        )
        write_new(growing / "keys.json", table_of(references), 0o600)
        try:
            os.rename(growing, folder)
        except OSError as error:
            raise Problem("file_unusable", f"{folder} cannot be made.", error.strerror or str(error)) from None
    finally:
        shutil.rmtree(growing, ignore_errors=True)
    return {
        "folder": str(folder),
        "root_file": str(folder / "1.root.json"),
        "keyids": {
            "root": [key.keyid for key in (*(signer.public_key for signer in roots), *others)],
            "targets": [targets.public_key.keyid],
            "release": [release.public_key.keyid],
            "online": [online.keyid],
        },
    }


def make_pair(path: Path, key_type: str, password: bytes | None) -> tuple[str, Path]:
    """One more holder's key: PATH is private, PATH with .pub in place of .pem goes to the others.  (key id, its path)."""
    from trueboot_server.repo import signing

    public = path.with_suffix(".pub")
    if public.exists():
        raise Problem("file_exists", f"{public} exists already.")
    signer = make(path, key_type, password)
    write_new(public, signing.public_pem(signer))
    return signer.public_key.keyid, public


def keys_of(draft: Draft, role: str) -> tuple[list[str], int]:
    """(key ids, threshold) of a role as people know it."""
    holder = _holder(draft.root, draft.targets if role == "release" else None, role)
    return list(holder.keyids), holder.threshold


def change(
    draft: Draft,
    keys: KeyFolder,
    role: str,
    add: Iterable[Key] = (),
    remove: Iterable[str] = (),
    threshold: int | None = None,
    drop: Iterable[str] = (),
    root_days: int = 3650,
    targets_days: int = 365,
) -> None:
    """Other keys for a role: the next root or targets, and what has to be signed anew because of it."""
    life = timedelta(days=targets_days)
    if role == "release":
        targets = draft.next("targets", life)
        delegations = targets.signed.delegations
        if delegations is None:
            raise Problem("usage", "This repository has no release role.", "targets metadata name releases themselves")
        _change_release(delegations, add, remove, threshold)
        _check_apart(draft.root, targets)
        draft.sign("targets", targets, keys.signers(draft.keyids("targets")))
    else:
        root, before = draft.next_root(timedelta(days=root_days))
        for name in ("snapshot", "timestamp") if role == "online" else (role,):
            for key in add:
                root.signed.add_key(key, name)
            for keyid in remove:
                root.signed.revoke_key(keyid, name)
            root.signed.roles[name].threshold = threshold or root.signed.roles[name].threshold
        _check_threshold(root.signed.roles["root" if role == "root" else name])
        _check_apart(root, draft.targets if draft.newest("targets") else None)
        sign_root(draft, keys, root, before)
    sign_anew(draft, keys, life, drop)


def sign_root(draft: Draft, keys: KeyFolder, root: Metadata[Root], before: Metadata[Root]) -> None:
    signers = keys.signers([*before.signed.roles["root"].keyids, *root.signed.roles["root"].keyids])
    if not any(signer.public_key.keyid in before.signed.roles["root"].keyids for signer in signers):
        raise Problem("key_not_authorised", "No root key is here.", todo="Bring it: --key FILE, or --keys FOLDER.")
    draft.sign("root", root, signers)


def sign_anew(draft: Draft, keys: KeyFolder, life: timedelta, drop: Iterable[str] = ()) -> None:
    """What today's keys do not vouch for, and the roles that lose one of the targets `drop`."""
    if draft.newest("targets") is None:
        return
    unwanted = set(drop)
    for role in ("targets", *sorted(draft.bins)):
        data = draft.newest(role)
        metadata = parse(data, "targets") if data else None
        if metadata is None:
            continue
        has = unwanted & set(metadata.signed.targets)
        signed, _, threshold = signatures(draft.delegator(role), role, metadata)
        if len(signed) >= threshold and not has:
            continue
        following = draft.next(role, life)
        for path in has:
            del following.signed.targets[path]
        unwanted -= has
        draft.sign(role, following, keys.signers(draft.keyids(role)))
    if unwanted:
        raise Problem("release_unknown", f"No signed release is called {min(unwanted)}.")


def renew(draft: Draft, keys: KeyFolder, role: str, root_days: int = 3650, targets_days: int = 365) -> None:
    """The same content with a new expiry date; `release` means every bin."""
    life = timedelta(days=targets_days)
    if role == "root":
        sign_root(draft, keys, *draft.next_root(timedelta(days=root_days)))
        return
    for name in ("targets",) if role == "targets" else sorted(draft.bins):
        signers = keys.signers(draft.keyids(name))
        if not signers:
            raise Problem("key_not_authorised", f"No {role} key is here.", todo="Bring it: --key FILE.")
        draft.sign(name, draft.next(name, life), signers)


def catch_up(draft: Draft, keys: KeyFolder) -> None:
    """A staged change of the release keys, and releases published meanwhile: these are signed with the new keys too."""
    if "targets" in draft.roles and not any(lack.name == _name_of(draft, "targets") for lack in draft.lacking()):
        sign_anew(draft, keys, timedelta(days=365))


def check_releases(draft: Draft, paths: Iterable[str]) -> None:
    signed = {path for role in ("targets", *draft.bins) if (d := draft.newest(role)) for path in targets_in(d)}
    for path in paths:
        if path not in signed:
            raise Problem("release_unknown", f"No signed release is called {path}.")


def targets_in(role_md: bytes) -> list[str]:
    return list(parse(role_md, "targets").signed.targets)


def _name_of(draft: Draft, role: str) -> str:
    data = draft.newest(role)
    return file_name(role, version_of(data)) if data else ""


def to_replace(draft: Draft, keys: KeyFolder, role: str, named: str) -> str:
    """The key id that a rotation replaces: the one named (by its beginning), the role's only one, or the one that is here."""
    keyids, _ = keys_of(draft, role)
    if named:
        return the_one(keyids, named, role)
    if len(keyids) > 1:
        here = {reference.keyid for reference in keys.known()}
        keyids = [keyid for keyid in keyids if keyid in here] or keyids
    if len(keyids) != 1:
        told = ", ".join(keyid[:12] for keyid in keyids)
        raise Problem("usage", f"The {role} role has several keys.", f"they are {told}", "Name one: --replace KEYID.")
    return keyids[0]


def key_type_of(draft: Draft, role: str, keyid: str) -> str:
    """One of keyfiles.KEY_TYPES."""
    delegations = draft.targets.signed.delegations if role == "release" else None
    kind = (delegations.keys if delegations else draft.root.signed.keys)[keyid].keytype
    return "ecdsa" if kind.startswith("ecdsa") else kind  # older repositories have a longer word for it


def the_one(keyids: list[str], named: str, role: str) -> str:
    found = [keyid for keyid in keyids if keyid.startswith(named.lower())]
    if len(found) != 1:
        why = "none begins so" if not found else f"{len(found)} begin so"
        raise Problem("usage", f"{named} is not a key of the {role} role.", why, "See: trueboot keys show.")
    return found[0]


def _change_release(delegations: Delegations, add: Iterable[Key], remove: Iterable[str], threshold: int | None) -> None:
    roles = [delegations.succinct_roles] if delegations.succinct_roles else list((delegations.roles or {}).values())
    for role in roles:
        for key in add:
            delegations.keys[key.keyid] = key
            if key.keyid not in role.keyids:
                role.keyids.append(key.keyid)
        role.keyids[:] = [keyid for keyid in role.keyids if keyid not in set(remove)]
        role.threshold = threshold or role.threshold
        _check_threshold(role)
    used = {keyid for role in roles for keyid in role.keyids}
    for keyid in set(delegations.keys) - used:
        del delegations.keys[keyid]


def _holder(root: Metadata[Root], targets: Metadata[Targets] | None, role: str) -> Any:
    if role != "release":
        return root.signed.roles["timestamp" if role == "online" else role]
    delegations = targets.signed.delegations if targets else None
    if delegations is None:
        raise Problem("usage", "This repository has no release role.", "targets metadata name releases themselves")
    return delegations.succinct_roles or next(iter((delegations.roles or {}).values()))


def _check_threshold(role: Any) -> None:
    if not 1 <= role.threshold <= len(role.keyids):
        raise Problem(
            "usage",
            f"A threshold of {role.threshold} cannot be met by {len(role.keyids)} keys.",
            todo="Give another --threshold, or add a key first.",
        )


def _check_apart(root: Metadata[Root], targets: Metadata[Targets] | None) -> None:
    """A key with two roles gives whoever steals it both; above all the server's."""
    holders: dict[str, str] = {}
    for role in ROLES if targets is not None and targets.signed.delegations else ROLES[:2] + ROLES[3:]:
        for keyid in _holder(root, targets, role).keyids:
            if holders.setdefault(keyid, role) != role:
                raise Problem("usage", f"The key {keyid[:12]} has two roles.", f"they are {holders[keyid]} and {role}")
