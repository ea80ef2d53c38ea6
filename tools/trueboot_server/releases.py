# SPDX-License-Identifier: MIT
"""The database's view of the published targets.

The repository is the truth; these rows are derived from it, after each publication and at every start, so a
cut between the two heals by itself.  A job whose release is gone is halted.
"""

from __future__ import annotations

import sqlalchemy as sa
from tuf.api.metadata import TargetFile

from .fleet import jobs, running
from .store import Transaction
from .store.schema import releases


def keep_releases(t: Transaction, files: dict[str, TargetFile]) -> None:
    known = {row.target: row for row in t.rows(sa.select(releases))}
    for path, file in sorted(files.items()):
        custom = file.unrecognized_fields["custom"]
        values = {
            "version": custom["version"],
            "sha256": file.hashes["sha256"],
            "length": file.length,
            "custom": custom,
        }
        running.note_signed(t, values["sha256"], values["version"], custom.get("security"))
        row = known.pop(path, None)
        if row is not None and all(getattr(row, name) == value for name, value in values.items()):
            continue
        if row is not None and row.sha256 != values["sha256"]:
            jobs.withdraw(t, path, row.sha256)
        t.execute(releases.delete().where(releases.c.target == path))
        t.execute(releases.insert().values(target=path, published_at=t.now, **values))
        t.event(
            "release.published", target=path, version=values["version"], sha256=values["sha256"], length=file.length
        )
    for path, row in known.items():
        t.execute(releases.delete().where(releases.c.target == path))
        t.event("release.withdrawn", target=path)
        jobs.withdraw(t, path, row.sha256)
