# SPDX-License-Identifier: MIT
"""The database: one file, one connection, one transaction function.

Rules: every read and write goes through `Store.transaction`; what is acknowledged to a peer was committed
before; events are rows written in the same transaction as what they tell, and are announced (log, long polls)
only after the commit.  Transactions are synchronous and never span an `await`, so they cannot interleave.

A transaction begins at its first statement: one whose questions are all answered from memory (`kept`) costs nothing.

SQLite runs in WAL mode with synchronous=FULL: a commit survives a power cut.  Another database goes behind
`_engine`, `Prepared` and `migrations`; nothing else knows which one it is.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import StaticPool

from ..clock import Clock, iso, now_ms
from ..errors import EXIT_CONFIG, StartError
from ..log import Log, silent
from ..names import Identity
from . import schema
from .kept import Kept, Memory, Question
from .migrations import NewerDatabase, migrate

_TRIM_EVERY = 64  # events between two cuts of the ring


class Prepared:
    """A change that is made all the time, as the database's own words: `names` are its values, in their order."""

    def __init__(self, statement: sa.Insert | sa.Update, *names: str):
        compiled: Any = statement.compile(dialect=sqlite.dialect(paramstyle="qmark"), column_keys=list(names))
        self.text = str(compiled)
        if tuple(compiled.positiontup) != names:
            raise ValueError(f"the order is {compiled.positiontup}")


_EVENT = Prepared(schema.events.insert(), "time", "event", "product_key", "device_key", "fields")


class Transaction:
    """What a transaction can do: run statements, and tell what happened."""

    def __init__(self, connection: sa.Connection, raw: Any, care: _Care, kept: Kept, now: int):
        self._connection = connection
        self._raw = raw
        self._care = care
        self._kept = kept
        self.now = now
        self.told: list[dict[str, Any]] = []
        self.written: set[str] = set()

    def execute(self, statement: sa.Executable, **bound: Any) -> sa.CursorResult[Any]:
        """`bound`: for a statement with parameters.  Those that are asked all the time are built once."""
        self._begin()
        self._note(statement)
        return self._connection.execute(statement, bound)

    def many(self, statement: sa.Executable, rows: list[dict[str, Any]]) -> None:
        """One statement for many rows."""
        if rows:
            self._begin()
            self._note(statement)
            self._connection.execute(statement, rows)

    def row(self, statement: sa.Select[Any], **bound: Any) -> Any | None:
        self._begin()
        return self._connection.execute(statement, bound).one_or_none()

    def rows(self, statement: sa.Select[Any], **bound: Any) -> list[Any]:
        self._begin()
        return list(self._connection.execute(statement, bound))

    def kept(self, question: Question, **bound: Any) -> list[Any]:
        """The rows; from memory, when nothing they came from was written since."""
        memory = self._kept.of(question)
        key = tuple(bound.values())
        found = memory.get(key)
        if found is None:
            found = self.rows(question.statement, **bound)
            memory.put(key, found)
        return found

    def quietly(self, change: Prepared, *values: Any) -> Any:
        """A change to what nothing kept shows."""
        self._begin()
        return self._raw.execute(change.text, values)

    def event(self, name: str, identity: Identity | None = None, /, **fields: Any) -> None:
        """Write an event down.  `fields` must hold no secrets: operators, logs and pages show them."""
        product_key, device_key = identity if identity else (None, None)
        cursor = self.quietly(_EVENT, self.now, name, product_key, device_key, json.dumps(fields))
        told = {"time": self.now, "event": name, "product_key": product_key, "device_key": device_key}
        self.told.append({"seq": int(cursor.lastrowid), **told, "fields": fields})

    def _begin(self) -> None:
        if not self._raw.in_transaction:
            self._care.begin(self._raw)

    def _note(self, statement: Any) -> None:
        """Which table it writes.  Of a text nobody knows."""
        if statement.is_dml:
            self.written.add(statement.table.name)
            self._kept.forget(statement.table.name)
        elif isinstance(statement, sa.TextClause):
            self.written.update(schema.metadata.tables)
            self._kept.forget_all()


