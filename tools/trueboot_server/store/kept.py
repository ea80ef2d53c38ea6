# SPDX-License-Identifier: MIT
"""What was read is kept in memory until a table that it came from is written.

This process alone holds the database and all writing goes through `Transaction`, which tells which table it writes: so
nothing kept is ever older than the last commit, and a revocation holds from the next request on.

- What is kept of a table goes at the moment of a write to it, and once more when that transaction ends, committed or
  not: what it read of its own changes in between must not outlive a rollback.
- Only `Transaction.quietly` does not count as a write.  It is for columns that nothing kept shows (`devices.last_seen`).
- Rows and answers are shared: nobody changes what lies in them.
- Bounded: the oldest goes.  What depends on the time is decided anew by whoever reads.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.sql import visitors

MOST = 16_384  # answers to one question

_T = TypeVar("_T")


class Question:
    """A statement that is asked all the time."""

    def __init__(self, statement: sa.Select[Any]):
        self.statement = statement
        self.tables = frozenset(part.name for part in visitors.iterate(statement) if isinstance(part, sa.Table))


class Memory(Generic[_T]):
    """Answers by key, bounded."""

    def __init__(self, most: int = MOST):
        self._most = most
        self._known: dict[Any, _T] = {}

    def get(self, key: Any, default: Any = None) -> _T | Any:
        return self._known.get(key, default)

    def put(self, key: Any, value: _T) -> None:
        if len(self._known) >= self._most:
            del self._known[next(iter(self._known))]
        self._known[key] = value

    def clear(self) -> None:
        self._known.clear()


class Kept:
    """All that one store keeps."""

    def __init__(self) -> None:
        self._answers: dict[Question, Memory[list[Any]]] = {}
        self._by_table: dict[str, list[Memory[Any]]] = {}

    def of(self, question: Question) -> Memory[list[Any]]:
        found = self._answers.get(question)
        if found is None:
            found = self._answers[question] = self.memory(question.tables)
        return found

    def memory(self, tables: frozenset[str]) -> Memory[Any]:
        """For answers that somebody else works out of these tables."""
        made: Memory[Any] = Memory()
        for name in tables:
            self._by_table.setdefault(name, []).append(made)
        return made

    def forget(self, table: str) -> None:
        for memory in self._by_table.get(table, ()):
            memory.clear()

    def forget_all(self) -> None:
        for table in self._by_table:
            self.forget(table)
