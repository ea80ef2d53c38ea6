# SPDX-License-Identifier: MIT
"""Commands to devices that speak esthesis: written down before they are sent, and kept with their replies.

A reply may come long after whoever asked has gone (a program that runs for an hour), so it belongs to the command and
not to a connection.  The newest of a device are kept; an output that is too long is cut, and says so.
"""

from __future__ import annotations

import secrets
from typing import Any

import sqlalchemy as sa

from ..clock import iso
from ..limits import Limits
from ..names import Identity
from ..store import Transaction
from ..store.schema import esthesis_commands as table
from . import words


def make(
    t: Transaction, identity: Identity, kind: str, asynchronous: bool, command: str, arguments: str, limits: Limits
) -> str:
    """Write a command down; its id.  Ids of attempts are small numbers in the same form: never one that begins so."""
    number = "c" + secrets.token_hex(12)[1:]
    t.execute(
        table.insert().values(
            id=number,
            product_key=identity.product_key,
            device_key=identity.device_key,
            kind=kind,
            asynchronous=asynchronous,
            command=command,
            arguments=arguments,
            created_at=t.now,
        )
    )
    mine = (table.c.product_key == identity.product_key, table.c.device_key == identity.device_key)
    oldest = sa.select(table.c.seq).where(*mine).order_by(table.c.seq.desc()).offset(limits.commands_kept).limit(1)
    t.execute(table.delete().where(*mine, table.c.seq <= oldest.scalar_subquery()))
    t.event("command.sent", identity, command=number, kind=kind)
    return number


def answered(t: Transaction, identity: Identity, reply: words.Reply, limits: Limits) -> bool:
    """False: no command of this device waits for that reply.  The first one counts."""
    row = find(t, identity, reply.id)
    if row is None or row.replied_at is not None:
        return False
    output = "".join(char if char.isprintable() or char in "\n\t" else "?" for char in reply.output)
    trimmed = len(output) > limits.command_output_chars
    values: dict[str, Any] = {"replied_at": t.now, "succeeded": reply.succeeded, "trimmed": trimmed}
    t.execute(
        table.update().where(table.c.id == reply.id).values(output=output[: limits.command_output_chars], **values)
    )
    t.event("command.replied", identity, command=reply.id, succeeded=reply.succeeded)
    return True


def find(t: Transaction, identity: Identity, number: str) -> Any | None:
    mine = (table.c.product_key == identity.product_key, table.c.device_key == identity.device_key)
    return t.row(sa.select(table).where(table.c.id == number, *mine))


def newest(t: Transaction, identity: Identity, most: int) -> list[Any]:
    mine = (table.c.product_key == identity.product_key, table.c.device_key == identity.device_key)
    return t.rows(sa.select(table).where(*mine).order_by(table.c.seq.desc()).limit(most))


def shown(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "type": row.kind,
        "asynchronous": bool(row.asynchronous),
        "command": row.command,
        "arguments": row.arguments,
        "created_at": iso(row.created_at),
        "replied_at": iso(row.replied_at),
        "succeeded": None if row.succeeded is None else bool(row.succeeded),
        "output": row.output,
        "trimmed": bool(row.trimmed),
    }
