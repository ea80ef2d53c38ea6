# SPDX-License-Identifier: MIT
"""What an operator's road is, said beside the road: who may, what goes in, what comes out.

`operation` is the one declaration.  `request.require_admin` takes the scope from it (a road that declares nothing
needs `operate`: forgetting is safe), the audit log its name, and `openapi` the rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web

Schema = dict[str, Any]
_Handler = TypeVar("_Handler", bound=Callable[..., Awaitable[web.StreamResponse]])

READ, OPERATE = "read", "operate"
SCOPES = (READ, OPERATE)


@dataclass(frozen=True)
class Operation:
    name: str  # "jobs.create": of the audit log, and OpenAPI's operationId
    scope: str | None  # None: no operator's token is asked for
    summary: str
    description: str
    answer: Schema | None  # of a success; None: no body that a schema describes
    status: int = 200
    also: tuple[int, ...] = ()  # other successes, with the same answer
    body: Schema | None = None
    body_required: bool = True
    body_type: str = "application/json"
    answer_type: str = "application/json"
    query: dict[str, Schema] = field(default_factory=dict)
    refusals: tuple[int, ...] = ()  # statuses beside those that every road has


def operation(
    scope: str | None, summary: str, answer: Schema | None, *, name: str = "", **more: Any
) -> Callable[[_Handler], _Handler]:
    def declare(handler: _Handler) -> _Handler:
        named = name or f"{handler.__module__.rpartition('.')[2]}.{handler.__name__}"
        text = " ".join((handler.__doc__ or "").split())
        handler.operation = Operation(named, scope, summary, text, answer, **more)  # type: ignore[attr-defined]
        return handler

    return declare


def of(handler: object) -> Operation | None:
    found = getattr(handler, "operation", None)
    return found if isinstance(found, Operation) else None
