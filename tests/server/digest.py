# SPDX-License-Identifier: MIT
"""What a server has stored, as one digest: bad input must leave it as it was."""

import hashlib

import sqlalchemy as sa

NOT_STATE = {
    "events": None,
    "devices": ("last_seen",),
}  # None: the whole table; a line in the log of events is no state


def digest(server):
    """Of every table of a ServerThread's database, row by row; see NOT_STATE."""
    return server.call(_digest)


def _digest(running):
    found = hashlib.sha256()
    with running.store.transaction() as t:
        names = [
            row.name for row in t.rows(sa.text("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"))
        ]
        assert "devices" in names and "events" in names
        for name in names:
            left_out = NOT_STATE.get(name, ())
            if left_out is None or name.startswith("sqlite_"):
                continue
            for row in t.rows(sa.text(f'SELECT * FROM "{name}" ORDER BY rowid')):
                kept = {column: value for column, value in row._mapping.items() if column not in left_out}
                found.update(repr((name, kept)).encode())
    return found.hexdigest()
