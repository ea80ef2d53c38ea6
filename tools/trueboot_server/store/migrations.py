# SPDX-License-Identifier: MIT
"""Numbered steps from an empty database to the present schema.

A step that was released is never edited: the next change is the next step.  The number that a database
has reached is the row `schema` of `meta`; a database from a newer server is refused, not guessed at.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, text


def _run(connection: Connection, statements: str) -> None:
    for statement in statements.split(";"):
        if statement.strip():
            connection.execute(text(statement))


_FIRST = """
CREATE TABLE products (
    product_key TEXT NOT NULL PRIMARY KEY, product_secret TEXT NOT NULL, allow_password_login BOOLEAN NOT NULL,
    claims_count BOOLEAN NOT NULL, created_at INTEGER NOT NULL);
CREATE TABLE devices (
    product_key TEXT NOT NULL, device_key TEXT NOT NULL, device_secret TEXT NOT NULL, state TEXT NOT NULL,
    secret_used_at INTEGER, key_thumbprint TEXT, claimed_version TEXT, claimed_at INTEGER, proven_version TEXT,
    proven_at INTEGER, image TEXT, slot TEXT, last_seen INTEGER, last_report JSON, created_at INTEGER NOT NULL,
    PRIMARY KEY (product_key, device_key),
    FOREIGN KEY (product_key) REFERENCES products (product_key));
CREATE TABLE certificates (
    serial TEXT NOT NULL PRIMARY KEY, product_key TEXT NOT NULL, device_key TEXT NOT NULL, thumbprint TEXT NOT NULL,
    der BLOB NOT NULL, not_after INTEGER NOT NULL, issued_at INTEGER NOT NULL, first_used_at INTEGER,
    superseded_at INTEGER, revoked_at INTEGER,
    FOREIGN KEY (product_key, device_key) REFERENCES devices (product_key, device_key));
CREATE INDEX certificates_device ON certificates (product_key, device_key);
CREATE INDEX certificates_key ON certificates (thumbprint);
CREATE TABLE reports (
    id INTEGER PRIMARY KEY AUTOINCREMENT, thumbprint TEXT NOT NULL, seq INTEGER NOT NULL, boot INTEGER NOT NULL,
    product_key TEXT NOT NULL, device_key TEXT NOT NULL, claims JSON NOT NULL, received_at INTEGER NOT NULL,
    UNIQUE (thumbprint, seq),
    FOREIGN KEY (product_key, device_key) REFERENCES devices (product_key, device_key));
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, product_key TEXT NOT NULL, target TEXT NOT NULL, version TEXT NOT NULL,
    sha256 TEXT NOT NULL, length INTEGER NOT NULL, max_failures INTEGER NOT NULL, state TEXT NOT NULL,
    created_at INTEGER NOT NULL, ended_at INTEGER);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, job_id INTEGER NOT NULL, product_key TEXT NOT NULL, device_key TEXT NOT NULL,
    nonce TEXT NOT NULL, state TEXT NOT NULL, settled BOOLEAN NOT NULL, pushes INTEGER NOT NULL, started_at INTEGER,
    step INTEGER, "desc" TEXT, reason TEXT, claimed_version TEXT, claimed_at INTEGER, proven_at INTEGER,
    report_id INTEGER, updated_at INTEGER NOT NULL,
    FOREIGN KEY (job_id) REFERENCES jobs (id),
    FOREIGN KEY (product_key, device_key) REFERENCES devices (product_key, device_key));
CREATE INDEX attempts_job ON attempts (job_id);
CREATE INDEX attempts_open ON attempts (product_key, device_key, settled);
CREATE UNIQUE INDEX attempts_one_open ON attempts (product_key, device_key) WHERE NOT settled;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, event TEXT NOT NULL, product_key TEXT,
    device_key TEXT, fields JSON NOT NULL);
CREATE TABLE releases (
    target TEXT NOT NULL PRIMARY KEY, version TEXT NOT NULL, sha256 TEXT NOT NULL, length INTEGER NOT NULL,
    custom JSON NOT NULL, published_at INTEGER NOT NULL);
CREATE TABLE points (
    product_key TEXT NOT NULL, device_key TEXT NOT NULL, point TEXT NOT NULL, value JSON NOT NULL,
    time INTEGER NOT NULL, PRIMARY KEY (product_key, device_key, point),
    FOREIGN KEY (product_key, device_key) REFERENCES devices (product_key, device_key));
"""


def _first(connection: Connection) -> None:
    _run(connection, _FIRST)


def _reason_of_a_halt(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE jobs ADD COLUMN reason TEXT"))


_WHAT_RUNS = """
ALTER TABLE devices ADD COLUMN reported_at INTEGER;
ALTER TABLE devices ADD COLUMN fell_back JSON;
UPDATE devices SET reported_at = proven_at;
CREATE TABLE images (
    sha256 TEXT NOT NULL, version TEXT NOT NULL, security INTEGER, PRIMARY KEY (sha256, version));
