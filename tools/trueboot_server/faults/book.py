# SPDX-License-Identifier: MIT
"""The faults that are in force: whom they hit, how often, until when; and what became of those that are over."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from ..errors import ApiError
from .kinds import KINDS, Kind, Number, Word

MOST = 64  # in force at once
REMEMBERED = 100  # of those that are over
_TEXT_CHARS = 200

Told = Callable[..., None]
Undo = Callable[[], None]


class Fault:
    def __init__(self, number: int, kind: Kind, arguments: dict[str, Any]):
        self.id = str(number)
        self.kind = kind
        self.arguments = arguments
        self.applied = 0
        self.ended = ""  # why; "" while it is in force
        self.until = time.monotonic() + arguments["for"]
        self.timer: asyncio.TimerHandle | None = None
        self.undo: Undo | None = None
        self.stamp = b""  # of stale metadata: what is served
        self._paths = arguments.get("path", "").split(",")
        self._chance = random.Random(f"{arguments.get('seed', 0)} {kind.name}")  # noqa: S311 - it has to repeat itself

    def fits(self, path: str) -> bool:
        return any(fnmatchcase(path, pattern) for pattern in self._paths)

    def strikes(self) -> bool:
        return self._chance.random() * 100 < self.arguments["percent"]

    @property
    def used_up(self) -> bool:
        return bool(self.arguments.get("times")) and self.applied >= self.arguments["times"]

    def shown(self) -> dict[str, Any]:
        left = 0.0 if self.ended else max(0.0, self.until - time.monotonic())
        return {
            "id": self.id,
            "kind": self.kind.name,
            "arguments": self.arguments,
            "applied": self.applied,
            "state": self.ended or "in_force",
            "left_s": round(left, 3),
        }


class Faults:
    """`begin`: what a kind does at once, by its name; it gives what ends it."""

    def __init__(self, tell: Told):
        self.begin: dict[str, Callable[[Fault], Undo]] = {}
        self._tell = tell
        self._live: dict[str, Fault] = {}
        self._over: deque[Fault] = deque(maxlen=REMEMBERED)
        self._number = 0

    def add(self, body: dict[str, Any]) -> Fault:
        """ApiError names what is wrong with it."""
        kind = KINDS.get(str(body.get("kind")))
        if kind is None:
            raise ApiError(400, "bad_fault", "there is no such kind of fault", f"Known: {', '.join(KINDS)}.")
        arguments = _checked(kind, {name: value for name, value in body.items() if name != "kind"})
        if len(self._live) >= MOST:
            raise ApiError(409, "too_many_faults", f"{MOST} faults are in force", "Clear some.")
        fault = Fault(self._number + 1, kind, arguments)
        if kind.name in self.begin:
            for other in [one for one in self._live.values() if one.kind is kind]:
                self._end(other, "replaced")
            fault.undo = self.begin[kind.name](fault)
            fault.applied = 0 if kind.paths else 1
        self._number += 1
        self._live[fault.id] = fault
        fault.timer = asyncio.get_running_loop().call_later(arguments["for"], self._end, fault, "time_over")
        self._tell("fault.added", fault=fault.id, kind=kind.name, arguments=arguments)
        return fault

    def hit(self, kind: str, path: str, device: Callable[[], str] = str, detail: str = "") -> Fault | None:
        """The fault of this kind that strikes here and now; it is counted.  `device`: asked only when one wants to know."""
        if not self._live:
            return None
        for fault in list(self._live.values()):
            if fault.kind.name != kind or not fault.fits(path) or not _is_meant(fault, device):
                continue
            if not fault.strikes():
                continue
            fault.applied += 1
            self._tell("fault.applied", fault=fault.id, kind=kind, path=path, **({"detail": detail} if detail else {}))
            if fault.used_up:
                self._end(fault, "used_up")
            return fault
        return None

    def may_hit(self, kinds: tuple[str, ...], path: str) -> bool:
        return any(fault.kind.name in kinds and fault.fits(path) for fault in self._live.values())

    def clear(self, number: str = "") -> list[Fault]:
        """All of them, or one: ApiError when it is not in force."""
        if number and number not in self._live:
            raise ApiError(404, "no_such_fault", "no such fault is in force")
        ended = [fault for fault in self._live.values() if number in ("", fault.id)]
        for fault in ended:
            self._end(fault, "cleared")
        return ended

    def all(self) -> list[Fault]:
        """Those in force and those that are over, oldest first."""
        return sorted([*self._over, *self._live.values()], key=lambda fault: int(fault.id))

    def _end(self, fault: Fault, why: str) -> None:
        if self._live.pop(fault.id, None) is None:
            return
        fault.ended = why
        self._over.append(fault)
        if fault.timer is not None:
            fault.timer.cancel()
        if fault.undo is not None:
            fault.undo()
        self._tell("fault.ended", fault=fault.id, kind=fault.kind.name, why=why, applied=fault.applied)


def _is_meant(fault: Fault, device: Callable[[], str]) -> bool:
    wanted = fault.arguments.get("device")
    if not wanted:
        return True
    name = device()
    return bool(name) and wanted in (name, name.rpartition("/")[2])


def _checked(kind: Kind, given: dict[str, Any]) -> dict[str, Any]:
    known = kind.arguments()
    if unknown := sorted(set(given) - set(known)):
        raise _bad(f"{kind.name} has no {', '.join(unknown)[:_TEXT_CHARS]}", f"It has {', '.join(known)}.")
    return {name: _value(name, argument, given.get(name)) for name, argument in known.items()}


def _value(name: str, argument: Number | Word | str, given: Any) -> Any:
    if isinstance(argument, str):
        value = argument if given is None else given
        if not isinstance(value, str) or len(value) > _TEXT_CHARS or not value.isprintable():
            raise _bad(f"{name} is a text of at most {_TEXT_CHARS} characters")
        return value or argument
    if isinstance(argument, Word):
        value = argument.default if given is None else given
        if value not in argument.choices:
            raise _bad(f"{name} is one of {', '.join(argument.choices)}")
        return value
    return _number(name, argument, argument.default if given is None else given)


def _number(name: str, argument: Number, given: Any) -> float:
    refused = _bad(f"{name} is a number from {argument.least:g} to {argument.most:g}")
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        raise refused
    try:
        value = float(given)
    except ValueError:
        raise refused from None
    if not argument.least <= value <= argument.most or (argument.whole and value != int(value)):
        raise refused
    return int(value) if argument.whole else value


def _bad(message: str, hint: str = "") -> ApiError:
    return ApiError(400, "bad_fault", message, hint)
