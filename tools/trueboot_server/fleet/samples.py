# SPDX-License-Identifier: MIT
"""How many devices ran which version, over time: what the curves of the page are drawn from.

A sample is taken when the numbers have changed, and now and then when they have not.  There are never more than
`Limits.samples`: when they are too many, every second one of the older half goes, so that yesterday is finer than last
month and the table does not grow.
"""

from __future__ import annotations

import sqlalchemy as sa

from ..limits import Limits
from ..store import Transaction
from ..store.schema import version_samples as table
from . import overview

_VERSIONS = 12


def take(t: Transaction, limits: Limits) -> None:
    counts = overview.versions(t, _VERSIONS)
    last = t.row(sa.select(table).order_by(table.c.time.desc()).limit(1))
    if last is not None:
        age_s = (t.now - last.time) / 1000
        if age_s < limits.sample_s or (last.counts == counts and age_s < limits.sample_idle_s):
            return
    elif not counts:
        return
    t.execute(table.insert().values(time=t.now, counts=counts))
    if t.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() > limits.samples:
        _thin(t, limits)


def read(t: Transaction) -> list[tuple[int, dict[str, int]]]:
    """Oldest first."""
    return [(row.time, row.counts) for row in t.rows(sa.select(table).order_by(table.c.time))]


def _thin(t: Transaction, limits: Limits) -> None:
    older = t.rows(sa.select(table.c.time).order_by(table.c.time).limit(limits.samples // 2))
    times = [row.time for row in older][1::2]
    t.execute(table.delete().where(table.c.time.in_(times)))