INSERT INTO images SELECT DISTINCT sha256, version, NULL FROM jobs;
"""


def _what_runs(connection: Connection) -> None:
    _run(connection, _WHAT_RUNS)


def _orders_of_a_job(connection: Connection) -> None:
    for name in ("retry", "downgrade"):
        connection.execute(text(f"ALTER TABLE jobs ADD COLUMN {name} BOOLEAN NOT NULL DEFAULT 0"))


_IDENTITY_FOR_LIFE = """
ALTER TABLE products ADD COLUMN attestation TEXT NOT NULL DEFAULT 'none';
ALTER TABLE products ADD COLUMN certificate_life_s INTEGER;
ALTER TABLE devices ADD COLUMN asset_id TEXT;
ALTER TABLE devices ADD COLUMN name JSON;
ALTER TABLE devices ADD COLUMN timezone TEXT;
ALTER TABLE devices ADD COLUMN attributes JSON;
ALTER TABLE devices ADD COLUMN license TEXT;
ALTER TABLE devices ADD COLUMN ek TEXT;
ALTER TABLE devices ADD COLUMN attested_at INTEGER;
ALTER TABLE devices ADD COLUMN tpm JSON;
ALTER TABLE devices ADD COLUMN reflashed_at INTEGER;
ALTER TABLE devices ADD COLUMN description TEXT;
ALTER TABLE devices ADD COLUMN tags JSON;
ALTER TABLE certificates ADD COLUMN reason INTEGER;
ALTER TABLE certificates ADD COLUMN handle INTEGER;
ALTER TABLE certificates ADD COLUMN issuer TEXT;
ALTER TABLE certificates ADD COLUMN attested BOOLEAN;
UPDATE devices SET asset_id = substr(lower(hex(randomblob(8))), 1, 8) || rowid;
UPDATE certificates SET handle = rowid;
CREATE UNIQUE INDEX devices_asset ON devices (asset_id);
CREATE UNIQUE INDEX certificates_handle ON certificates (handle);
CREATE INDEX certificates_revoked ON certificates (not_after) WHERE revoked_at IS NOT NULL;
CREATE TABLE own_certificates (
    serial TEXT NOT NULL PRIMARY KEY, kind TEXT NOT NULL, issuer TEXT NOT NULL, der BLOB NOT NULL,
    not_after INTEGER NOT NULL, issued_at INTEGER NOT NULL, revoked_at INTEGER, reason INTEGER);
"""


def _identity_for_life(connection: Connection) -> None:
    _run(connection, _IDENTITY_FOR_LIFE)


def _dialects(connection: Connection) -> None:
    _run(connection, "ALTER TABLE products ADD COLUMN dialect TEXT NOT NULL DEFAULT 'decada';")


_CAMPAIGNS = """
ALTER TABLE products ADD COLUMN auto_update TEXT NOT NULL DEFAULT 'off';
ALTER TABLE jobs ADD COLUMN kind TEXT NOT NULL DEFAULT 'job';
ALTER TABLE jobs ADD COLUMN name TEXT;
ALTER TABLE jobs ADD COLUMN plan JSON;
ALTER TABLE jobs ADD COLUMN wanted JSON;
ALTER TABLE jobs ADD COLUMN scope JSON;
ALTER TABLE jobs ADD COLUMN timeout_s INTEGER;
ALTER TABLE jobs ADD COLUMN start_at INTEGER;
ALTER TABLE jobs ADD COLUMN started_at INTEGER;
ALTER TABLE jobs ADD COLUMN phase INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN phase_at INTEGER;
ALTER TABLE jobs ADD COLUMN reached_at INTEGER;
ALTER TABLE jobs ADD COLUMN paused_at INTEGER;
ALTER TABLE jobs ADD COLUMN firmware_id INTEGER;
ALTER TABLE jobs ADD COLUMN enos JSON;
UPDATE jobs SET started_at = created_at, phase_at = created_at;
CREATE INDEX jobs_state ON jobs (state);
CREATE TABLE members (
    job_id INTEGER NOT NULL, product_key TEXT NOT NULL, device_key TEXT NOT NULL, phase INTEGER NOT NULL,
    position INTEGER NOT NULL, attempt_id INTEGER, tries INTEGER NOT NULL, dropped TEXT,
    PRIMARY KEY (job_id, product_key, device_key),
    FOREIGN KEY (job_id) REFERENCES jobs (id),
    FOREIGN KEY (product_key, device_key) REFERENCES devices (product_key, device_key));
INSERT INTO members SELECT job_id, product_key, device_key, 0, 0, max(id), 1, NULL FROM attempts
    GROUP BY job_id, product_key, device_key;
