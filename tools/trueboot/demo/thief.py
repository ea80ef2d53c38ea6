# SPDX-License-Identifier: MIT
"""The thief of the demo's last chapter: he has the server's disk and its online key, and no release key.

What he can do with them he does here, well: the release that everybody waits for gets his own image, its hash bin is
signed by a key of his, snapshot and timestamp by the server's stolen online key, and all of it is published by a server
program whose own check he took out.  For a device, one thing is wrong: nobody whom `targets` names has signed the bin.
(A server with --dev keeps release keys as well.  He leaves them alone: other servers refuse to hold any.)

    forge(state, path, image)                   on the server's disk, while the server is down
    python -m trueboot.demo.thief server ...    his server program
"""

from __future__ import annotations

import hashlib
from pathlib import Path


def forge(state: Path, path: str, image: bytes) -> None:
    """Put `image` in the place of the published target `path`, as far as the stolen keys go."""
    from tuf.api.metadata import Metadata, MetaFile, Snapshot, Targets, Timestamp

    from trueboot_server.repo import paths, published, signing

    repository, digest = state / "repo", hashlib.sha256(image).hexdigest()
    metadata, place = repository / "metadata", repository / "targets" / paths.stored_name(path, digest)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(image)

    stolen = signing.load_signer(state / "private" / "online.pem")
    own = signing.make_key(state / "thief.pem")  # he has no release key, so he makes himself one
    timestamp = Metadata[Timestamp].from_file(str(metadata / "timestamp.json"))
    snapshot = Metadata[Snapshot].from_file(
        str(metadata / published.file_name(timestamp.signed.snapshot_meta.version, "snapshot"))
    )

    def newest(role: str) -> bytes:
        return (metadata / published.file_name(snapshot.signed.meta[f"{role}.json"].version, role)).read_bytes()

    def write(role: str, version: int, data: bytes) -> MetaFile:
        (metadata / published.file_name(version, role)).write_bytes(data)
        return MetaFile(version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})

    # The bin: everything as it was, but for the image; signed by the thief, who is nobody to the devices.
    role = signing.role_for(newest("targets"), path)
    old: Metadata[Targets] = signing.read_targets(newest(role))
    custom = old.signed.targets[path].unrecognized_fields["custom"] | {"size": len(image)}
    data = signing.add_target(newest(role), path, len(image), digest, custom, [own])
    # Snapshot and timestamp name it, and are signed by the key that they need: it lay on the server.
    snapshot.signed.meta[f"{role}.json"] = write(role, old.signed.version + 1, data)
    snapshot.signed.version += 1
    number = snapshot.signed.version
    timestamp.signed.snapshot_meta = write("snapshot", number, signing.sign(snapshot, [stolen]))
    timestamp.signed.version += 1
    (metadata / "timestamp.json").write_bytes(signing.sign(timestamp, [stolen]))


def main() -> None:
    """The server, which would not start on metadata that nobody trusted has signed, without that check."""
    from trueboot_server.repo.reading import Reader

    from ..cli import main as trueboot

    Reader._vouched = lambda *_: None  # type: ignore[method-assign]
    trueboot()


if __name__ == "__main__":
    main()
