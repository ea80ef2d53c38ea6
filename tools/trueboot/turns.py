# SPDX-License-Identifier: MIT
"""Signing in turn: a holder looks at what is to be signed, and adds a signature; and what a folder of keys stands for.

What may sign a file is said by metadata beside it or in the holder's folder: a root is judged by the root before it and
by itself, targets by the newest root, a bin by targets.  Rules kept: what a file rests on is verified first; a file that
is older than what was seen here is not signed; the holder is told what the file changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import published
from .keyfolder import KeyFolder, read_if_there
from .problem import Problem
from .published import file_name, parse, role_of, version_of
from .staging import Draft, Stage, keyids_of

if TYPE_CHECKING:
    from tuf.api.metadata import Metadata

SHOWN_KEYID = 12
_DAY = timedelta(days=1)


class Turn:
    """One file that is to be signed, and what it rests on."""

    def __init__(self, path: Path, keys: KeyFolder):
        self.path = path
        self.keys = keys
        self.role, self.version = role_of(path.name)
        if self.role in ("timestamp", "snapshot"):
            raise Problem("usage", f"{path} is not signed by people.", "the server signs timestamp and snapshot")
        data = read_if_there(path)
        if data is None:
            raise Problem("file_unusable", f"{path} does not exist.")
        self.data = data
        kind = self.role if self.role in ("root", "targets") else "targets"
        self.metadata = parse(data, kind)
        if self.metadata.signed.version != self.version:
            raise Problem("metadata_invalid", f"{path} cannot be used.", "its name says another version")
        self._roots = self._all("root")
        self._refuse_old()

    def judges(self) -> list[Metadata[Any]]:
        """Those whose keys count for this file, verified themselves."""
        if self.role == "root":
            if self.version == 1:
                return [self.metadata]
            before = self._roots.get(self.version - 1)
            if before is None:
                raise self._missing(file_name("root", self.version - 1))
            judge = parse(before, "root")
            published.verify(judge, "root", before)
            return [judge, self.metadata]
        root = self._newest_root()
        if self.role == "targets":
            return [root]
        found = self._all("targets")
        found.pop(self.version if self.role == "targets" else -1, None)
        if not found:
            raise self._missing("VERSION.targets.json")
        data = found[max(found)]
        published.verify(root, "targets", data)
        return [parse(data, "targets")]

    def sign(self) -> dict[str, Any]:
        """Add what signatures the keys here can give.  {"file", "role", "version", "signed_by", "lacking", "complete"}."""
        from trueboot_server.repo import signing
        from trueboot_server.state import write_atomically

        judges = self.judges()
        wanted = [keyid for judge in judges for keyid in keyids_of(judge, self.role)]
        signers = self.keys.signers(wanted)
        if not signers:
            raise Problem(
                "key_not_authorised",
                f"No key that is here may sign {self.path.name}.",
                f"it takes one of {', '.join(dict.fromkeys(keyid[:SHOWN_KEYID] for keyid in wanted))}",
                "Bring it: --key FILE, or --keys FOLDER.",
            )
        data = signing.add_signatures(self.data, signers)
        try:
            write_atomically(self.path, data)
        except OSError as error:
            raise Problem("file_unusable", f"{self.path} cannot be written.", error.strerror or str(error)) from None
        after = parse(data)
        states = [published.signatures(judge, self.role, after) for judge in judges]
        return {
            "file": str(self.path),
            "role": self.role,
            "version": self.version,
            "signed_by": [signer.public_key.keyid for signer in signers],
            "lacking": max(max(0, threshold - len(signed)) for signed, _, threshold in states),
            "complete": all(len(signed) >= threshold for signed, _, threshold in states),
        }

    def review(self) -> list[tuple[str, str]]:
        """What the file says, and what it changes, for the eyes of whoever signs it."""
        signed = self.metadata.signed
        facts = [("file", self.path.name), ("expires", f"{signed.expires:%Y-%m-%d}")]
        if self.role == "root":
            before = self._roots.get(self.version - 1)
            old = parse(before, "root").signed if before else None
            for role in ("root", "targets", "timestamp", "snapshot"):
                facts.append((role, _keys_told(signed.roles[role], old.roles[role] if old else None)))
            return facts
        known = self._all(self.role)
        earlier = [version for version in known if version < self.version]
        old = parse(known[max(earlier)], "targets").signed if earlier else None
        if signed.delegations is not None:
            for name, role in _delegated(signed):
                facts.append((name, _keys_told(role, dict(_delegated(old)).get(name) if old else None)))
        was = set(old.targets) if old else set()
        facts += [("adds", path) for path in sorted(set(signed.targets) - was)]
        facts += [("removes", path) for path in sorted(was - set(signed.targets))]
        same = was & set(signed.targets)
        facts += [("changes", path) for path in sorted(same) if old and old.targets[path] != signed.targets[path]]
        return facts

    def _places(self) -> list[Path]:
        """Where what a file rests on may lie; earlier ones win."""
        keys = self.keys
        return [keys.seen, keys.path, keys.staged / "metadata", self.path.parent, self.path.parent.parent.parent]

    def _all(self, role: str) -> dict[int, bytes]:
        """Version -> metadata of a role, wherever they lie."""
        found: dict[int, bytes] = {}
        for folder in self._places():
            for path in sorted(folder.glob(f"*.{file_name(role, 0)[2:]}")):
                number = path.name.partition(".")[0]
                if number.isdigit():
                    found.setdefault(int(number), read_if_there(path) or b"")
        return found

    def _newest_root(self) -> Metadata[Any]:
        if not self._roots:
            raise self._missing("1.root.json")
        newest = max(self._roots)
        root = parse(self._roots[newest], "root")
        published.verify(root, "root", self._roots[newest])
        if newest - 1 in self._roots:
            published.verify(parse(self._roots[newest - 1], "root"), "root", self._roots[newest])
        return root

    def _refuse_old(self) -> None:
        seen = published.read_seen(self.keys.seen, self.keys.read("1.root.json"))
        if seen is None:
            return
        every = {**seen.roles, "root": seen.roots[max(seen.roots)]}
        if seen.targets is not None:
            every["targets"] = seen.targets
        if self.role in every and version_of(every[self.role]) >= self.version:
            raise Problem(
                "metadata_rollback",
                f"{self.path.name} is not newer than what is published.",
                f"version {version_of(every[self.role])} was seen",
                "Do not sign it; make it anew on top of what is published: trueboot keys pull.",
            )

    def _missing(self, name: str) -> Problem:
        return Problem("context_missing", why=f"{name} lies neither beside {self.path} nor in {self.keys.path}")


def _delegated(signed: Any) -> list[tuple[str, Any]]:
    delegations = signed.delegations
    if delegations is None:
        return []
    if delegations.succinct_roles is not None:
        return [("release", delegations.succinct_roles)]
    return list((delegations.roles or {}).items())


def _keys_told(role: Any, old: Any) -> str:
    was = list(old.keyids) if old else list(role.keyids)
    told = [("" if keyid in was else "+") + keyid[:SHOWN_KEYID] for keyid in role.keyids]
    told += [f"-{keyid[:SHOWN_KEYID]}" for keyid in was if keyid not in role.keyids]
    return f"{role.threshold} of {len(role.keyids)}: {' '.join(told)}"


def overview(keys: KeyFolder, draft: Draft) -> dict[str, Any]:
    """What `keys show` tells: roles with keys and expiry, and what is staged."""
    here: dict[str, str] = {}
    for reference in keys.known():
        scheme_is_file = reference.uri.startswith("file:")
        path = keys.file_of(reference) if scheme_is_file else None
        here[reference.keyid] = reference.uri if path is None else str(path) if path.is_file() else ""
    roles = {}
    for role, (holder, book, data) in _holders(draft):
        roles[role] = {
            "threshold": holder.threshold,
            "expires": f"{min(expiry):%Y-%m-%dT%H:%M:%SZ}"
            if (expiry := [parse(d).signed.expires for d in data])
            else None,
            "days": -((datetime.now(UTC) - min(expiry)) // _DAY) if expiry else None,
            "keys": [
                {
                    "keyid": keyid,
                    "type": book[keyid].keytype if keyid in book else None,
                    "file": here.get(keyid) or None,
                }
                for keyid in holder.keyids
            ],
        }
    used = {key["keyid"] for role in roles.values() for key in role["keys"]}
    return {
        "folder": str(keys.path),
        "root": draft.root.signed.version,
        "roles": roles,
        "unused": [path for keyid, path in here.items() if keyid not in used and path],
        "staged": list(Stage(keys.staged).read()),
        "lacking": [lack._asdict() for lack in draft.lacking()],
    }


def _holders(draft: Draft) -> Iterator[tuple[str, tuple[Any, dict[str, Any], list[bytes]]]]:
    root = draft.root.signed
    every = {**draft.base.roots, **draft.roots}
    targets = draft.newest("targets")
    yield "root", (root.roles["root"], root.keys, [every[max(every)]])
    yield "targets", (root.roles["targets"], root.keys, [targets] if targets else [])
    if targets is not None and (signed := parse(targets, "targets").signed).delegations is not None:
        for name, role in _delegated(signed):
            yield name, (role, signed.delegations.keys, list(draft.bins.values()))
    yield "online", (root.roles["timestamp"], root.keys, [d for d in (draft.base.timestamp,) if d])