class Store:
    def __init__(self, path: Path, clock: Clock = now_ms, log: Log = silent, keep_events: int = 20_000):
        self._clock = clock
        self._log = log
        self._keep_events = keep_events
        self._busy = False
        self._listeners: set[asyncio.Event] = set()
        self.watchers: list[Callable[[list[dict[str, Any]]], None]] = []  # called with the events of each commit
        self._care = _Care()
        self._kept = Kept()
        self._engine = _engine(path)
        try:
            self._connection = self._engine.connect()
            raw: Any = self._connection.connection.driver_connection
            self._raw = raw
            # SQLAlchemy believes in one transaction that lasts as long as the server; the real ones are ours (`_Care`).
            self._connection.begin()
            self._care.begin(self._raw)
            try:
                migrate(self._connection)
                problem = self._connection.execute(sa.text("PRAGMA quick_check(1)")).scalar()
                self._raw.execute("COMMIT")
            finally:
                if self._raw.in_transaction:  # it raised
                    self._raw.execute("ROLLBACK")
            if problem != "ok":
                raise StartError(
                    EXIT_CONFIG,
                    f"the database {path} is damaged",
                    str(problem),
                    "Put a backup in its place, or start with an empty state folder.",
                )
        except NewerDatabase as error:
            raise StartError(
                EXIT_CONFIG,
                f"the database {path} was written by a newer server",
                str(error),
                "Run that version again, or a later one.",
            ) from error
        except (DatabaseError, sqlite3.Error) as error:
            raise StartError(
                EXIT_CONFIG,
                f"the database {path} cannot be read",
                str(getattr(error, "orig", error)),
                "Put a backup in its place, or start with an empty state folder.",
            ) from error

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()

    def now(self) -> int:
        return self._clock()

    def memory(self, *tables: sa.Table) -> Memory[Any]:
        """A place for answers that hold until one of these tables is written: see `kept`."""
        return self._kept.memory(frozenset(table.name for table in tables))

    @contextmanager
    def transaction(self, lasting: bool = True) -> Iterator[Transaction]:
        """The one way to the database.  Commits when the block ends, rolls back when it raises.

        `lasting`: it is on the disk when the block has ended.  Without, a power cut may take the last of such transactions
        back (a killed process does not): for what nobody was promised, like who has come and gone.
        """
        if self._busy:
            raise RuntimeError("a transaction inside a transaction")
        self._busy = True
        self._care.wanted = "FULL" if lasting else "NORMAL"
        connection = self._connection
        transaction = Transaction(connection, self._raw, self._care, self._kept, self._clock())
        try:
            yield transaction
            if any(told["seq"] % _TRIM_EVERY == 0 for told in transaction.told):
                oldest = transaction.told[-1]["seq"] - self._keep_events
                connection.execute(schema.events.delete().where(schema.events.c.seq <= oldest))
            if self._raw.in_transaction:
                self._raw.execute("COMMIT")
        finally:
            self._busy = False
            try:
                if self._raw.in_transaction:  # it raised
                    self._raw.execute("ROLLBACK")
            finally:
                for table in transaction.written:
                    self._kept.forget(table)
        self._announce(transaction.told)

    def _announce(self, told: list[dict[str, Any]]) -> None:
        for event in told:
            self._log(
                event["event"], **{k: event[k] for k in ("product_key", "device_key") if event[k]}, **event["fields"]
            )
        if told:
            for watcher in self.watchers:
                watcher(told)
            for listener in self._listeners:
                listener.set()

    async def events_after(self, seq: int, wait_s: float, most: int) -> tuple[list[dict[str, Any]], int]:
        """(events after `seq`, the last number), waiting for at most `wait_s` until there is one."""
        arrived = asyncio.Event()
        self._listeners.add(arrived)
        try:
            async with asyncio.timeout(wait_s if wait_s > 0 else None):
                while True:
                    arrived.clear()
                    found, last = self._events(seq, most)
                    if found or wait_s <= 0:
                        return found, last
                    await arrived.wait()
        except TimeoutError:
            return self._events(seq, most)
        finally:
            self._listeners.discard(arrived)

    def _events(self, seq: int, most: int) -> tuple[list[dict[str, Any]], int]:
        events = schema.events
        with self.transaction() as t:
            rows = t.rows(sa.select(events).where(events.c.seq > seq).order_by(events.c.seq).limit(most))
            newest = t.execute(sa.select(sa.func.max(events.c.seq))).scalar() or 0
        return [_shown(row) for row in rows], rows[-1].seq if rows else max(newest, 0)


def _shown(row: Any) -> dict[str, Any]:
    shown = {"seq": row.seq, "time": iso(row.time), "event": row.event}
    if row.device_key is not None:
        shown |= {"product_key": row.product_key, "device_key": row.device_key}
    return shown | row.fields


class _Care:
    """How SQLite syncs its log (PRAGMA synchronous), as it is and as the next transaction wants it.

    In WAL mode NORMAL leaves out the sync at a commit; the next one with FULL syncs all that came before.
    """

    def __init__(self) -> None:
        self.held = self.wanted = "FULL"

    def begin(self, raw: Any) -> None:
        """sqlite3 begins transactions late and by its own rules; ours begin at once and mean it."""
        if self.held != self.wanted:
            raw.execute(f"PRAGMA synchronous={self.wanted}")
            self.held = self.wanted
        raw.execute("BEGIN IMMEDIATE")


def _engine(path: Path) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)), poolclass=StaticPool, connect_args={"isolation_level": None}
    )

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
            connection.execute(f"PRAGMA {pragma}")

    return engine
