# SPDX-License-Identifier: MIT
"""What a server has stored, as a digest of each table: bad input must leave it as it was."""

import hashlib

import sqlalchemy as sa

NOT_STATE = {
    "events": None,  # None: the whole table; what is written down of what was asked is no state
    "audit": None,
    "version_samples": None,
    "devices": ("last_seen",),
    "operator_tokens": ("used_at",),
}


def digest(server):
    """{table: digest} of a ServerThread's database; see NOT_STATE."""
    return server.call(_digest)


def _digest(running):
    tables = {}
    with running.store.transaction() as t:
        names = [
            row.name for row in t.rows(sa.text("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"))
        ]
        assert "devices" in names and "events" in names
        for name in names:
            left_out = NOT_STATE.get(name, ())
            if left_out is None or name.startswith("sqlite_"):
                continue
            found = hashlib.sha256()
            for row in t.rows(sa.text(f'SELECT * FROM "{name}" ORDER BY rowid')):
                kept = {column: value for column, value in row._mapping.items() if column not in left_out}
                found.update(repr(kept).encode())
            tables[name] = found.hexdigest()
    return tables
