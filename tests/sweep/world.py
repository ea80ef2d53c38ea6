# SPDX-License-Identifier: MIT
"""The release that the sweep installs, signed by python-tuf, as a file that both interpreters read."""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from tuf.api.metadata import TargetFile

from agent.crypto.verify import verify
from agent.trust.walk import Walk
from agent.wire import appimage

sys.path.insert(0, str(Path(__file__).parents[1] / "trust"))
from cases import NOW, PATH, Repository  # noqa: E402


def write(path: Path, rotated: bool = False) -> None:
    """With `rotated`, the online keys are new, and the device holds versions that somebody fast-forwarded with the old ones."""
    image = appimage.build({"main.py": b"version = 2\n" * 300, "lib/a.py": b"x = 1\n"})
    factory = appimage.build({"main.py": b"version = 1\n"})
    repository = Repository()
    repository.expires = datetime(2027, 1, 1, tzinfo=UTC)
    custom = {"kind": "app", "version": "1.1.0", "hardware": ["sim"], "security": 2}
    sha256 = hashlib.sha256(image).hexdigest()
    repository.targets.targets[PATH] = TargetFile(len(image), {"sha256": sha256}, PATH, {"custom": custom})
    trust = _fast_forwarded(repository) if rotated else {}
    if rotated:
        repository.rotate("timestamp")
        repository.rotate("snapshot")
    repository.publish()
    world = {
        "files": {name: data.hex() for name, data in repository.files.items()},
        "root": repository.pinned.hex(),
        "image": image.hex(),
        "factory": factory.hex(),
        "version": "1.1.0",
        "target": PATH,
        "now": NOW,
        "trust": {name: data.hex() for name, data in trust.items()},
    }
    path.write_text(json.dumps(world))


def _fast_forwarded(repository: Repository) -> dict[str, bytes]:
    """What a device has stored that saw version 9 of everything."""
    roles = (repository.timestamp, repository.snapshot, repository.targets)
    for role in roles:
        role.version = 9
    repository.publish()
    walk = Walk({"root": repository.pinned}, NOW, verify)
    while wanted := walk.wanted():
        walk.feed(repository.files.get(wanted[0]))
    for role in roles:
        role.version = 1
    repository.files.clear()
    return dict(walk.take())
