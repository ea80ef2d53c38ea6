# SPDX-License-Identifier: MIT
"""Bundles on the host: one file that carries published metadata and then one image, for sticks and for clouds that pass one file.

    trueboot-bundle 1
    LENGTH NAME        then LENGTH bytes; all roots from 2 on, timestamp.json, snapshot, targets, one bin,
    LENGTH target:PATH and last the image, which ends the file

Made from verified metadata alone.  `show` reads the form and judges nothing; `verify` is the device's own client
(`agent.trust`) over this file, so that what it says is what a device would say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from . import published
from .keyfolder import read_if_there
from .problem import Problem
from .published import Published, file_name, parse, version_of
from .releases import find

if TYPE_CHECKING:
    from .api import Api

MAGIC = b"trueboot-bundle 1\n"
TARGET = "target:"
METADATA_MAX_BYTES = 64 * 1024
_PIECE_BYTES = 64 * 1024
_NAME_MAX_BYTES = 160
_HEADER_MAX_BYTES = _NAME_MAX_BYTES + 16


def make(now: Published, release: str, image_of: Callable[[str], bytes]) -> tuple[bytes, dict[str, Any]]:
    """(the bundle, facts of it); `image_of` gives the bytes behind a stored target name.  Every hash is checked."""
    from trueboot_server.repo.paths import stored_name

    path, role = find(now, release)
    file = now.releases()[path][1]
    sha256 = file.hashes["sha256"]
    image = image_of(stored_name(path, sha256))
    if len(image) != file.length or hashlib.sha256(image).hexdigest() != sha256:
        raise Problem("bundle_invalid", f"The image of {path} is not the one that was signed.")
    if now.timestamp is None or now.snapshot is None or now.targets is None:
        raise Problem("release_unknown", "Nothing is published.")
    entries = {file_name("root", version): data for version, data in sorted(now.roots.items()) if version > 1}
    entries["timestamp.json"] = now.timestamp
    entries[file_name("snapshot", version_of(now.snapshot))] = now.snapshot
    entries[file_name("targets", version_of(now.targets))] = now.targets
    if role != "targets":
        entries[file_name(role, version_of(now.roles[role]))] = now.roles[role]
    size = sum(len(data) for data in entries.values())
    if size > METADATA_MAX_BYTES:
        raise Problem(
            "bundle_invalid",
            "The metadata are too large for a bundle.",
            f"they have {size} bytes, of {METADATA_MAX_BYTES} that a device takes",
        )
    entries[TARGET + path] = image
    data = MAGIC + b"".join(b"%d %s\n" % (len(body), name.encode()) + body for name, body in entries.items())
    return data, {"target": path, "sha256": sha256, "length": len(image), "entries": list(entries), "bytes": len(data)}


def entries_of(file: BinaryIO) -> Iterator[tuple[str, int, bytes]]:
    """(name, length, contents) in order; the image's contents are left to be read.  Problem for what is no bundle."""
    if file.read(len(MAGIC)) != MAGIC:
        raise Problem("bundle_invalid", why="it does not begin as a bundle does")
    metadata = 0
    while True:
        line = file.readline(_HEADER_MAX_BYTES + 1)
        if not line:
            raise Problem("bundle_invalid", why="it ends before its image")
        number, _, name = line.rstrip(b"\n").partition(b" ")
        if not line.endswith(b"\n") or not number.isdigit() or not 0 < len(name) <= _NAME_MAX_BYTES:
            raise Problem("bundle_invalid", why="an entry's first line is malformed")
        try:
            title = name.decode()
        except UnicodeDecodeError:
            raise Problem("bundle_invalid", why="an entry's name is not UTF-8") from None
        length = int(number)
        if title.startswith(TARGET):
            yield title, length, b""
            return
        metadata += length
        if metadata > METADATA_MAX_BYTES:
            raise Problem("bundle_invalid", why=f"its metadata have more than {METADATA_MAX_BYTES} bytes")
        body = file.read(length)
        if len(body) != length:
            raise Problem("bundle_invalid", why=f"it ends within {title}")
        yield title, length, body


def hash_image(file: BinaryIO, length: int) -> str:
    """SHA-256 of the image, in hex; it must be whole, and end the file."""
    digest, left = hashlib.sha256(), length
    while left:
        piece = file.read(min(left, _PIECE_BYTES))
        if not piece:
            raise Problem("bundle_invalid", why="it ends within its image")
        digest.update(piece)
        left -= len(piece)
    if file.read(1):
        raise Problem("bundle_invalid", why="something follows the image")
    return digest.hexdigest()


def describe(path: Path) -> dict[str, Any]:
    """What is inside, as it says itself; nothing of it is verified."""
    entries: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}
    signed: dict[str, Any] = {}
    with open_bundle(path) as file:
        for name, length, body in entries_of(file):
            entry: dict[str, Any] = {"name": name, "length": length}
            if name.startswith(TARGET):
                facts = {
                    "target": name.removeprefix(TARGET),
                    "length": length,
                    "sha256": hash_image(file, length),
                }
            else:
                metadata = parse(body).signed
                entry |= {"role": metadata.type, "version": metadata.version, "expires": f"{metadata.expires:%Y-%m-%d}"}
                signed |= getattr(metadata, "targets", {})
            entries.append(entry)
    named = signed.get(facts["target"])
    custom = named.unrecognized_fields.get("custom") if named else None
    return facts | {"custom": custom, "entries": entries}


def open_bundle(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise Problem("file_unusable", f"{path} cannot be read.", error.strerror or str(error)) from None


def from_server(api: Api, root: Path | None) -> tuple[Published, Callable[[str], bytes]]:
    anchor = read_if_there(root or Path(api.server.root_file)) if root or api.server.root_file else None
    found = published.load(lambda name: published.fetch(api, name), anchor)
    return _from_the_first(found, lambda name: published.fetch(api, name)), lambda name: api.request(
        "GET", f"/repo/targets/{name}"
    )


def from_folder(repository: Path, root: Path | None) -> tuple[Published, Callable[[str], bytes]]:
    """A repository on this machine: REPOSITORY/metadata and REPOSITORY/targets."""
    read = published.read_folder(repository / "metadata")
    found = published.load(read, read_if_there(root) if root else None)

    def image_of(name: str) -> bytes:
        data = read_if_there(repository / "targets" / name)
        if data is None:
            raise Problem("bundle_invalid", f"{repository} has no {name}.")
        return data

    return _from_the_first(found, read), image_of


def _from_the_first(found: Published, read: published.Read) -> Published:
    """All roots, also those before the one that was trusted: devices may hold an older one."""
    oldest = min(found.roots)
    for version in range(oldest - 1, 0, -1):
        data = read(file_name("root", version))
        if data is None:
            raise Problem("metadata_invalid", why=f"there is no {version}.root.json")
        published.verify(parse(data, "root"), "root", found.roots[version + 1])
        found.roots[version] = data
    return found