CREATE TABLE history (
    id INTEGER PRIMARY KEY AUTOINCREMENT, job_id INTEGER NOT NULL, time INTEGER NOT NULL, event TEXT NOT NULL,
    fields JSON NOT NULL,
    FOREIGN KEY (job_id) REFERENCES jobs (id));
CREATE INDEX history_job ON history (job_id);
CREATE TABLE firmwares (
    id INTEGER PRIMARY KEY AUTOINCREMENT, product_key TEXT NOT NULL, target TEXT NOT NULL, version TEXT NOT NULL,
    sha256 TEXT NOT NULL, told JSON NOT NULL, verification BOOLEAN NOT NULL, created_at INTEGER NOT NULL,
    FOREIGN KEY (product_key) REFERENCES products (product_key));
"""


def _campaigns(connection: Connection) -> None:
    _run(connection, _CAMPAIGNS)


_OPERATORS = """
CREATE TABLE operator_tokens (
    name TEXT NOT NULL PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, scope TEXT NOT NULL, created_at INTEGER NOT NULL,
    expires_at INTEGER, used_at INTEGER, revoked_at INTEGER);
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, who TEXT NOT NULL, via TEXT NOT NULL,
    what TEXT NOT NULL, subject TEXT NOT NULL, result TEXT NOT NULL, code TEXT, detail TEXT);
CREATE INDEX audit_denied ON audit (id) WHERE result = 'not_permitted';
CREATE TABLE version_samples (time INTEGER NOT NULL PRIMARY KEY, counts JSON NOT NULL);
"""


def _operators(connection: Connection) -> None:
    _run(connection, _OPERATORS)


_ESTHESIS = """
ALTER TABLE products ADD COLUMN registration TEXT NOT NULL DEFAULT 'ID';
ALTER TABLE products ADD COLUMN registration_secret TEXT;
ALTER TABLE products ADD COLUMN pushed_tags BOOLEAN NOT NULL DEFAULT 0;
ALTER TABLE products ADD COLUMN generated_keys BOOLEAN NOT NULL DEFAULT 1;
CREATE TABLE esthesis_commands (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, product_key TEXT NOT NULL, device_key TEXT NOT NULL,
    kind TEXT NOT NULL, asynchronous BOOLEAN NOT NULL, command TEXT NOT NULL, arguments TEXT NOT NULL,
    created_at INTEGER NOT NULL, replied_at INTEGER, succeeded BOOLEAN, output TEXT, trimmed BOOLEAN,
    FOREIGN KEY (product_key, device_key) REFERENCES devices (product_key, device_key));
CREATE INDEX esthesis_commands_device ON esthesis_commands (product_key, device_key, seq);
ALTER TABLE products ADD COLUMN tokens TEXT NOT NULL DEFAULT 'required';
CREATE TABLE packages (
    id TEXT NOT NULL PRIMARY KEY, product_key TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL,
    kind TEXT NOT NULL, size INTEGER, sha256 TEXT NOT NULL, url TEXT, tags JSON NOT NULL, prerequisite TEXT,
    available BOOLEAN NOT NULL, created_at INTEGER NOT NULL,
    FOREIGN KEY (product_key) REFERENCES products (product_key));
CREATE TABLE download_tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT, hash TEXT NOT NULL UNIQUE, product_key TEXT NOT NULL, device_key TEXT NOT NULL,
    sha256 TEXT NOT NULL, expires_at INTEGER NOT NULL, used_at INTEGER,
    FOREIGN KEY (product_key, device_key) REFERENCES devices (product_key, device_key));
CREATE INDEX download_tokens_device ON download_tokens (product_key, device_key, sha256);
CREATE INDEX download_tokens_end ON download_tokens (expires_at);
CREATE INDEX devices_by_key ON devices (device_key);
"""


def _esthesis(connection: Connection) -> None:
    _run(connection, _ESTHESIS)


STEPS: list[Callable[[Connection], None]] = [
    _first,
    _reason_of_a_halt,
    _what_runs,
    _orders_of_a_job,
    _identity_for_life,
    _dialects,
    _campaigns,
    _operators,
    _esthesis,
]


class NewerDatabase(Exception):
    """The database was written by a server that knows more steps than this one."""


def migrate(connection: Connection) -> None:
    """Bring the database up to date, inside the caller's transaction."""
    connection.execute(text("CREATE TABLE IF NOT EXISTS meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)"))
    found = connection.execute(text("SELECT value FROM meta WHERE key = 'schema'")).scalar()
    reached = int(found) if found is not None else 0
    if reached > len(STEPS):
        raise NewerDatabase(f"schema {reached}, this server knows {len(STEPS)}")
    for step in STEPS[reached:]:
        step(connection)
    if reached < len(STEPS):
        connection.execute(
            text("INSERT INTO meta VALUES ('schema', :n) ON CONFLICT (key) DO UPDATE SET value = :n"),
            {"n": str(len(STEPS))},
        )
